"""Opening the store: one engine for SQLite or PostgreSQL, at the schema this version knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import URL, Connection, Engine, Select, column, create_engine, event, inspect, make_url, select, table
from sqlalchemy.exc import ArgumentError

from sync_pipeline.errors import ConfigError
from sync_pipeline.private import private_file
from sync_pipeline.store.errors import SETTING, store_errors, unwritable
from sync_pipeline.store.schema import HEAD, VERSION_TABLE

Dialect = Literal["sqlite", "postgresql"]

EXAMPLES = "Use sqlite:////absolute/file.db or postgresql://user:password@host/database."


@dataclass(frozen=True, slots=True)
class Store:
    """An open database. Every use goes through one of the context managers, so every error is explained."""

    engine: Engine
    dialect: Dialect
    place: str
    """How messages call it: the file, or server and database; never a password."""
    path: Path | None
    """The SQLite file; ``None`` on PostgreSQL."""

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent look; takes no write lock."""
        with store_errors(self.place), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that is committed whole or not at all."""
        with store_errors(self.place), self.engine.execution_options(writes=True).begin() as connection:
            yield connection

    @contextmanager
    def holding(self) -> Iterator[Held]:
        """One connection for many transactions, for what lives on a connection: temporary tables, locks.

        It is really closed afterwards, so nothing of it can reach the next user of the pool. Only its
        transactions explain errors: what is raised between them is not the database's.
        """
        with store_errors(self.place):
            connection = self.engine.connect()
            connection.detach()
        try:
            yield Held(connection, self.place)
        finally:
            connection.close()

    def close(self) -> None:
        """Give all connections back; the store may not be used afterwards."""
        self.engine.dispose()


@dataclass(frozen=True, slots=True)
class Held:
    """One connection, kept. Between its transactions it holds neither a lock nor a snapshot."""

    connection: Connection
    place: str

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction that writes nothing but temporary tables, which lock nobody out."""
        return self._begin(writes=False)

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction that writes shared tables."""
        return self._begin(writes=True)

    @contextmanager
    def _begin(self, *, writes: bool) -> Iterator[Connection]:
        with store_errors(self.place):
            self.connection.execution_options(writes=writes)
            with self.connection.begin():
                yield self.connection


def open_store(url: str, *, timeout: float = 30.0) -> Store:
    """Open the database at ``url``, create or migrate it as needed.

    ``timeout`` is how long to wait for another program's lock, in seconds.
    """
    parsed = _parse(url)
    store = _sqlite(parsed, timeout) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed, timeout)
    try:
        _bring_to_head(store)
    except BaseException:
        store.close()
        raise
    return store


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The text itself stays out of the message: it may hold a password.
        raise ConfigError(f"{SETTING} is not a database URL.", fix=EXAMPLES) from None
    if parsed.drivername in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "postgresql+psycopg":
        return parsed
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise ConfigError(f"{SETTING} names {parsed.drivername}, which is not supported.", fix=EXAMPLES)
    if not parsed.database or parsed.database == ":memory:" or parsed.host or parsed.query:
        raise ConfigError(f"{SETTING} must name a SQLite file that several processes can open.", fix=EXAMPLES)
    return parsed


def _sqlite(url: URL, timeout: float) -> Store:
    path = Path(url.database or "").expanduser().absolute()
    place = f"The database {path}"
    try:
        private_file(path)
    except OSError as error:
        raise unwritable(place, error) from error
    engine = create_engine(
        url.set(database=str(path)),
        hide_parameters=True,
        connect_args={"timeout": timeout, "check_same_thread": False},
        pool_use_lifo=True,  # each connection has a cache of its own: few that are used fill fewer
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return Store(engine=engine, dialect="sqlite", place=place, path=path)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin_sqlite
    # A checkpoint each 16 MB instead of 4: pages that change often are copied back less often. 8 MB of
    # cache (not 2) hold the inner pages of every index without making memory grow with the data.
    pragmas = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "wal_autocheckpoint=4000")
    with _closed_on_error(connection):
        for pragma in (*pragmas, "cache_size=-8192"):
            connection.execute(f"PRAGMA {pragma}").close()


@contextmanager
def _closed_on_error(connection: Any) -> Iterator[None]:
    """SQLAlchemy forgets a connection whose preparation failed without closing it."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the write lock at once: upgrading a read snapshot later could fail without waiting."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgresql(url: URL, timeout: float) -> Store:
    place = f"The PostgreSQL database {url.database!r} on {url.host or url.query.get('host') or 'this machine'}"
    # The connection that holds a loader's lock is silent for as long as the load takes: without a sign of life each
    # minute a firewall in between would forget it, and with it the lock.
    wanted = {"connect_timeout": 10, "keepalives_idle": 60}
    arguments = {name: value for name, value in wanted.items() if name not in url.query}
    try:
        engine = create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=arguments)
    except ModuleNotFoundError as error:
        message = f"{SETTING} names PostgreSQL, whose driver is not installed."
        raise ConfigError(message, fix="Run: pip install 'sync-pipeline[postgres]'") from error

    def prepare(connection: Any, _record: object) -> None:
        with _closed_on_error(connection):
            with connection.cursor() as cursor:
                cursor.execute(f"SET lock_timeout = {int(timeout * 1000)}")
            connection.commit()

    event.listen(engine, "connect", prepare)
    return Store(engine=engine, dialect="postgresql", place=place, path=None)


def _bring_to_head(store: Store) -> None:
    with store.reading() as connection:
        version = stored_version(connection)
    if version != HEAD:
        # Alembic costs a quarter of a second to import: only the rare start that migrates pays it.
        from sync_pipeline.store.migrations.runner import migrate

        migrate(store)


def stored_version(connection: Connection) -> str | None:
    """The schema revision the database is at; ``None`` when it is new."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: Select[str] = select(column("version_num")).select_from(table(VERSION_TABLE))
    version: str | None = connection.scalar(found)
    return version
