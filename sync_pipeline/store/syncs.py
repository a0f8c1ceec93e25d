"""One row per entity and run: what was read when, whether it was loaded, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, Row, func, insert, select, true, update

from sync_pipeline.store.bulk import chunks
from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import syncs
from sync_pipeline.store.scope import EntityRows, Scope

SyncOutcome = Literal["success", "failed", "blocked", "incomplete", "held", "dry_run", "targeted", "cancelled"]
"""``incomplete``: some of its days were not loaded, or not to the end. ``held``: a guard holds creates or updates. Rows of earlier versions may say ``stale``."""
ENDED_WELL, FAILED = ("success", "held"), ("failed", "blocked", "incomplete")
SCHEMA_CHANGED = "schema_changed"
"""Beside the figures of a sync, in words: the source had other fields than are known."""
TARGETED: SyncOutcome = "targeted"
"""A sync of a few records by id: it says nothing about a scope, so it is never ``loaded``."""
INTERRUPTED = "It was interrupted. What was delivered stays delivered; the next sync continues from there."
"""The reason of a sync that did not reach its end."""
WRITTEN = ("created", "adopted", "updated", "deleted")
"""The figures of a sync that count records which were written to the target."""
OUTSIDE = "sync-"
"""How the id of a run begins that is one sync outside of Dagster; its number follows."""


Trigger = Literal["change", "schedule", "first sync", "backfill", "console", "terminal", "by hand"]
"""``by hand``: launched in the Dagster UI, or by a program that uses Dagster itself."""


class Cause(NamedTuple):
    """What started a run, and who asked for it; empty where it is not known."""

    trigger: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Sync:
    """One sync of one entity."""

    id: int
    connection: str
    entity: str
    run_id: str | None
    partitions: Scope
    fingerprint: str | None
    read_no: int
    observed_at: datetime
    begun_at: datetime
    loaded_at: datetime | None
    finished_at: datetime | None
    outcome: str | None
    """``None`` while it runs, and permanently when it was killed."""
    counts: dict[str, Any]
    requests: int | None
    reason: str | None
    """Why it failed, was held or is incomplete, with the fix; ``None`` when it was not."""
    category: str | None = None
    """The category of the API error that ended it."""
    trigger: str | None = None
    requested_by: str | None = None

    @property
    def ended(self) -> str:
        """How it ended, ``running`` until then; ``targeted`` only when nothing of a few records is left to do."""
        if self.outcome is None or self.finished_at is None:
            return self.outcome if self.outcome and self.outcome != TARGETED else "running"
        if self.outcome != TARGETED:
            return self.outcome
        if self.reason:
            return "failed"
        return "incomplete" if self.counts.get("waiting") else "held" if self.counts.get("held") else TARGETED

    @property
    def writes(self) -> int:
        """Records that were changed at the target."""
        return sum(int(self.counts.get(name, 0)) for name in ("created", "adopted", "updated", "deleted"))


@dataclass(frozen=True, slots=True)
class EntityStatus:
    """The last whole sync of an entity and the last one that succeeded; dry runs and targeted ones do not count."""

    last: Sync
    last_success: Sync | None


@dataclass(frozen=True, slots=True)
class Failing:
    """The whole syncs of an entity that failed since one last ended well."""

    count: int
    since: datetime
    last: Sync


@dataclass(frozen=True)
class Syncs(EntityRows):
    """The syncs of one entity of a pair."""

    cause: Cause = Cause()
    """Of those that begin."""

    def begin(
        self,
        *,
        observed_at: datetime,
        at: datetime,
        read_no: int = 0,
        partitions: Scope = None,
        run_id: str | None = None,
        fingerprint: str | None = None,
        targeted: bool = False,
    ) -> int:
        """Open a sync; ``observed_at`` is when its read began; a ``targeted`` one is about no scope."""
        first, last = partitions or (None, None)
        row = {
            "connection": self.pair,
            "entity": self.entity,
            "run_id": run_id,
            "first_day": first,
            "last_day": last,
            "fingerprint": fingerprint,
            "read_no": read_no,
            "observed_at": observed_at,
            "begun_at": at,
            "outcome": TARGETED if targeted else None,
            "trigger": self.cause.trigger or None,
            "requested_by": self.cause.by or None,
        }
        with self.store.writing() as tx:
            return int(tx.execute(insert(syncs).returning(syncs.c.id), row).scalar_one())

    def mark_loaded(self, sync_id: int, at: datetime) -> None:
        """Note when the batch was merged, for people; what is loaded is read in ``loads``."""
        with self.store.writing() as tx:
            tx.execute(update(syncs).where(syncs.c.id == sync_id).values(loaded_at=at))

    def finish(
        self,
        sync_id: int,
        outcome: SyncOutcome,
        counts: Mapping[str, Any],
        requests: int,
        at: datetime,
        reason: str = "",
        category: str = "",
    ) -> None:
        """Close a sync with its figures - and, when it did not do all it was to do, with the reason."""
        loaded = func.coalesce(syncs.c.loaded_at, at) if outcome == "success" else syncs.c.loaded_at
        with self.store.writing() as tx:
            tx.execute(
                update(syncs)
                .where(syncs.c.id == sync_id)
                .values(
                    outcome=outcome,
                    counts=json.dumps(dict(counts)),
                    requests=requests,
                    finished_at=at,
                    loaded_at=loaded,
                    reason=reason or None,
                    category=category or None,
                )
            )


def by_run(store: Store, run_ids: Iterable[str]) -> list[Sync]:
    """Every sync of these runs, in the order they began."""
    found: list[Sync] = []
    with store.reading() as tx:
        for some in chunks(run_ids):
            rows = tx.execute(select(syncs).where(syncs.c.run_id.in_(some)))
            found.extend(sync_of(row) for row in rows)
    return sorted(found, key=lambda sync: sync.id)


def recent(store: Store, pair: str, limit: int) -> list[Sync]:
    """The syncs that began last, newest first."""
    mine = select(syncs).where(syncs.c.connection == pair).order_by(syncs.c.id.desc()).limit(limit)
    with store.reading() as tx:
        return [sync_of(row) for row in tx.execute(mine)]


def started_since(store: Store, pair: str, since: datetime) -> dict[str, int]:
    """How many syncs of each entity began since then; dry runs and targeted ones do not count."""
    counted = (syncs.c.connection == pair, syncs.c.begun_at > since, _is_whole())
    statement = select(syncs.c.entity, func.count()).where(*counted).group_by(syncs.c.entity)
    with store.reading() as tx:
        return {row[0]: row[1] for row in tx.execute(statement)}


def written_since(store: Store, pair: str, since: datetime) -> dict[str, int]:
    """How many records of each entity the syncs that began since then wrote to the target."""
    mine = select(syncs.c.entity, syncs.c.counts).where(syncs.c.connection == pair, syncs.c.begun_at >= since)
    found: dict[str, int] = {}
    with store.reading() as tx:
        for entity, counts in tx.execute(mine.where(syncs.c.counts.isnot(None))):
            figures = json.loads(counts)
            found[entity] = found.get(entity, 0) + sum(int(figures.get(kind, 0)) for kind in WRITTEN)
    return found


def status(store: Store, pair: str) -> dict[str, EntityStatus]:
    """The state of every entity."""
    real = [syncs.c.connection == pair, _is_whole()]
    lasts = _newest(store, *real)
    successes = _newest(store, *real, syncs.c.outcome == "success")
    return {entity: EntityStatus(last, successes.get(entity)) for entity, last in lasts.items()}


def failing(store: Store, pair: str) -> dict[str, Failing]:
    """The entities whose newest finished whole sync failed, with how often and since when."""
    well = syncs.alias()
    ended_well = select(func.coalesce(func.max(well.c.id), 0)).where(
        well.c.connection == pair, well.c.entity == syncs.c.entity, well.c.outcome.in_(ENDED_WELL)
    )
    failed = [syncs.c.connection == pair, syncs.c.outcome.in_(FAILED), syncs.c.id > ended_well.scalar_subquery()]
    counted = select(syncs.c.entity, func.count(), func.min(syncs.c.begun_at)).where(*failed).group_by(syncs.c.entity)
    with store.reading() as tx:
        streaks = {entity: (count, since) for entity, count, since in tx.execute(counted)}
    lasts = _newest(store, *failed) if streaks else {}
    return {entity: Failing(*streaks[entity], last) for entity, last in lasts.items() if entity in streaks}


def _is_whole() -> ColumnElement[bool]:
    return func.coalesce(syncs.c.outcome.not_in(["dry_run", TARGETED]), true())


def _newest(store: Store, *conditions: ColumnElement[bool]) -> dict[str, Sync]:
    newest = select(func.max(syncs.c.id)).where(*conditions).group_by(syncs.c.entity)
    with store.reading() as tx:
        rows = tx.execute(select(syncs).where(syncs.c.id.in_(newest)).order_by(syncs.c.entity))
        return {row.entity: sync_of(row) for row in rows}


def outside_dagster(run_id: str) -> int | None:
    """The number of the sync that is called by this id; None for an id of Dagster's."""
    number = run_id.removeprefix(OUTSIDE)
    return int(number) if number != run_id and number.isdecimal() and len(number) < 16 else None


def sync_of(row: Row[Any]) -> Sync:
    """A row of the table as an object."""
    values = dict(zip(syncs.c.keys(), row, strict=True))
    first, last = values.pop("first_day"), values.pop("last_day")
    values["counts"] = json.loads(values["counts"] or "{}")
    return Sync(partitions=None if first is None else (first, last), **values)
