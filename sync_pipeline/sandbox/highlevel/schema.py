"""Tables of the HighLevel side. The index of the search is a copy of its own, which lags behind the records."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS highlevel_locations (
    arrival INTEGER PRIMARY KEY,
    id      TEXT NOT NULL UNIQUE,
    body    TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS highlevel_users (
    id   TEXT PRIMARY KEY,
    body TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS highlevel_objects (
    location_id TEXT NOT NULL,
    object_key  TEXT NOT NULL,
    body        TEXT NOT NULL,
    PRIMARY KEY (location_id, object_key)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS highlevel_fields (
    arrival     INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    location_id TEXT NOT NULL,
    object_key  TEXT NOT NULL,
    field_key   TEXT,
    body        TEXT NOT NULL,
    UNIQUE (location_id, object_key, field_key)
);

CREATE TABLE IF NOT EXISTS highlevel_records (
    arrival     INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    location_id TEXT NOT NULL,
    object_key  TEXT NOT NULL,
    created_ms  INTEGER NOT NULL,
    body        TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS highlevel_records_object ON highlevel_records (location_id, object_key);

CREATE TABLE IF NOT EXISTS highlevel_deleted (
    id          TEXT PRIMARY KEY,
    location_id TEXT NOT NULL,
    object_key  TEXT NOT NULL,
    body        TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS highlevel_index (
    id          TEXT PRIMARY KEY,
    location_id TEXT NOT NULL,
    object_key  TEXT NOT NULL,
    created_ms  INTEGER NOT NULL,
    shown_at    REAL NOT NULL,
    body        TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS highlevel_index_created ON highlevel_index (location_id, object_key, created_ms, id);

CREATE TABLE IF NOT EXISTS highlevel_pending (
    arrival  INTEGER PRIMARY KEY,
    shows_at REAL NOT NULL,
    id       TEXT NOT NULL,
    body     TEXT
);

CREATE TABLE IF NOT EXISTS highlevel_opportunities (
    id          TEXT PRIMARY KEY,
    location_id TEXT NOT NULL,
    created_ms  INTEGER NOT NULL,
    body        TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS highlevel_opportunities_created ON highlevel_opportunities (location_id, created_ms, id);

CREATE TABLE IF NOT EXISTS highlevel_items (
    arrival INTEGER PRIMARY KEY,
    kind    TEXT NOT NULL,
    parent  TEXT NOT NULL,
    id      TEXT NOT NULL,
    body    TEXT NOT NULL,
    UNIQUE (kind, parent, id)
);

CREATE TABLE IF NOT EXISTS highlevel_grants (
    hash       TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,
    owner      TEXT NOT NULL,
    scope      TEXT NOT NULL,
    expires_at REAL NOT NULL,
    detail     TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS highlevel_days (
    day      TEXT NOT NULL,
    resource TEXT NOT NULL,
    used     INTEGER NOT NULL,
    PRIMARY KEY (day, resource)
) WITHOUT ROWID;
"""
