"""The sandbox's own SQLite file: opening it, its schema, transactions, bulk loading."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sync_pipeline.errors import ConfigError
from sync_pipeline.private_files import private_file
from sync_pipeline.sandbox.clockify.schema import SCHEMA as CLOCKIFY_SCHEMA
from sync_pipeline.sandbox.clockify.schema import WATCHED
from sync_pipeline.sandbox.highlevel.schema import SCHEMA as HIGHLEVEL_SCHEMA
from sync_pipeline.sandbox.snapshots.schema import SCHEMA as SNAPSHOTS_SCHEMA

SCHEMA_VERSION = 1
META = "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
SCHEMA = META + CLOCKIFY_SCHEMA + SNAPSHOTS_SCHEMA + HIGHLEVEL_SCHEMA
TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"


def open_database(path: Path | str) -> sqlite3.Connection:
    """Open (or create) the sandbox's database and bring its tables into being."""
    path = Path(path)
    try:
        private_file(path)
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
        db.row_factory = sqlite3.Row
        _prepare(db, path)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"The sandbox cannot use the database {path}: {error}.", fix=_fix_of(error)) from error
    return db


def _fix_of(error: OSError | sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_FULL" or getattr(error, "errno", None) == errno.ENOSPC:
        return "Free some disk space."
    if name.startswith("SQLITE_IOERR"):
        return "Check the disk and the limits of this user (`ulimit -f`)."
    return "Name a file in a directory you may write to, or stop the other sandbox that uses it."


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    _demand_ours(db, path)
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000", "cache_size=-65536"):
        db.execute(f"PRAGMA {pragma}")
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found not in (0, SCHEMA_VERSION):
        raise ConfigError(
            f"The sandbox database {path} has schema {found}; this version understands {SCHEMA_VERSION}.",
            fix="Delete the file (it holds invented data only) or name another one.",
        )
    db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
    _watch(db, WATCHED)


def _demand_ours(db: sqlite3.Connection, path: Path) -> None:
    """Refuse the database of another program, before a byte of it is changed: seeding empties every table."""
    tables = _tables(db)
    with closing(sqlite3.connect(":memory:")) as new:
        new.executescript(SCHEMA)
        ours = _tables(new)
    is_marked = "meta" in tables and db.execute("PRAGMA user_version").fetchone()[0] != 0
    if tables and not (tables <= ours and is_marked):
        raise ConfigError(
            f"The sandbox cannot use the database {path}: it belongs to another program (it has a table "
            f"{min(tables - ours or tables)}).",
            fix="Name a new file, or one that a sandbox has made.",
        )


def _tables(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute(TABLES)}


def _watch(db: sqlite3.Connection, tables: tuple[str, ...]) -> None:
    """Count the changed rows of ``tables``, so that whatever is kept in memory knows when it is out of date.

    Triggers see every write of this connection, also those a test makes past the API.
    """
    db.execute("CREATE TEMP TABLE versions (n INTEGER NOT NULL)")
    db.execute("INSERT INTO temp.versions VALUES (0)")
    for table in tables:
        for event in ("INSERT", "UPDATE", "DELETE"):
            db.execute(
                f"CREATE TEMP TRIGGER {table}_{event} AFTER {event} ON main.{table}"
                " BEGIN UPDATE versions SET n = n + 1; END"
            )


def copy_database(db: sqlite3.Connection, version: int) -> sqlite3.Connection:
    """A private copy of the current data, in a temporary file of SQLite's own; ``version`` distinguishes it."""
    copy = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    copy.row_factory = sqlite3.Row
    db.backup(copy)
    _watch(copy, ())
    copy.execute("UPDATE temp.versions SET n = ?", (version,))
    return copy


def version(db: sqlite3.Connection) -> int:
    """A number that is different after every change of a watched table."""
    found: int = db.execute("SELECT n FROM temp.versions").fetchone()[0]
    return found


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. Nested use joins the outer transaction."""
    if db.in_transaction:
        yield
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def get_meta(db: sqlite3.Connection, name: str) -> str | None:
    """A remembered value of this database, such as the seed it was filled with."""
    row = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row["value"])


def set_meta(db: sqlite3.Connection, name: str, value: str) -> None:
    """Remember a value in the database itself."""
    db.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (name, value))


def empty_database(db: sqlite3.Connection) -> None:
    """Delete every row of every table; the tables stay."""
    with transaction(db):
        for name in _tables(db):
            db.execute(f'DELETE FROM "{name}"')
