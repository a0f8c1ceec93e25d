"""What was tried before live syncing was turned on, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, Row, func, select, update

from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import trials

TrialKind = Literal["sandbox", "dry_run"]
TrialOutcome = Literal["passed", "held", "failed", "throttled"]
THROTTLED: TrialOutcome = "throttled"
"""The request budget was used up: it says nothing about the configuration, and takes back no trial that did."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial. ``outcome`` is None while it is under way (or was cut off)."""

    id: int
    fingerprint: str
    kind: TrialKind
    by: str
    begun_at: datetime
    finished_at: datetime | None
    outcome: str | None
    report: dict[str, Any]


def begin_trial(store: Store, pair: str, fingerprint: str, kind: TrialKind, by: str, at: datetime) -> int:
    """Note that a trial begins; returns its id.

    Of earlier ones only the outcome is kept, since their reports hold records; the one that passed is kept whole until
    another one has ended.
    """
    row = {"connection": pair, "fingerprint": fingerprint, "kind": kind, "by": by, "begun_at": at}
    with store.writing() as tx:
        others = trials.c.connection == pair, func.coalesce(trials.c.outcome, "").not_in(["passed", "held"])
        tx.execute(update(trials).where(*others).values(report=None))
        return int(tx.execute(trials.insert().values(row).returning(trials.c.id)).scalar_one())


def note_progress(store: Store, trial_id: int, report: dict[str, Any]) -> None:
    """Keep what has been found so far: a page that is loaded again shows it."""
    with store.writing() as tx:
        tx.execute(update(trials).where(trials.c.id == trial_id).values(report=orjson.dumps(report).decode()))


def end_trial(store: Store, trial_id: int, report: dict[str, Any], at: datetime, outcome: TrialOutcome) -> None:
    """Note how a trial ended; one that says something takes the place of the reports before it."""
    values = {"finished_at": at, "outcome": outcome, "report": orjson.dumps(report).decode()}
    with store.writing() as tx:
        connection = tx.execute(
            update(trials).where(trials.c.id == trial_id).values(values).returning(trials.c.connection)
        ).scalar_one()
        if outcome != THROTTLED:
            others = trials.c.connection == connection, trials.c.id < trial_id
            tx.execute(update(trials).where(*others).values(report=None))


def pass_in(tx: Connection, trial_id: int) -> None:
    """Note that everything a trial held was allowed, within the caller's transaction."""
    tx.execute(update(trials).where(trials.c.id == trial_id, trials.c.outcome == "held").values(outcome="passed"))


def last_trial(
    store: Store,
    pair: str,
    fingerprint: str | None = None,
    kind: TrialKind | None = None,
    *,
    throttled: bool = False,
) -> Trial | None:
    """The newest trial of a connection, or of one configuration of it, or of one kind; throttled ones only on request."""
    conditions = [trials.c.connection == pair]
    conditions += [] if throttled else [trials.c.outcome.is_distinct_from(THROTTLED)]
    conditions += [] if fingerprint is None else [trials.c.fingerprint == fingerprint]
    conditions += [] if kind is None else [trials.c.kind == kind]
    with store.reading() as tx:
        row = tx.execute(select(trials).where(*conditions).order_by(trials.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else _trial(row)


def trial_of(store: Store, trial_id: int) -> Trial | None:
    """One trial."""
    with store.reading() as tx:
        row = tx.execute(select(trials).where(trials.c.id == trial_id)).one_or_none()
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
