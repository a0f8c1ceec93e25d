"""Opening the store: one engine for SQLite or PostgreSQL, at the schema this version knows."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from time import monotonic
from typing import Any, Literal, Protocol

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Table,
    create_engine,
    event,
    func,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError

from sync_pipeline.clock import unix_time, utc_now
from sync_pipeline.errors import ConfigError, StoreError
from sync_pipeline.private_files import private_file
from sync_pipeline.store.errors import SETTING, store_errors, unwritable
from sync_pipeline.store.schema import HEAD, newer_schema, stored_version

Dialect = Literal["sqlite", "postgresql"]

ENGINES = 8
"""Engines that a process keeps: with each come its compiled statements, which cost as much as running them on few rows.

No number limits the connections of one: all stores of the process share it, and a thread that waits for the database must
not keep the others from it.
"""
STATEMENTS = 1500
"""Compiled statements that an engine keeps; there are fewer."""
AHEAD_SECONDS, AHEAD_TRIES = 60.0, 3
"""How often the clocks of store and process are compared, and how many times: the fastest answer counts."""
_USERS: dict[Engine, set[int]] = {}
_LOCK = threading.Lock()

EXAMPLES = "Use sqlite:////absolute/file.db or postgresql://user:password@host/database."


class RequiredLock(Protocol):
    """A lock that this process must hold to write to a vendor."""

    def check(self, *, ask: bool) -> None:
        """Raise LockLost when it has been lost; without ``ask``, when that is known."""


@dataclass(frozen=True, slots=True)
class Store:
    """An open database. Every use goes through one of the context managers, so every error is explained."""

    engine: Engine
    dialect: Dialect
    place: str
    """How messages call it: the file, or server and database; never a password."""
    path: Path | None
    """The SQLite file; ``None`` on PostgreSQL."""
    _required: list[RequiredLock] = field(default_factory=list, repr=False, compare=False)
    _runs: list[str] = field(default_factory=list, repr=False, compare=False)
    _ahead: list[float] = field(default_factory=list, repr=False, compare=False)
    """When the clocks were compared, and the difference."""

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One transaction that takes no write lock; within a snapshot that of the snapshot."""
        held = _SNAPSHOT.get()
        if held is not None and held[0] is self:
            with store_errors(self.place):
                yield held[1]
            return
        with store_errors(self.place), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reads of this thread in this context see one state of the database, whatever other transactions commit."""
        with self.reading() as connection:
            held = _SNAPSHOT.get()
            if self.dialect == "postgresql" and (held is None or held[1] is not connection):
                connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            token = _SNAPSHOT.set((self, connection))
            try:
                yield
            finally:
                _SNAPSHOT.reset(token)

    @contextmanager
    def writing(self, *, durable: bool = False) -> Iterator[Connection]:
        """One transaction that is committed whole or not at all.

        A power cut may undo the last transactions on SQLite, in order, but no ``durable`` one and none before it: a sender
        or a vendor relies on those. PostgreSQL keeps all (``synchronous_commit``).
        """
        options = {"writes": True, "durable": durable}
        with store_errors(self.place), self.engine.execution_options(**options).begin() as connection:
            yield connection

    @contextmanager
    def holding(self) -> Iterator[HeldConnection]:
        """One connection for many transactions, for what lives on a connection: temporary tables, locks.

        It is really closed afterwards, so nothing of it can reach the next user of the pool. Only its
        transactions explain errors: what is raised between them is not the database's.
        """
        with closing(self.hold()) as held:
            yield held

    def hold(self) -> HeldConnection:
        """The same, until it is closed."""
        with store_errors(self.place):
            connection = self.engine.connect()
            driver = connection.connection.driver_connection
            connection.detach()
        return HeldConnection(connection, driver, self.place)

    @property
    def run_id(self) -> str | None:
        """The run that is alive on this store, under which it claims records; None when none is."""
        return self._runs[-1] if self._runs else None

    @contextmanager
    def working_under(self, required: RequiredLock, run_id: str | None = None) -> Iterator[None]:
        """Within this context no write is sent to a vendor once this lock is lost; ``run_id`` where it is that of a run."""
        self._required.append(required)
        runs = [run_id] if run_id is not None else []
        self._runs.extend(runs)
        try:
            yield
        finally:
            self._required.remove(required)
            for run in runs:
                self._runs.remove(run)

    def check_locks(self, *, ask: bool = True) -> None:
        """Raise LockLost when a lock this process works under has been lost.

        This asks the database; without ``ask`` it raises only for a loss that is already known.
        """
        for required in tuple(self._required):
            required.check(ask=ask)

    def now(self, tx: Connection) -> datetime:
        """The current instant by the clock that all processes of this store share."""
        return utc_now() if self.dialect == "sqlite" else tx.execute(select(func.clock_timestamp())).scalar_one()

    @property
    def ahead(self) -> float:
        """Seconds by which the clock that all processes of this store share is ahead of this one's; measured each minute."""
        if self.dialect == "sqlite":
            return 0.0
        if not self._ahead or monotonic() - self._ahead[0] > AHEAD_SECONDS:
            with self.reading() as tx:
                measured = [self._compare_clocks(tx) for _ in range(AHEAD_TRIES)]
            self._ahead[:] = monotonic(), min(measured)[1]
        return self._ahead[1]

    def _compare_clocks(self, tx: Connection) -> tuple[float, float]:
        """Seconds until the answer, the most by which the comparison can be wrong, and seconds by which the shared clock is ahead."""
        before, shared, after = unix_time(), self.now(tx).timestamp(), unix_time()
        return after - before, shared - (before + after) / 2

    def close(self) -> None:
        """Give all connections back; the store may not be used afterwards."""
        with _LOCK:
            users = _USERS.get(self.engine, set())
            users.discard(id(self))
            if not users:
                _USERS.pop(self.engine, None)
                self.engine.dispose()


