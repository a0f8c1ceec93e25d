"""The inbox beside the stages: which records its open events are about, and which events a sync has dealt with."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import Batch, Days
from sync_pipeline.stages.session import Session
from sync_pipeline.store.events import Event, close, mark_attempt, mark_failed, open_events
from sync_pipeline.store.records import lookup

PAGE = 1000
EVENTS = "events"
"""The note of a batch that names the events its read took up."""


def waiting(session: Session, spec: EntitySpec) -> Iterator[list[Event]]:
    """Every open event of the entity, oldest first, a page at a time."""
    after = 0
    while page := open_events(session.store, session.connection, spec.entity, PAGE, after):
        yield page
        after = page[-1].id


def waiting_about(session: Session, spec: EntitySpec, ids: Collection[str]) -> list[Event]:
    """The open events about these records."""
    wanted = set(ids)
    return [event for page in waiting(session, spec) for event in page if event.source_id in wanted]


def take_up(session: Session, spec: EntitySpec, days: Days | None, batch: Batch) -> Batch:
    """Note in the batch, before its read begins, which events that read answers, and mark them as tried.

    From here on a repeat of the same words is news: it may be about what was read too early. What comes in later is in
    no note, so no clock decides whether the read has seen it.
    """
    taken = [event.id for page in waiting(session, spec) for event in _met(session, spec, days, page)]
    if taken:
        mark_attempt(session.store, taken, session.now())
    batch.notes[EVENTS] = taken
    return batch


def close_covered(session: Session, spec: EntitySpec, days: Days | None, batch: Batch, run_id: str) -> int:
    """Close what a finished load has answered of the events its read took up; returns how many.

    The load of an unpartitioned entity answers all of them. A load of days answers those about records that stand on
    these days. Others may be about a record that has moved on since, or one that vanished without a proof: they stay
    open and are looked up one by one.
    """
    answered: list[int] = batch.notes.get(EVENTS, [])
    if days is not None and answered:
        taken = set(answered)
        pages = ([event for event in page if event.id in taken] for page in waiting(session, spec))
        answered = [event.id for page in pages for event in _standing(session, spec, days, page, proven=True)]
    return close(session.store, answered, run_id, session.now()) if answered else 0


def leave_open(session: Session, batch: Batch, reason: str) -> None:
    """Note why the events a read took up were not answered; they stay open and are looked up one by one."""
    if taken := batch.notes.get(EVENTS):
        mark_failed(session.store, taken, reason)


def _met(session: Session, spec: EntitySpec, days: Days | None, events: list[Event]) -> list[Event]:
    """The events a read will meet: of the days, those whose record stands there, or is said to."""
    if spec.source.system != "clockify":
        return [event for event in events if event.attempts]  # about clients, which only the sensor reads
    if days is None:
        return events
    first, last = days.keys
    standing = {event.id for event in _standing(session, spec, days, events)}
    return [event for event in events if event.id in standing or first <= (day_of(spec, event) or "") <= last]


def _standing(
    session: Session, spec: EntitySpec, days: Days, events: list[Event], *, proven: bool = False
) -> list[Event]:
    """The events about records that stand on these days as far as we know; if ``proven``, none that are missed there."""
    first, last = days.keys
    ids = {event.source_id for event in events if event.source_id}
    known = lookup(session.store, session.connection, spec.entity, ids)
    return [
        event
        for event in events
        if (record := known.get(event.source_id or "")) is not None
        and first <= (record.partition or "") <= last
        and not (proven and record.unconfirmed_at)
    ]


def day_of(spec: EntitySpec, event: Event) -> str | None:
    """The UTC day the event's own words put the record on; None when they do not say."""
    if spec.partition_by is None:
        return None
    try:
        found: Any = orjson.loads(event.payload)
        for name in (spec.field(spec.partition_by).source_path or "").split("."):
            found = found[name]
        return datetime.fromisoformat(found).astimezone(UTC).date().isoformat()
    except (ValueError, TypeError, KeyError, OverflowError):
        return None  # a hint, from outside: without it the record is looked up
