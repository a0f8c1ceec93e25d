"""Locks that end with their process: for loading an entity, for renewing a token, and for being a run that is alive.

PostgreSQL frees an advisory lock when the connection that holds it ends, the operating system that of a file when its
process does. So a lock can be lost while its holder is alive - a terminated connection, a failover, a removed file - and
the holder checks it before each write to a vendor: ``Store.check_locks``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Protocol

from filelock import FileLock, Timeout
from sqlalchemy import Connection, text

from sync_pipeline.errors import LockLost, StoreError
from sync_pipeline.store.engine import HeldConnection, Store
from sync_pipeline.store.errors import unwritable

OnWait = Callable[[str], None]


class Lock(Protocol):
    """One lock, shared by all machines that use the store; any thread may call it."""

    def take(self, wait: Callable[[], None] | None = None) -> bool:
        """Take it; if it is taken, call ``wait`` and wait for it, or without ``wait`` return False."""

    def is_held(self) -> bool:
        """Whether this process still holds it."""

    def is_free(self) -> bool:
        """Whether no process holds it, this one included."""

    def was_freed_by_end(self) -> bool:
        """Whether a lock that is free is so because the process that held it has ended, or released it; False if unknown."""

    def release(self, *, for_good: bool = False) -> None:
        """Release it; with ``for_good`` it is never taken again, so its file is deleted."""


@contextmanager
def lock(store: Store, key: str, label: str, words: str = "", on_wait: OnWait | None = None) -> Iterator[Lock]:
    """Be the only one, on all machines that share the store, who holds the lock ``key``.

    If another process holds it, report ``words`` once through ``on_wait`` and wait. ``label`` names the file beside SQLite.
    """
    taken = lock_of(store, key, label)
    taken.take(lambda: on_wait(words) if on_wait is not None else None)
    try:
        yield taken
    finally:
        taken.release()


@contextmanager
def locks(store: Store, keys: Sequence[str], label: str) -> Iterator[None]:
    """Hold all of these locks, taken in this order; on PostgreSQL with one connection, however many they are."""
    with ExitStack() as open_:
        if store.path is not None:
            for key in keys:
                open_.enter_context(lock(store, key, label))
        elif keys:
            held = open_.enter_context(store.holding())
            open_.callback(_unlock, held)
            with held.writing() as tx:
                tx.execute(_ENDURING)
            for key in keys:
                with held.writing() as tx:
                    tx.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _number(key)})
        yield


def lock_of(store: Store, key: str, label: str) -> Lock:
    """The lock of this name, not taken yet; ``label`` names the file beside SQLite."""
    if store.path is None:
        return _ServerLock(store, _number(key))
    return _OsLock(store, store.path.with_name(f"{store.path.name}.{label}-{_digest(key).hex()[:12]}.lock"))


def take_turn(store: Store, tx: Connection, key: str) -> None:
    """Wait until no other transaction holds this key; the end of this one releases it.

    On SQLite a transaction that writes is the only one anyway.
    """
    if store.dialect == "postgresql":
        tx.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _number(key)})


def lost(store: Store, name: str) -> LockLost:
    """The error of a process whose lock another one may hold by now."""
    cause = "the connection that held it has ended" if store.path is None else "its file was removed"
    return LockLost(
        f"{store.place} does not hold {name} for this process any more: {cause}. Nothing more is sent.",
        fix="Run again: what is left is delivered then.",
    )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _number(key: str) -> int:
    return int.from_bytes(_digest(key)[:8], signed=True)


class LockForWrites:
    """A lock without which no write is sent; a lost one is never taken again."""

    def __init__(self, store: Store, lock: Lock, name: str) -> None:
        self._store, self._lock, self._name = store, lock, name
        self._is_lost = False

    def check(self, *, ask: bool) -> None:
        """Raise LockLost when it has been lost; without ``ask``, when that is known."""
        if self._is_lost or (ask and not self._lock.is_held()):
            self._is_lost = True
            raise lost(self._store, self._name)


class _OsLock:
    """The operating system frees it when the process ends. The empty file stays: removing it would race.

    No soft fallback: a lock that is a mere file would outlive its process.
    """

    def __init__(self, store: Store, path: Path) -> None:
        self._place, self._path = f"{store.place}: its lock {path.name}", path
        self._lock = FileLock(path, mode=0o600, fallback_to_soft=False, thread_local=False)
        self._taken: tuple[int, int] | None = None

    def take(self, wait: Callable[[], None] | None = None) -> bool:
        try:
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                if wait is None:
                    return False
                wait()
                self._lock.acquire()
            self._taken = self._file()
        except OSError as error:
            raise unwritable(self._place, error) from error
        return True

    def is_held(self) -> bool:
        return self._taken is not None and self._taken == self._file()

    def is_free(self) -> bool:
        if self._file() is None:
            return True
        if self._taken is not None or not self.take():
            return False
        self.release()
        return True

    def was_freed_by_end(self) -> bool:
        return self._file() is not None  # that of a process that works can only be removed

    def release(self, *, for_good: bool = False) -> None:
        if for_good and self.is_held():
            self._path.unlink(missing_ok=True)
        self._taken = None
        self._lock.release()

    def _file(self) -> tuple[int, int] | None:
        """Which file has the name now."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino


