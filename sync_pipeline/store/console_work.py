"""The progress of work that a console does in the background, for the pages of any instance.

A lock that ends with its process shows whether the work is still running.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import delete, select

from sync_pipeline.store.engine import Store, insert_into
from sync_pipeline.store.locks import Lock, lock_of
from sync_pipeline.store.schema import console_work


class WorkProgress(NamedTuple):
    """The last stored progress of one piece of work."""

    begun_at: datetime
    state: dict[str, Any]


def take(store: Store, setup: str, kind: str, held: ExitStack) -> bool:
    """Start work of this kind until ``held`` is closed; False if any instance is doing it already."""
    lock = _lock(store, setup, kind)
    if lock.take():
        held.callback(lock.release)
        return True
    return False


def is_under_way(store: Store, setup: str, kind: str) -> bool:
    """Whether any instance is doing it."""
    return not _lock(store, setup, kind).is_free()


def note(store: Store, setup: str, kind: str, progress: WorkProgress) -> None:
    """Store the progress."""
    values = {"begun_at": progress.begun_at, "state": orjson.dumps(progress.state).decode()}
    statement = insert_into(store, console_work).values(setup=setup, kind=kind, **values)
    with store.writing() as tx:
        tx.execute(statement.on_conflict_do_update(index_elements=["setup", "kind"], set_=values))


def read(store: Store, setup: str, kind: str) -> WorkProgress | None:
    """The progress of the newest work of this kind; None if none is stored."""
    columns = console_work.c.begun_at, console_work.c.state
    with store.reading() as tx:
        row = tx.execute(select(*columns).where(*_one(setup, kind))).one_or_none()
    return None if row is None else WorkProgress(row.begun_at, orjson.loads(row.state))


def forget(store: Store, setup: str, kind: str) -> None:
    """Keep nothing of it: what it found is elsewhere."""
    with store.writing() as tx:
        tx.execute(delete(console_work).where(*_one(setup, kind)))


def _one(setup: str, kind: str) -> tuple[Any, ...]:
    return console_work.c.setup == setup, console_work.c.kind == kind


def _lock(store: Store, setup: str, kind: str) -> Lock:
    return lock_of(store, f"console\n{setup}\n{kind}", f"console-{kind}")