@dataclass(frozen=True, slots=True)
class HeldConnection:
    """One connection, kept. Between its transactions it holds neither a lock nor a snapshot."""

    connection: Connection
    driver: Any
    """The driver's own connection: SQLAlchemy gives a detached one up without closing it when Ctrl-C interrupts a statement."""
    place: str

    def close(self) -> None:
        """Close the connection, with all that lives on it."""
        with closing(self.driver):
            self.connection.close()

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction that writes only temporary tables, which block no other process."""
        return self._begin(writes=False)

    def writing(self, *, durable: bool = False) -> AbstractContextManager[Connection]:
        """A transaction that writes shared tables; ``durable`` as for ``Store.writing``."""
        return self._begin(writes=True, durable=durable)

    @contextmanager
    def _begin(self, *, writes: bool, durable: bool = False) -> Iterator[Connection]:
        with store_errors(self.place):
            self.connection.execution_options(writes=writes, durable=durable)
            try:
                with self.connection.begin():
                    yield self.connection
            except Exception:
                raise
            except BaseException:
                # Ctrl-C: the connection may still be in the transaction, and writes of the clean-up would wait for it.
                self.connection.invalidate()
                self.driver.close()
                raise


_SNAPSHOT: ContextVar[tuple[Store, Connection] | None] = ContextVar("_SNAPSHOT", default=None)
"""The transaction in which everything is read now."""


def open_store(url: str, *, timeout: float = 30.0, import_setup: Callable[[Connection], None] | None = None) -> Store:
    """Open the database at ``url``, create or migrate it as needed.

    ``timeout`` is how long to wait for another program's lock, in seconds. ``import_setup`` is called in the transaction
    that gives the database its table of set-ups, and in no other.
    """
    store = _connected(_parse(url), timeout)
    try:
        if store.dialect == "postgresql":
            _refuse_shared_sessions(store)
        _bring_to_head(store, import_setup)
    except BaseException:
        store.close()
        raise
    return store


def existing_store(url: str, *, timeout: float = 30.0) -> Store | None:
    """The database at ``url`` at whatever schema it has; None when there is no such SQLite file."""
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite" and not _path_of(parsed).exists():
        return None
    return _connected(parsed, timeout)


def _connected(url: URL, timeout: float) -> Store:
    return _sqlite(url, timeout) if url.get_backend_name() == "sqlite" else _postgresql(url, timeout)


def _path_of(url: URL) -> Path:
    return Path(url.database or "").expanduser().absolute()


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
    path = _path_of(url)
    place = f"The database {path}"
    try:
        private_file(path)
        file = path.stat()
    except OSError as error:
        raise unwritable(place, error) from error
    engine = _sqlite_engine(url.set(database=str(path)), timeout, (file.st_dev, file.st_ino))
    return _used(Store(engine, "sqlite", place, path))


@lru_cache(maxsize=ENGINES)
def _sqlite_engine(url: URL, timeout: float, file: tuple[int, int]) -> Engine:
    """``file`` is the one that has the name now: once it is replaced, open connections go on with the one before."""
    del file
    engine = create_engine(
        url,
        hide_parameters=True,
        connect_args={"timeout": timeout, "check_same_thread": False},
        max_overflow=-1,
        pool_use_lifo=True,  # each connection has a cache of its own: few that are used fill fewer
        query_cache_size=STATEMENTS,
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _used(store: Store) -> Store:
    """Count a store among those that use its engine: the last one that is closed closes the connections."""
    with _LOCK:
        _USERS.setdefault(store.engine, set()).add(id(store))
    return store


def _forget_engines() -> None:
    """In a forked process: the connections are its parent's, and no thread is left that would give the lock back."""
    global _LOCK  # noqa: PLW0603 - the one moment at which it changes
    _LOCK = threading.Lock()
    _sqlite_engine.cache_clear()
    _postgresql_engine.cache_clear()
    _USERS.clear()


os.register_at_fork(after_in_child=_forget_engines)


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
    """A writer takes the write lock immediately: upgrading a read snapshot later could fail without waiting."""
    options = connection.get_execution_options()
    if options.get("writes"):
        level = "FULL" if options.get("durable") else "NORMAL"
        connection.connection.cursor().execute(f"PRAGMA synchronous={level}")  # only possible before it begins
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("BEGIN")


