"""Which runs are alive: each holds a lock of its own for as long as its session is open.

A run is dead when its lock is found free in two checks that are 20 seconds apart. A run that is alive takes its lock again
within 15 seconds after its connection was lost, or ends. Both update the run's row, so only one of the two can happen. All
times are of the store's clock: the checks run on other machines, and the second check may run in another process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from threading import Event, RLock, Thread
from time import monotonic

from sqlalchemy import Connection, delete, func, select, update

from sync_pipeline.clock import has_passed
from sync_pipeline.errors import LockLost, StoreError
from sync_pipeline.store.engine import Store, insert_into
from sync_pipeline.store.locks import Lock, lock_of, lost
from sync_pipeline.store.schema import run_locks

WATCH_SECONDS = 3.0
RETAKE_SECONDS = 15.0
"""After the lock was last known to be held. Shorter than the 20 seconds after which a check may declare the run dead."""
RETAKE_PAUSE = 0.5
LOOKS_APART = timedelta(seconds=20)
YOUNGEST = timedelta(seconds=30)
STARTING = timedelta(seconds=30)
"""How long a run that has not yet taken its lock counts as alive, from the first check on: its process is starting."""
WITHOUT_LOCKS = timedelta(days=1)
"""The same for a run of an earlier version, which never takes one."""
KEPT = timedelta(days=30)
"""How long the rows of runs that did not delete theirs are kept."""


@contextmanager
def alive(store: Store, run_id: str) -> Iterator[None]:
    """Within this context the run counts as alive, and sends no write to a vendor without its lock."""
    run = _LivingRun(store, run_id)
    run.begin()
    try:
        with store.working_under(run, run_id):
            yield
    finally:
        run.end()


def is_locked(store: Store, run_id: str) -> bool:
    """Whether the run holds its lock at this moment."""
    return not _lock(store, run_id).is_free()


def is_dead(store: Store, run_id: str, *, takes_lock: bool = True) -> bool:
    """Check once a run that has not ended; true from the second check that finds its lock free, 20 seconds later.

    ``takes_lock``: whether its version takes one; a run that was killed before it did is dead ``STARTING`` later.
    """
    is_free = _lock(store, run_id).is_free()
    row = run_locks.c.run_id == run_id
    with store.writing() as tx:
        now = store.now(tx)
        found = tx.execute(select(run_locks).where(row)).one_or_none()
        if found is None:
            if is_free:
                first = insert_into(store, run_locks).values(run_id=run_id, free_at=now)
                tx.execute(first.on_conflict_do_nothing())
            return False
        if found.dead_at is not None:
            return True
        if not is_free or found.free_at is None or found.free_at > now:  # in the future: the clock was set back
            tx.execute(update(run_locks).where(row).values(free_at=now if is_free else None))
            return False
        if found.started_at is None:
            is_over = has_passed(found.free_at, STARTING if takes_lock else WITHOUT_LOCKS, now)
        else:
            is_over = has_passed(found.free_at, LOOKS_APART, now) and has_passed(found.started_at, YOUNGEST, now)
        unchanged = (row, run_locks.c.free_at == found.free_at)  # it has not taken its lock again meanwhile
        return is_over and tx.execute(update(run_locks).where(*unchanged).values(dead_at=now)).rowcount == 1


def note_waiting(store: Store, run_id: str) -> None:
    """Forget what checks have found of a run that waits for a process: the time that one has for starting begins after that."""
    with store.writing() as tx:
        tx.execute(delete(run_locks).where(run_locks.c.run_id == run_id, run_locks.c.started_at.is_(None)))


def has_ended(store: Store, run_id: str) -> bool:
    """Whether a run that has held its lock works no more: it has ended, its process has, or it is dead."""
    lock = _lock(store, run_id)
    if not lock.is_free():
        return False
    with store.reading() as tx:
        is_noted = tx.scalar(select(run_locks.c.run_id).where(run_locks.c.run_id == run_id)) is not None
    return not is_noted or lock.was_freed_by_end() or is_dead(store, run_id)


def _lock(store: Store, run_id: str) -> Lock:
    return lock_of(store, f"run\n{run_id}", "run")


class _LivingRun:
    """The lock of this run, checked by a thread where its connection can be lost."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store, self._run_id = store, run_id
        self._lock = _lock(store, run_id)
        self._mutex = RLock()
        self._is_lost = False
        self._has_ended = Event()
        self._watcher = Thread(target=self._watch, name="run-lock", daemon=True)

    def begin(self) -> None:
        """Take the lock and note it in the run's row; waits while a check holds the lock."""
        self._lock.take(lambda: None)
        try:
            self._note()
        except BaseException:  # the caller ends only a run that has started
            self._lock.release()
            raise
        if self._store.path is None:
            self._watcher.start()

    def _note(self) -> None:
        self._seen = monotonic()
        with self._store.writing() as tx:
            now = self._store.now(tx)
            values = {"started_at": now, "free_at": None, "dead_at": None}  # a run may be resumed under its id
            own = insert_into(self._store, run_locks).values(run_id=self._run_id, **values)
            tx.execute(own.on_conflict_do_update(index_elements=["run_id"], set_=values))
            outdated = _remove_before(tx, now - KEPT)
        for run_id in outdated:
            _discard(_lock(self._store, run_id))

    def end(self) -> None:
        """Release the lock: the run ends, or its failure is being reported."""
        self._has_ended.set()
        with self._mutex:
            is_noted = True
            try:
                with suppress(StoreError):  # the run's own outcome is what matters
                    if not self._is_lost:
                        with self._store.writing() as tx:
                            tx.execute(delete(run_locks).where(run_locks.c.run_id == self._run_id))
                        is_noted = False
            finally:
                self._lock.release(for_good=not is_noted)

    def check(self, *, ask: bool) -> None:
        """Raise LockLost when the lock was lost and could not be taken again in time."""
        if ask:
            with self._mutex:
                asked = monotonic()
                self._is_lost = self._is_lost or not (self._lock.is_held() or self._take_again())
                self._seen = asked
        if self._is_lost:
            raise lost(self._store, f"the lock of the run {self._run_id}")

    def _watch(self) -> None:
        with suppress(LockLost):  # noted: the next request of the run raises it
            while not self._has_ended.wait(WATCH_SECONDS):
                self.check(ask=True)

    def _take_again(self) -> bool:
        self._lock.release()
        while not self._has_ended.is_set() and monotonic() - self._seen < RETAKE_SECONDS:
            with suppress(StoreError):
                if self._lock.take():
                    return self._confirm_alive()
            self._lock.release()
            self._has_ended.wait(RETAKE_PAUSE)
        return False

    def _confirm_alive(self) -> bool:
        """Note that the lock is held again; False, and the lock is released, when the run was declared dead meanwhile."""
        own = (run_locks.c.run_id == self._run_id, run_locks.c.dead_at.is_(None))
        with self._store.writing() as tx:
            is_alive = tx.execute(update(run_locks).where(*own).values(free_at=None)).rowcount == 1
        if not is_alive:
            self._lock.release()
        return is_alive


def _remove_before(tx: Connection, limit: object) -> list[str]:
    outdated = delete(run_locks).where(func.coalesce(run_locks.c.started_at, run_locks.c.free_at) < limit)
    return list(tx.scalars(outdated.returning(run_locks.c.run_id)))


def _discard(lock: Lock) -> None:
    if lock.take():
        lock.release(for_good=True)
