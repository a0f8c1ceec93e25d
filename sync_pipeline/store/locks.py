"""One at a time, under a lock that dies with its process: one loader of an entity, one renewal of a token."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import text

from sync_pipeline.store.engine import Store
from sync_pipeline.store.errors import unwritable

OnWait = Callable[[str], None]


@contextmanager
def loader_lock(store: Store, connection: str, entity: str, on_wait: OnWait | None = None) -> Iterator[None]:
    """Be the only one who loads ``entity``; if another is at it, say so once through ``on_wait`` and wait."""
    words = f"Another process is loading {entity}: waiting for it to finish."
    with lock(store, f"{connection}\n{entity}", entity, words, on_wait):
        yield


@contextmanager
def lock(store: Store, key: str, label: str, words: str = "", on_wait: OnWait | None = None) -> Iterator[None]:
    """Be the only one, on all machines that share the store, who holds the lock ``key``.

    If another has it, say ``words`` once through ``on_wait`` and wait. ``label`` names the file beside SQLite. The
    thread that enters must also be the one that leaves.
    """
    digest = hashlib.sha256(key.encode()).digest()

    def wait() -> None:
        if on_wait is not None:
            on_wait(words)

    if store.path is None:
        with _server_lock(store, int.from_bytes(digest[:8], signed=True), wait):
            yield
    else:
        name = f"{store.path.name}.{label}-{digest.hex()[:12]}.lock"
        with _file_lock(store, store.path.with_name(name), wait):
            yield


@contextmanager
def _file_lock(store: Store, path: Path, wait: Callable[[], None]) -> Iterator[None]:
    """The operating system frees it when the process ends. The empty file stays: removing it would race.

    No soft fallback: a lock that is a mere file would outlive its process.
    """
    lock = FileLock(path, mode=0o600, fallback_to_soft=False)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            wait()
            lock.acquire()
    except OSError as error:
        raise unwritable(f"{store.place}: its lock {path.name}", error) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _server_lock(store: Store, key: int, wait: Callable[[], None]) -> Iterator[None]:
    """A session-level advisory lock: the server frees it when its connection is gone, not at a commit."""
    with store.holding() as held:
        with held.writing() as own:
            own.execute(text("SET lock_timeout = 0"))
            free = own.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key})
        if not free:
            wait()
            with held.writing() as own:
                own.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
        yield
