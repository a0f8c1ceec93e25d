"""Tables of the Snapshots side. A record is one JSON body; only what lists sort by has a column.

Records are stored in the order of their arrival: ids are random to this table, and a table sorted by them would rewrite
as many pages as a batch has items.
"""

SCHEMA = """
CREATE TABLE IF NOT EXISTS snapshots_entities (
    entity   TEXT PRIMARY KEY,
    id_field TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS snapshots_records (
    arrival    INTEGER PRIMARY KEY,
    entity     TEXT NOT NULL,
    id         TEXT NOT NULL,
    body       BLOB NOT NULL,
    updated_us INTEGER NOT NULL,
    start_ms   INTEGER,
    UNIQUE (entity, id)
);
CREATE INDEX IF NOT EXISTS snapshots_records_updated ON snapshots_records (entity, updated_us, id);
CREATE INDEX IF NOT EXISTS snapshots_records_start ON snapshots_records (entity, start_ms, id)
    WHERE start_ms IS NOT NULL;

CREATE TABLE IF NOT EXISTS snapshots_analytics (
    month      TEXT NOT NULL,
    project_id TEXT NOT NULL,
    body       BLOB NOT NULL,
    PRIMARY KEY (month, project_id)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS snapshots_clients (
    client_id     TEXT PRIMARY KEY,
    secret_hash   TEXT NOT NULL,
    redirect_uris TEXT NOT NULL,
    scopes        TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS snapshots_grants (
    hash       TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,
    client_id  TEXT NOT NULL,
    scope      TEXT NOT NULL,
    family     TEXT NOT NULL,
    expires_at REAL NOT NULL,
    used       INTEGER NOT NULL DEFAULT 0,
    detail     TEXT NOT NULL DEFAULT '{}'
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS snapshots_grants_family ON snapshots_grants (family);
"""
