"""The inbox beside the stages: which records its open events are about, and which events a sync has dealt with."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.session import Session
from sync_pipeline.store.events import Event, close, mark_attempt, open_events
from sync_pipeline.store.records import lookup

PAGE = 1000


def waiting(session: Session, spec: EntitySpec) -> Iterator[list[Event]]:
    """Every open event of the entity, oldest first, a page at a time."""
    after = 0
    while page := open_events(session.store, session.connection, spec.entity, PAGE, after):
        yield page
        after = page[-1].id


def waiting_about(session: Session, spec: EntitySpec, ids: Collection[str]) -> list[int]:
    """The open events about these records."""
    wanted = set(ids)
    return [event.id for page in waiting(session, spec) for event in page if event.source_id in wanted]


def close_covered(session: Session, spec: EntitySpec, days: Days | None, observed_at: datetime, run_id: str) -> int:
    """Close what a finished load has answered; returns how many.

    The load of an unpartitioned entity answers every event that came in before its read began. A load of days answers
    the events about records that stand on these days. Others may be about a record that has moved on since: they stay
    open, marked as tried, and are looked up one by one.
    """
    answered: list[int] = []
    tried: list[int] = []
    for page in waiting(session, spec):
        ours = [event for event in page if event.received_at < observed_at and _is_read_by(spec, event)]
        if days is None:
            answered += [event.id for event in ours]
            continue
        first, last = days.keys
        ids = {event.source_id for event in ours if event.source_id}
        known = lookup(session.store, session.connection, spec.entity, ids)
        for event in ours:
            record = known.get(event.source_id or "")
            if record is not None and record.partition is not None and first <= record.partition <= last:
                answered.append(event.id)
            elif (day := day_of(spec, event)) is not None and first <= day <= last:
                tried.append(event.id)
    if tried:
        mark_attempt(session.store, tried)
    return close(session.store, answered, run_id, session.now()) if answered else 0


def _is_read_by(spec: EntitySpec, event: Event) -> bool:
    """Whether the load has seen what the event is about: clients are the target of locations, read by the sensor only."""
    return spec.source.system == "clockify" or event.attempts > 0


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
