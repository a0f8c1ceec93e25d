"""The inbox beside the stages: which records its open events are about, and which events a sync has dealt with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson

from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Batch, Days
from sync_pipeline.store.bulk import chunks
from sync_pipeline.store.events import Event, close, mark_attempt, mark_failed
from sync_pipeline.store.records import LAG
from sync_pipeline.store.staging import Staging

PAGE = 1000
EVENTS = "events"
"""The note of a batch that names the events its read took up."""
FRESH = "fresh_events"
"""The note that names those of them that were so new that the read may have shown what was before them."""
UNANSWERED = (
    "The list that was read shows nothing of what it reports and may be older than it: the record is read by id, or "
    "in a later list."
)
LISTED, REFERENCE = "poll:source", "poll:reference"
"""Kinds of events: a list at the source differs from what is stored; what a record waits for may exist by now."""
ABOUT_THE_SOURCE = frozenset({LISTED, REFERENCE})
"""Events that name a record of the source, also where others are about the target."""
ABOUT_SOURCE, ABOUT_TARGET = "source:", "target:"
"""Kinds that begin so are about a record of the source, or about its record at the target, whichever side events come from."""


def is_about_source(event: Event, *, notifies: bool) -> bool:
    """Whether the source is to be read because of it; ``notifies``: whether events come from there."""
    if event.kind in ABOUT_THE_SOURCE or event.kind.startswith(ABOUT_SOURCE):
        return True
    return notifies and not event.kind.startswith(ABOUT_TARGET)


def is_answerable(event: Event, *, notifies: bool) -> bool:
    """Whether a run may answer it: it reads the source, and of the target it knows only what a sensor has compared."""
    return event.compared_at is not None or is_about_source(event, notifies=notifies)


def waiting(session: Session, spec: EntitySpec) -> Iterator[list[Event]]:
    """Every open event of the entity, oldest first, a page at a time."""
    after = 0
    while page := session.ledger(spec).events.open_events(PAGE, after):
        yield page
        after = page[-1].id


def waiting_about(session: Session, spec: EntitySpec, ids: Collection[str]) -> list[Event]:
    """The open events about these records that a run may answer."""
    wanted, notifies = set(ids), session.source(spec).notifies
    return [
        event
        for page in waiting(session, spec)
        for event in page
        if event.source_id in wanted and is_answerable(event, notifies=notifies)
    ]


def claim_events(session: Session, spec: EntitySpec, days: Days | None, batch: Batch) -> Batch:
    """Note in the batch, before its read begins, which events that read answers, and mark them as tried.

    From here on a repeat of the same words is news: it may be about what was read too early. What comes in later is in
    no note, so no clock decides whether the read has seen it.
    """
    taken, fresh = list[int](), list[int]()
    for page in waiting(session, spec):  # their bodies are not kept: there may be many
        met = _met(session, spec, days, page)
        taken += [event.id for event in met]
        fresh += fresh_events(session, met)
    if taken:
        mark_attempt(session.store, taken, session.now())
    batch.notes[EVENTS], batch.notes[FRESH] = taken, fresh
    return batch


def fresh_events(session: Session, events: list[Event]) -> list[int]:
    """Those that a list read from now on may not show: lists lag by ``LAG`` at most, which the clock of the store measures.

    What an event reports had happened before it came in. The read begins after this, so that it shows whatever came in
    that long before.
    """
    # A reference says nothing about the record, an edit at the target nothing about the source.
    changes = [event for event in events if event.kind != REFERENCE and not event.kind.startswith(ABOUT_TARGET)]
    if not changes:
        return []
    with session.store.reading() as tx:
        since = session.store.now(tx) - LAG
    return [event.id for event in changes if event.stored_at is not None and event.stored_at > since]


def unanswered(session: Session, spec: EntitySpec, staging: Staging, batch: Batch) -> list[str]:
    """Records with recent events that the staged read does not reflect.

    The read reflects an event if it would change what is stored, or lacks the record; a deletion, only if it lacks the record. Of several
    events about one record it may reflect the first only.
    """
    named, deleted = Counter[str](), set[str]()
    for event in _noted(session, spec, batch, FRESH):
        if event.source_id:
            named[event.source_id] += 1
            if "DELETED" in event.kind:
                deleted.add(event.source_id)
    if not named:
        return []
    known = session.ledger(spec).lookup(deleted)
    away = {key for key in deleted - staging.listed_among(deleted) if key not in known or known[key].deleted_at}
    once = {key for key, count in named.items() if count == 1}
    return sorted(named.keys() - away - staging.absent_among(named) - staging.news_among(once - deleted))


def events_about(session: Session, spec: EntitySpec, batch: Batch) -> set[str]:
    """The records of the events that the read took up."""
    return {event.source_id for event in _noted(session, spec, batch, EVENTS) if event.source_id}


def _noted(session: Session, spec: EntitySpec, batch: Batch, note: str) -> Iterator[Event]:
    """The open events that a note of the batch lists."""
    noted = set(batch.notes.get(note, ()))
    pages = waiting(session, spec) if noted else ()
    return (event for page in pages for event in page if event.id in noted)


def leave_unanswered(session: Session, spec: EntitySpec, batch: Batch, source_ids: Collection[str]) -> None:
    """Note why the events about these records stay open that the read took up."""
    taken = set(batch.notes.get(EVENTS, ()))
    mark_failed(
        session.store, [event.id for event in waiting_about(session, spec, source_ids) if event.id in taken], UNANSWERED
    )


def close_covered(
    session: Session,
    spec: EntitySpec,
    days: Days | None,
    done: Collection[str],
    batch: Batch,
    run_id: str,
    *,
    besides: Collection[str] = (),
) -> int:
    """Close what a finished load has answered of the events its read took up; returns how many.

    ``done`` are the days that are loaded to the end, by this read or a newer one: that one began after these events
    had been claimed, too. The load of an entity without days answers all of them. A load of days answers those about
    records of these days. Others may be about a record that has moved on since, or one that is missing without a proof: they stay
    open and are looked up one by one, as do those about the records ``besides``.
    """
    answered: list[int] = batch.notes.get(EVENTS, []) if done else []
    if not answered or (days is None and not besides):
        return close(session.store, answered, run_id, session.now()) if answered else 0
    closed = 0
    for some in chunks(_noted(session, spec, batch, EVENTS), PAGE):
        found = [event for event in some if event.source_id not in besides]
        found = found if days is None else _on_days(session, spec, done, found, proven=True)
        closed += close(session.store, [event.id for event in found], run_id, session.now()) if found else 0
    return closed


def leave_open(session: Session, batch: Batch, reason: str) -> None:
    """Note why the events a read took up were not answered; they stay open and are looked up one by one."""
    if taken := batch.notes.get(EVENTS):
        mark_failed(session.store, taken, reason)


def _met(session: Session, spec: EntitySpec, days: Days | None, events: list[Event]) -> list[Event]:
    """The events that a read will answer: of the days, those whose record is on one of them, or is reported to be."""
    notifies = session.source(spec).notifies
    events = [event for event in events if is_answerable(event, notifies=notifies)]
    if days is None or not notifies:
        return events
    first, last = days.keys
    present = {event.id for event in _on_days(session, spec, set(days), events)}
    return [event for event in events if event.id in present or first <= (day_of(spec, event) or "") <= last]


def _on_days(
    session: Session, spec: EntitySpec, days: Collection[str], events: list[Event], *, proven: bool = False
) -> list[Event]:
    """The events about records of these days as far as we know; if ``proven``, none that are missing there."""
    ids = {event.source_id for event in events if event.source_id}
    known = session.ledger(spec).lookup(ids)
    return [
        event
        for event in events
        if (record := known.get(event.source_id or "")) is not None
        and record.partition in days
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
