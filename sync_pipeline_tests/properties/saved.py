"""The pipeline's database, kept in a state that many histories begin with."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import psycopg

from sync_pipeline.store.engine import open_store
from sync_pipeline_tests.harness import Team, empty_store

PLACE = "/sync?"


class Saved(Protocol):
    """A database that can be put back."""

    def keep(self) -> None:
        """Save its current state."""

    def restore(self) -> None:
        """Restore the saved state."""

    def empty(self) -> None:
        """Make it one in which nothing was ever stored."""


Database = Callable[[Team], Saved]


class SavedFile:
    """A SQLite file in the team's home."""

    def __init__(self, us: Team) -> None:
        self._file, self._kept = us.home / "sync.db", us.home.parent / "saved.db"

    def keep(self) -> None:
        """Copy the file."""
        shutil.copy(self._file, self._kept)

    def restore(self) -> None:
        """Copy it back; its log went with the home."""
        shutil.copy(self._kept, self._file)

    def empty(self) -> None:
        """A migrated file without rows."""
        shutil.copy(empty_store(), self._file)


class SavedDatabase:
    """A database of a PostgreSQL server, made again from a template each time."""

    def __init__(self, url: str, us: Team) -> None:
        self._server = url
        us.changes["SYNC_DATABASE_URL"] = url.replace("/postgres?", PLACE)
        self._make("empty", "template0")
        open_store(url.replace("/postgres?", "/empty?")).close()
        self.empty()

    def keep(self) -> None:
        """Make a template of it."""
        self._make("saved", "sync")

    def restore(self) -> None:
        """Make it from that template."""
        self._make("sync", "saved")

    def empty(self) -> None:
        """A migrated database without rows."""
        self._make("sync", "empty")

    def _make(self, name: str, template: str) -> None:
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())


@contextmanager
def database(dialect: str) -> Iterator[Database]:
    """How a database of this dialect is made and put back."""
    if dialect == "sqlite":
        yield SavedFile
        return
    from sync_pipeline_tests.bench.postgresql import serving

    with serving(0) as url:
        server = url.replace("/bench_{number}?", "/postgres?")
        yield lambda us: SavedDatabase(server, us)
