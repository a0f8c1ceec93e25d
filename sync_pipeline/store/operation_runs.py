"""Operations that are sent once for a key: noted before they are sent, so that the same key never sends again.

A key is kept for good: it could be used again at any time. Only those that Dagster's runs are given by default are deleted by age.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import and_, delete, select, update

from sync_pipeline.store.engine import Store, insert_into
from sync_pipeline.store.schema import operation_runs, records, syncs

RUN = "run "
"""How the keys begin that Dagster's runs are given by default."""
State = Literal["sent", "done", "refused", "unknown"]


class OnceRun(NamedTuple):
    """The outcome of an operation that was run for a key."""

    operation: str
    digest: str
    by: str
    at: datetime
    state: str
    """"sent" when the process ended before it was answered."""
    status: int | None
    target_id: str | None


_RUN = select(*(operation_runs.c[name] for name in OnceRun._fields))


def claim(store: Store, pair: str, key: str, run: OnceRun) -> OnceRun | None:
    """Note that it is about to be sent; returns the earlier run where this key was used before.

    On the disk when this returns: a power cut must not let the same key send it again.
    """
    row = {"connection": pair, "once_key": key, **run._asdict()}
    mine = (operation_runs.c.connection == pair, operation_runs.c.once_key == key)
    with store.writing(durable=True) as tx:
        made = tx.execute(insert_into(store, operation_runs).values(row).on_conflict_do_nothing())
        if made.rowcount:
            return None
        return OnceRun(*tx.execute(_RUN.where(*mine)).one())


def finish(store: Store, pair: str, key: str, state: State, status: int | None, target_id: str | None) -> None:
    """Note the outcome."""
    mine = (operation_runs.c.connection == pair, operation_runs.c.once_key == key)
    with store.writing() as tx:
        tx.execute(update(operation_runs).where(*mine).values(state=state, status=status, target_id=target_id))


def owned_elsewhere(
    store: Store, pair: str, entities: Collection[str], target_ids: Collection[str], since: datetime
) -> list[str]:
    """The entities of other pairs of this database, synced ``since`` then, that one of these ids at the target belongs to."""
    others = select(syncs.c.connection).where(syncs.c.begun_at >= since).distinct()
    linked = records.c.entity.in_(entities), records.c.target_id.in_(target_ids)
    found = select(records.c.entity).where(records.c.connection.in_(others), records.c.connection != pair, *linked)
    with store.reading() as tx:
        return list(tx.scalars(found.distinct()))


def release(store: Store, pair: str, key: str) -> None:
    """Forget a key: nothing was carried out for it, so that it can be used again."""
    with store.writing() as tx:
        tx.execute(delete(operation_runs).where(operation_runs.c.connection == pair, operation_runs.c.once_key == key))


def prune_keys(store: Store, before: datetime) -> int:
    """Delete the keys of Dagster's runs that were used before then; of others only who used them is forgotten."""
    old = operation_runs.c.at < before
    of_runs = and_(operation_runs.c.once_key.startswith(RUN), operation_runs.c.by.endswith("(Dagster)"))
    with store.writing() as tx:
        count: int = tx.execute(delete(operation_runs).where(old, of_runs)).rowcount
        tx.execute(update(operation_runs).where(old, operation_runs.c.by != "").values(by=""))
    return count