# The connection is idle for as long as a load takes: no time-out may end it or its wait, and the server notices within
# about ten seconds that the machine of its client is down. Settings that this server's version does not have are left out.
_ENDURING = text("""
    SELECT set_config(name, value, false) FROM (VALUES
        ('lock_timeout', '0'), ('statement_timeout', '0'), ('transaction_timeout', '0'),
        ('idle_session_timeout', '0'), ('idle_in_transaction_session_timeout', '0'),
        ('tcp_keepalives_idle', '5'), ('tcp_keepalives_interval', '2'), ('tcp_keepalives_count', '3')
    ) AS wanted (name, value) WHERE current_setting(name, true) IS NOT NULL
""")
_HELD = text("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid())")
_FREE = text("""
    SELECT NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND objsubid = 1 AND (classid::bigint << 32) | objid::bigint = :key)
""")


def _unlock(held: HeldConnection) -> None:
    if not held.connection.invalidated:
        with suppress(StoreError), held.reading() as tx:  # it notices a closed connection a moment later
            tx.execute(text("SELECT pg_advisory_unlock_all()"))


class _ServerLock:
    """A session-level advisory lock: the server frees it when its connection has ended, not at a commit."""

    def __init__(self, store: Store, key: int) -> None:
        self._store, self._key = store, key
        self._mutex = RLock()
        self._open = ExitStack()
        self._held: HeldConnection | None = None

    def take(self, wait: Callable[[], None] | None = None) -> bool:
        with self._mutex:
            held = self._open.enter_context(self._store.holding())
            try:
                taken = self._take_on(held, wait)
            except BaseException:
                self._open.close()
                raise
            self._held = held if taken else None
            if not taken:
                self._open.close()
            return taken

    def _take_on(self, held: HeldConnection, wait: Callable[[], None] | None) -> bool:
        key = {"key": self._key}
        with held.writing() as tx:
            tx.execute(_ENDURING)
            taken = tx.scalar(text("SELECT pg_try_advisory_lock(:key)"), key)
        if not taken and wait is not None:
            wait()
            with held.writing() as tx:
                tx.execute(text("SELECT pg_advisory_lock(:key)"), key)
        return bool(taken or wait)

    def is_held(self) -> bool:
        with self._mutex:
            if self._held is None:
                return False
            try:
                with self._held.reading() as tx:
                    return bool(tx.scalar(_HELD))
            except StoreError:
                return False

    def is_free(self) -> bool:
        with self._store.reading() as tx:
            return bool(tx.scalar(_FREE, {"key": self._key}))

    def was_freed_by_end(self) -> bool:
        return False  # or its connection has

    def release(self, *, for_good: bool = False) -> None:
        del for_good  # the server keeps nothing
        with self._mutex:
            held, self._held = self._held, None
            try:
                if held is not None:
                    _unlock(held)
            finally:
                self._open.close()
