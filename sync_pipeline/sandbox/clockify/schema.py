"""Tables of the Clockify API.

Each record keeps the JSON document Clockify would return in ``body``; next to it are only the columns that are
searched or sorted by. Time entries are kept in pieces instead, see ``entry_rows``. There is no creation time: an id starts with it, as every Mongo ObjectId does.
"""

from __future__ import annotations

_NAMED = """
CREATE TABLE IF NOT EXISTS {table} (
    id TEXT PRIMARY KEY,
    parent TEXT NOT NULL DEFAULT '',
    name TEXT NOT NULL,
    archived INTEGER NOT NULL DEFAULT 0,
    tracked INTEGER NOT NULL DEFAULT 0,
    updated INTEGER NOT NULL,
    body TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS {table}_by_name ON {table} (parent, name);
CREATE INDEX IF NOT EXISTS {table}_by_update ON {table} (updated);
"""

# clients, tags: parent unused; projects: parent is the client; tasks: parent is the project.
NAMED_TABLES = ("clients", "projects", "tasks", "tags", "custom_fields", "user_groups")
# Tables that answers are computed from and kept for later requests: reports, names.
WATCHED = ("workspaces", "users", "clients", "projects", "tasks", "tags", "user_groups", "time_entries")

SCHEMA = (
    """
CREATE TABLE IF NOT EXISTS workspaces (id TEXT PRIMARY KEY, name TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS api_keys (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL CHECK (kind IN ('key', 'addon')),
    user_id TEXT NOT NULL, note TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS users (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL,
    name TEXT,
    account_status TEXT NOT NULL,
    membership_status TEXT NOT NULL,
    updated INTEGER NOT NULL,
    body TEXT NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS users_by_email ON users (email);
CREATE TABLE IF NOT EXISTS roles (
    user_id TEXT NOT NULL, role TEXT NOT NULL, entity_id TEXT NOT NULL, source TEXT,
    PRIMARY KEY (user_id, role, entity_id)
) WITHOUT ROWID;
"""
    + "".join(_NAMED.format(table=table) for table in NAMED_TABLES)
    + """
CREATE TABLE IF NOT EXISTS time_entries (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL,
    project_id TEXT,
    task_id TEXT,
    started INTEGER NOT NULL,
    ended INTEGER,
    billable INTEGER NOT NULL,
    approval TEXT,
    invoiced INTEGER NOT NULL DEFAULT 0,
    updated INTEGER NOT NULL,
    shared TEXT NOT NULL,
    span TEXT NOT NULL,
    tags TEXT NOT NULL,
    custom TEXT NOT NULL,
    hourly INTEGER,
    cost INTEGER
);
CREATE INDEX IF NOT EXISTS entries_of_user ON time_entries (user_id, started, id);
CREATE INDEX IF NOT EXISTS entries_by_start ON time_entries (started, id, ended, billable);
CREATE INDEX IF NOT EXISTS entries_running ON time_entries (started, id) WHERE ended IS NULL;
CREATE INDEX IF NOT EXISTS entries_edited ON time_entries (updated) WHERE updated > 0;
CREATE TABLE IF NOT EXISTS deleted (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, deleted_at INTEGER NOT NULL, body TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deleted_by_time ON deleted (kind, deleted_at);
CREATE TABLE IF NOT EXISTS webhooks (
    id TEXT PRIMARY KEY, user_id TEXT NOT NULL, event TEXT NOT NULL, kind TEXT NOT NULL DEFAULT 'USER_CREATED',
    failures INTEGER NOT NULL DEFAULT 0, body TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS webhook_logs (
    id TEXT PRIMARY KEY, webhook_id TEXT NOT NULL, at INTEGER NOT NULL, succeeded INTEGER NOT NULL, body TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS webhook_logs_of ON webhook_logs (webhook_id, at);
"""
)
