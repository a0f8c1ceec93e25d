"""Bring a database to the newest revision, once, even if several processes try at the same time."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from sync_pipeline.errors import StoreError
from sync_pipeline.private_files import private_file
from sync_pipeline.store.schema import COPY, HEAD, newer_schema, setup_versions, stored_version

_MIGRATION_LOCK = 7_190_431_556  # any fixed number: PostgreSQL's advisory locks are known by number


def migrate(
    connection: Connection, place: str, file: Path | None, import_setup: Callable[[Connection], None] | None
) -> None:
    """Upgrade the database in the caller's writing transaction: a failure leaves it unchanged.

    ``place`` is what messages call it, ``file`` that of SQLite. ``import_setup`` belongs to it where the database gets its table of set-ups.
    """
    if connection.dialect.name == "postgresql":
        # SQLite's write lock already makes a second process wait here.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    version = stored_version(connection)
    if version is not None and version not in known_revisions():
        raise newer_schema(place, version)
    if file is not None and version not in (None, HEAD):
        _keep_copy(file, str(version))
    had_setups = inspect(connection).has_table(setup_versions.name)
    with _quiet():
        command.upgrade(config(connection), "head")
    if import_setup is not None and not had_setups:
        import_setup(connection)


def _keep_copy(database: Path, version: str) -> None:
    """Copy the database before it is upgraded, through a connection of its own; the caller holds the write lock."""
    copy = database.with_name(f"{database.name}{COPY}{version}")
    draft = copy.with_name(f"{copy.name}.draft")
    try:
        draft.unlink(missing_ok=True)
        private_file(draft)
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(draft)) as target:
            source.backup(target)
        draft.replace(copy)
    except (OSError, sqlite3.Error) as error:
        draft.unlink(missing_ok=True)
        raise StoreError(
            f"The database {database} was not migrated: the copy to go back to, {copy}, cannot be written: {error}.",
            fix="Free some disk space, or make the directory writable, and start again.",
        ) from error


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration without a file."""
    made = Config()
    made.set_main_option("script_location", "sync_pipeline.store:migrations")
    made.set_main_option("path_separator", "os")
    made.attributes["connection"] = connection
    return made


def known_revisions() -> list[str]:
    """All revisions of this version of the package, newest first."""
    return [script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()]


@contextmanager
def _quiet() -> Iterator[None]:
    """Alembic logs each step at INFO, which is noise in a user's first run; warnings still come through."""
    logger = logging.getLogger("alembic")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
