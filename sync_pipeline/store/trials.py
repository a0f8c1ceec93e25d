"""What was tried before live syncing was turned on, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson
from sqlalchemy import Row, select, update

from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import trials

TrialKind = Literal["sandbox", "dry_run"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial. ``outcome`` is passed, failed, or None while it is under way (or was cut off)."""

    id: int
    fingerprint: str
    kind: TrialKind
    by: str
    begun_at: datetime
    finished_at: datetime | None
    outcome: str | None
    report: dict[str, Any]


def begin_trial(store: Store, connection: str, fingerprint: str, kind: TrialKind, by: str, at: datetime) -> int:
    """Note that a trial begins; returns its id. Of earlier ones only the outcome is kept: their reports hold records."""
    row = {"connection": connection, "fingerprint": fingerprint, "kind": kind, "by": by, "begun_at": at}
    with store.writing() as own:
        own.execute(update(trials).where(trials.c.connection == connection).values(report=None))
        return int(own.execute(trials.insert().values(row).returning(trials.c.id)).scalar_one())


def note_progress(store: Store, trial_id: int, report: dict[str, Any]) -> None:
    """Keep what has been found so far: a page that is loaded again shows it."""
    with store.writing() as own:
        own.execute(update(trials).where(trials.c.id == trial_id).values(report=orjson.dumps(report).decode()))


def end_trial(store: Store, trial_id: int, report: dict[str, Any], at: datetime, *, passed: bool) -> None:
    """Note how a trial ended."""
    values = {"finished_at": at, "outcome": "passed" if passed else "failed", "report": orjson.dumps(report).decode()}
    with store.writing() as own:
        own.execute(update(trials).where(trials.c.id == trial_id).values(values))


def last_trial(
    store: Store, connection: str, fingerprint: str | None = None, kind: TrialKind | None = None
) -> Trial | None:
    """The newest trial of a connection, or of one configuration of it, or of one kind."""
    conditions = [trials.c.connection == connection]
    conditions += [] if fingerprint is None else [trials.c.fingerprint == fingerprint]
    conditions += [] if kind is None else [trials.c.kind == kind]
    with store.reading() as own:
        row = own.execute(select(trials).where(*conditions).order_by(trials.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else _trial(row)


def trial_of(store: Store, trial_id: int) -> Trial | None:
    """One trial."""
    with store.reading() as own:
        row = own.execute(select(trials).where(trials.c.id == trial_id)).one_or_none()
    return None if row is None else _trial(row)


def _trial(row: Row[Any]) -> Trial:
    return Trial(
        row.id,
        row.fingerprint,
        row.kind,
        row.by,
        row.begun_at,
        row.finished_at,
        row.outcome,
        orjson.loads(row.report or "{}"),
    )
