"""Processes that hold the lock of a run, and time that passes for those who look at them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta

from sqlalchemy import select, update

from sync_pipeline.store.engine import open_store
from sync_pipeline.store.liveness import is_dead, is_locked
from sync_pipeline.store.schema import run_locks
from sync_pipeline_tests.forking import Started
from sync_pipeline_tests.scenarios.commands import wait_until

HOLDER = """
import sys
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.liveness import alive
with alive(open_store(sys.argv[1]), sys.argv[2]):
    print("alive", flush=True)
    sys.stdin.read()
"""


@contextmanager
def living(url: str, run_id: str) -> Iterator[subprocess.Popen[str]]:
    """A process that is this run, until it is killed or this ends."""
    command = [sys.executable, "-c", HOLDER, url, run_id]
    with Started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "alive\n"
        try:
            yield process
        finally:
            process.kill()


def kill(process: subprocess.Popen[str], url: str, run_id: str) -> None:
    """`kill -9`, and its lock is free: a PostgreSQL server notices a moment later that a client is disconnected."""
    process.kill()
    process.wait()
    with closing(open_store(url)) as store:
        wait_until(lambda: not is_locked(store, run_id))


def grow_old(url: str, seconds: float = 3600) -> None:
    """What was noted of runs was noted so much earlier."""
    with closing(open_store(url)) as store, store.writing() as tx:
        for run_id, started_at, free_at in tx.execute(select(*run_locks.c["run_id", "started_at", "free_at"])).all():
            earlier = {"started_at": _before(started_at, seconds), "free_at": _before(free_at, seconds)}
            tx.execute(update(run_locks).where(run_locks.c.run_id == run_id).values(earlier))


def outlast(url: str) -> None:
    """All runs are looked at, and an hour passes: those that hold no lock are dead at the next look."""
    with closing(open_store(url)) as store:
        with store.reading() as tx:
            runs = list(tx.scalars(select(run_locks.c.run_id)))
        for run_id in runs:
            is_dead(store, run_id)
    grow_old(url)


def _before(instant: datetime | None, seconds: float) -> datetime | None:
    return None if instant is None else instant - timedelta(seconds=seconds)
