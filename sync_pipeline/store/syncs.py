"""One row per entity and run: what was read when, whether it was loaded, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise
from math import inf
from typing import Any, Literal

from sqlalchemy import ColumnElement, Row, func, insert, or_, select, true, update

from sync_pipeline.store.chunks import chunks
from sync_pipeline.store.engine import Store
from sync_pipeline.store.records import CLOCK_SLACK
from sync_pipeline.store.schema import syncs
from sync_pipeline.store.scope import Scope

SyncOutcome = Literal["success", "failed", "blocked", "stale", "dry_run", "targeted"]
TARGETED: SyncOutcome = "targeted"
"""A sync of a few records by id: it says nothing about a scope, so it is never ``loaded`` and makes no batch stale."""


@dataclass(frozen=True, slots=True)
class Sync:
    """One sync of one entity."""

    id: int
    connection: str
    entity: str
    run_id: str | None
    partitions: Scope
    fingerprint: str | None
    observed_at: datetime
    begun_at: datetime
    loaded_at: datetime | None
    finished_at: datetime | None
    outcome: str | None
    """``None`` while it runs, and for ever when it was killed."""
    counts: dict[str, Any]
    requests: int | None


@dataclass(frozen=True, slots=True)
class EntityStatus:
    """The last whole sync of an entity and the last one that succeeded; dry runs and targeted ones do not count."""

    last: Sync
    last_success: Sync | None


def begin(
    store: Store,
    connection: str,
    entity: str,
    *,
    observed_at: datetime,
    at: datetime,
    partitions: Scope = None,
    run_id: str | None = None,
    fingerprint: str | None = None,
    targeted: bool = False,
) -> int:
    """Open a sync; ``observed_at`` is when its read began; a ``targeted`` one is about no scope."""
    first, last = partitions or (None, None)
    row = {
        "connection": connection,
        "entity": entity,
        "run_id": run_id,
        "first_day": first,
        "last_day": last,
        "fingerprint": fingerprint,
        "observed_at": observed_at,
        "begun_at": at,
        "outcome": TARGETED if targeted else None,
    }
    with store.writing() as own:
        return int(own.execute(insert(syncs).returning(syncs.c.id), row).scalar_one())


def mark_loaded(store: Store, sync_id: int, at: datetime) -> None:
    """Note that the batch was merged. From now on an older batch of this scope is stale, however this ends."""
    with store.writing() as own:
        own.execute(update(syncs).where(syncs.c.id == sync_id).values(loaded_at=at))


def finish(
    store: Store,
    sync_id: int,
    outcome: SyncOutcome,
    counts: Mapping[str, Any],
    requests: int,
    at: datetime,
) -> None:
    """Close a sync with its figures; a successful one was loaded."""
    loaded = func.coalesce(syncs.c.loaded_at, at) if outcome == "success" else syncs.c.loaded_at
    with store.writing() as own:
        own.execute(
            update(syncs)
            .where(syncs.c.id == sync_id)
            .values(
                outcome=outcome,
                counts=json.dumps(dict(counts)),
                requests=requests,
                finished_at=at,
                loaded_at=loaded,
            )
        )


def newest_observed(store: Store, connection: str, entity: str, partitions: Scope = None) -> datetime | None:
    """When the newest loaded read of an overlapping scope began; a batch read before that is stale.

    Reads from the future, which a clock that ran ahead has left, make nothing stale.
    """
    past = syncs.c.observed_at <= datetime.now(UTC) + CLOCK_SLACK
    mine = [*_of(connection, entity), syncs.c.loaded_at.isnot(None), _overlaps(partitions), past]
    with store.reading() as own:
        newest: datetime | None = own.scalar(select(func.max(syncs.c.observed_at)).where(*mine))
    return newest


def loaded_otherwise(store: Store, connection: str, entity: str, fingerprint: str, scope: Scope = None) -> list[Scope]:
    """The parts of ``scope`` that were last loaded under another mapping; ``[None]`` means all of the entity.

    What was never loaded is in none of them, nor what was loaded before fingerprints were kept.
    """
    mine = [*_of(connection, entity), syncs.c.loaded_at.isnot(None), syncs.c.fingerprint.isnot(None), _overlaps(scope)]
    statement = select(syncs.c.first_day, syncs.c.last_day, syncs.c.fingerprint).where(*mine)
    with store.reading() as own:
        loads = own.execute(statement.order_by(syncs.c.id.desc()))
        if scope is None:
            newest = loads.first()
            return [None] if newest is not None and newest.fingerprint != fingerprint else []
        return _spans(_days_otherwise(loads, fingerprint, scope))


def never_loaded(store: Store, connection: str, entity: str, scope: Scope = None) -> list[Scope]:
    """The parts of ``scope`` that no successful sync has loaded; ``[None]`` means that the entity was never synced."""
    mine = [*_of(connection, entity), syncs.c.outcome == "success", _overlaps(scope)]
    statement = select(syncs.c.first_day, syncs.c.last_day).where(*mine).distinct()
    with store.reading() as own:
        loads = own.execute(statement).all()
    if scope is None:
        return [] if loads else [None]
    first, last = map(_ordinal, scope)
    days = set(range(first, last + 1))
    for load in loads:
        days.difference_update(range(_ordinal(load.first_day), _ordinal(load.last_day) + 1))
    return list(_spans(sorted(days)))


def _days_otherwise(loads: Iterable[Any], fingerprint: str, scope: tuple[str, str]) -> list[int]:
    """Ordinals of the days whose newest load - ``loads`` come newest first - had another fingerprint."""
    first, last = map(_ordinal, scope)
    undecided, otherwise = set(range(first, last + 1)), list[int]()
    for load in loads:
        days = undecided.intersection(range(_ordinal(load.first_day), _ordinal(load.last_day) + 1))
        otherwise += days if load.fingerprint != fingerprint else []
        undecided -= days
        if not undecided:
            break
    return sorted(otherwise)


def _spans(days: Sequence[int]) -> list[Scope]:
    """Sorted ordinals as scopes of consecutive days."""
    starts = [day for before, day in pairwise([-1, *days]) if day - before > 1]
    ends = [day for day, after in pairwise([*days, inf]) if after - day > 1]
    return [
        (date.fromordinal(a).isoformat(), date.fromordinal(int(b)).isoformat())
        for a, b in zip(starts, ends, strict=True)
    ]


def _ordinal(day: str) -> int:
    return date.fromisoformat(day).toordinal()


def by_run(store: Store, run_ids: Iterable[str]) -> list[Sync]:
    """Every sync of these runs, in the order they began."""
    found: list[Sync] = []
    with store.reading() as own:
        for some in chunks(run_ids):
            rows = own.execute(select(syncs).where(syncs.c.run_id.in_(some)))
            found.extend(_sync(row) for row in rows)
    return sorted(found, key=lambda sync: sync.id)


def recent(store: Store, connection: str, limit: int) -> list[Sync]:
    """The syncs that began last, newest first."""
    mine = select(syncs).where(syncs.c.connection == connection).order_by(syncs.c.id.desc()).limit(limit)
    with store.reading() as own:
        return [_sync(row) for row in own.execute(mine)]


def status(store: Store, connection: str) -> dict[str, EntityStatus]:
    """How every entity stands."""
    partial = syncs.c.outcome.in_(["dry_run", TARGETED])
    real = [syncs.c.connection == connection, func.coalesce(~partial, true())]
    lasts = _newest(store, *real)
    successes = _newest(store, *real, syncs.c.outcome == "success")
    return {entity: EntityStatus(last, successes.get(entity)) for entity, last in lasts.items()}


def first_contact(store: Store, connection: str) -> bool:
    """Whether nothing was ever loaded over this connection."""
    mine = [syncs.c.connection == connection, syncs.c.loaded_at.isnot(None)]
    with store.reading() as own:
        return own.scalar(select(syncs.c.id).where(*mine).limit(1)) is None


def _newest(store: Store, *conditions: ColumnElement[bool]) -> dict[str, Sync]:
    newest = select(func.max(syncs.c.id)).where(*conditions).group_by(syncs.c.entity)
    with store.reading() as own:
        rows = own.execute(select(syncs).where(syncs.c.id.in_(newest)).order_by(syncs.c.entity))
        return {row.entity: _sync(row) for row in rows}


def _of(connection: str, entity: str) -> list[ColumnElement[bool]]:
    return [syncs.c.connection == connection, syncs.c.entity == entity]


def _overlaps(scope: Scope) -> ColumnElement[bool]:
    if scope is None:
        return true()
    first, last = scope
    meets = (syncs.c.first_day <= last) & (syncs.c.last_day >= first)
    return or_(syncs.c.first_day.is_(None), meets)


def _sync(row: Row[Any]) -> Sync:
    values = dict(zip(syncs.c.keys(), row, strict=True))
    first, last = values.pop("first_day"), values.pop("last_day")
    values["counts"] = json.loads(values["counts"] or "{}")
    return Sync(partitions=None if first is None else (first, last), **values)