# Connections with locks and temporary tables are idle while an API is asked: the server must not end them for that. Each statement
# sees what was committed before it, whatever the server's default: who has waited for a lock must not look at what was before it.
# A statement reads some days of an entity, or a page. With the default of random_page_cost, 4 for rotating disks, PostgreSQL scans the
# table instead of using the index, and JIT compilation takes longer than such a statement. Values other than the defaults are kept.
_PREPARED = """
    SELECT set_config(name, value, false)
    FROM (VALUES ('lock_timeout', %(timeout)s, NULL), ('idle_session_timeout', '0', NULL),
        ('default_transaction_isolation', 'read committed', NULL), ('random_page_cost', '1.1', '4'), ('jit', 'off', 'on')
    ) AS wanted (name, value, default_value)
    WHERE current_setting(name, true) = COALESCE(default_value, current_setting(name, true))
"""
_BACKEND = text("SELECT pg_backend_pid()")


def _postgresql(url: URL, timeout: float) -> Store:
    place = f"The PostgreSQL database {url.database!r} on {url.host or url.query.get('host') or 'this machine'}"
    try:
        engine = _postgresql_engine(url, timeout)
    except ModuleNotFoundError as error:
        message = f"{SETTING} names PostgreSQL, whose driver is not installed."
        raise ConfigError(message, fix="Run: pip install 'sync-pipeline[postgres]'") from error
    return _used(Store(engine, "postgresql", place, None))


def time_limits(url: URL) -> dict[str, int]:
    """What to connect to PostgreSQL with, unless the URL says otherwise: how long its server may be silent.

    A connection is idle for as long as the work takes: without keepalives a firewall in between would drop it, and a lock
    that it holds would be lost. A server that is down is noticed within half a minute, or 10 seconds after a query.
    """
    wanted = {
        "connect_timeout": 10,
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }
    return {name: value for name, value in wanted.items() if name not in url.query}


@lru_cache(maxsize=ENGINES)
def _postgresql_engine(url: URL, timeout: float) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,
        max_overflow=-1,
        pool_pre_ping=True,
        connect_args=time_limits(url),
        query_cache_size=STATEMENTS,
    )

    def prepare(connection: Any, _record: object) -> None:
        with _closed_on_error(connection):
            with connection.cursor() as cursor:
                cursor.execute(_PREPARED, {"timeout": f"{int(timeout * 1000)}"})
            connection.commit()

    event.listen(engine, "connect", prepare)
    return engine


def _refuse_shared_sessions(store: Store) -> None:
    """Raise ConfigError behind a pooler that gives each transaction another session of the server."""
    with store.reading() as tx:
        greeted: Any = tx.connection.driver_connection
        if greeted is None or tx.scalar(_BACKEND) == greeted.info.backend_pid:
            return  # the server itself: a pooler reports another process id
    if _changes_session(store):
        raise ConfigError(
            f"{store.place} is behind a connection pooler in transaction mode (PgBouncer or alike), which ends our "
            "locks and temporary tables with each transaction.",
            fix=f"Name the PostgreSQL server itself in {SETTING}, or set pool_mode=session for this database.",
        )


def _changes_session(store: Store) -> bool:
    """Whether one of two connections gets another session of the server while the other one keeps a session busy."""
    with store.holding() as one, store.holding() as other:
        before, after, kept = _backend(one), None, None
        try:
            with other.reading() as tx:
                # A pooler without a second session would wait for the end of this transaction, so the server ends it.
                tx.execute(text("SET LOCAL idle_in_transaction_session_timeout = '2s'"))
                kept = tx.scalar(_BACKEND)
                after = _backend(one)
        except StoreError:
            if after is None:
                raise
        return before != after or kept != _backend(other)


def _backend(held: HeldConnection) -> int:
    with held.reading() as tx:
        return int(tx.execute(_BACKEND).scalar_one())


def _bring_to_head(store: Store, import_setup: Callable[[Connection], None] | None) -> None:
    with store.reading() as connection:
        version = stored_version(connection)
    if version == HEAD:
        return
    # Alembic costs a quarter of a second to import: only the rare start that migrates pays it.
    from sync_pipeline.store.migrations.runner import migrate

    with store.writing() as connection:
        migrate(connection, store.place, store.path, import_setup)


def require_head(store: Store) -> None:
    """Raise NewerSchema when a newer version has migrated the database since it was opened."""
    with store.reading() as connection:
        version = stored_version(connection)
    if version != HEAD:
        raise newer_schema(store.place, str(version))


def insert_into(store: Store, table: Table) -> sqlite.Insert:
    """An insert that can say what to do on a conflict.

    Both dialects offer the same methods without a shared type, so one is used in place of the other here.
    """
    if store.dialect == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)  # type: ignore[return-value]  # same interface, see above


def plain(words: str) -> str:
    """Without NUL and lone surrogates, which PostgreSQL and UTF-8 cannot hold."""
    return words.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
