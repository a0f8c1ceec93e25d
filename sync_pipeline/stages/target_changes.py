"""Records that changed at a target that reports changes: compare each with what was delivered, so that an edit is pending.

Our own writes come back as events, too: they find the record as delivered, and end here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

import orjson

from sync_pipeline.clock import has_passed
from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.ports import AssigningTarget, UpsertTarget
from sync_pipeline.connectors.registry import pace_of
from sync_pipeline.errors import ApiError
from sync_pipeline.mapping.canonical import canonical_target
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session
from sync_pipeline.store.events import Event, close, mark_attempt, mark_compared, mark_failed
from sync_pipeline.store.records import Known
from sync_pipeline.store.schema import REMOVAL
from sync_pipeline.store.scope import draw

T = TypeVar("T")

SUPPRESSED_FOR = timedelta(minutes=10)
AT_ONCE = 20
"""Records that are compared one by one in one look; the others wait for the next."""
FAILURES = 3
"""After so many failed reads and no successful one, the target itself is taken to be failing: no other record is tried."""
UNREAD = "could not be compared: "
"""Begins the reason of an event whose record could not be read at the target."""
ReadErrors = dict[str, ApiError]
"""Why records could not be read, by the id that events name."""


class TargetLook(NamedTuple):
    """What looks at the target have shown."""

    wanting: list[Event]
    """The events that a run is to answer."""
    trouble: str
    """Why no record could be read; empty when any could."""


def compare_with_delivered(
    session: Session, spec: EntitySpec, events: Sequence[Event], unchanged_since_delivery: dict[str, list[str]]
) -> TargetLook:
    """Close the events of records that are as we left them; returns those that need the source to be read again.

    ``unchanged_since_delivery`` remembers what a record was instead of what we sent, and when: one that is the same again right after
    we delivered is left to ``verify``, or the two sides would send each other changes without end. Events of a record that
    cannot be read stay open with the reason, and are tried again later; where none can be read, the next tick tries again.
    """
    mark_attempt(session.store, [event.id for event in events], session.now())  # from here on a repeat is news
    ids = {event.source_id for event in events if event.source_id}
    ours = session.ledger(spec).lookup_targets(ids)
    looks = _Looks(session, spec, events, unchanged_since_delivery)
    read, failed = _read(session, spec, _in_turn(ours, events))
    for key, record in read.items():
        looks.take(key, ours[key], record)
    unlinked = ids - ours.keys()  # a record may be waiting for its name
    tried = _without(session, failed, events, is_outage=not read)
    return TargetLook(looks.settle(tried, {*unlinked, None}), _outage(read, failed))


def compare_records(
    session: Session, spec: EntitySpec, events: Sequence[Event], unchanged_since_delivery: dict[str, list[str]]
) -> TargetLook:
    """The same for events that name the source's record; it returns those whose record has to be read and sent again.

    A few per tick: each is read at the target by its id, since a list may lag behind what a person has just changed there.
    Events that show their record as we left it, as our own writes do, need no read. Those of a record that cannot be read
    stay open like those above.
    """
    echoes = _echoes(session, spec, events)
    close(session.store, [event.id for event in echoes], None, session.now())
    events = [event for event in events if event not in echoes]
    some = list(dict.fromkeys(event.source_id for event in events if event.source_id))[:AT_ONCE]
    looked_at = [event for event in events if event.source_id in some or not event.source_id]
    mark_attempt(session.store, [event.id for event in looked_at], session.now())  # from here on a repeat is news
    target, looks = session.target(spec), _Looks(session, spec, events, unchanged_since_delivery)
    known = session.ledger(spec).lookup(some)
    places = {key: each.target_id if target.assigns_ids else key for key, each in known.items()}
    read, failed = _read_each(session, target, _in_turn(places, looked_at))
    for key, record in read.items():
        looks.take(key, known[key], record)
    tried = _without(session, failed, looked_at, is_outage=not read)
    return TargetLook(looks.settle(tried), _outage(read, failed))


class _Looks:
    """What looks at records of the target have shown, by the id that events name."""

    def __init__(
        self,
        session: Session,
        spec: EntitySpec,
        events: Sequence[Event],
        unchanged_since_delivery: dict[str, list[str]],
    ) -> None:
        """Begin before the first record is read."""
        self._session, self._spec, self._target = session, spec, session.target(spec)
        self._unchanged_since_delivery = unchanged_since_delivery
        # A run that failed left the reason; the version before had no note of the comparison.
        self._compared_before = {
            event.source_id
            for event in events
            if event.compared_at or (event.reason and not event.reason.startswith(UNREAD))
        }
        self._pending, self._undecided = set[str](), set[str]()
        self._ledger = session.ledger(spec)
        self._ledger.claims.free_ended()  # what a run holds that has ended says nothing about the target
        self._began, self._number = session.now(), draw(session.store)

    def take(self, key: str, known: Known, record: Record | None) -> None:
        """Store what was found of a record."""
        found = target_hash(self._spec, self._target, known, record)
        self._ledger.observe_target([(known.source_id, found)], self._number)
        known = self._ledger.lookup([known.source_id]).get(known.source_id, known)
        if not _is_pending(self._spec, known, found):
            self._unchanged_since_delivery.pop(key, None)
        elif known.delivered_hash != found:
            self._undecided.add(key)  # not stored: another run is writing the record, or has since the look began
        elif key in self._compared_before or not self._is_unchanged_since_delivery(key, found):
            self._unchanged_since_delivery[key] = [found or "", self._began.isoformat()]
            self._pending.add(key)

    def settle(self, events: Sequence[Event], besides: Collection[str | None] = ()) -> list[Event]:
        """Close the events of records that are as they should be; returns those that a run is to answer.

        Those are of pending records, and ``besides``. Events of which nothing was decided stay open, for another look.
        """
        wanting = [event for event in events if event.source_id in self._pending or event.source_id in besides]
        kept = [event for event in events if event.source_id in self._undecided]
        settled = {event.id for event in events} - {event.id for event in (*wanting, *kept)}
        close(self._session.store, settled, None, self._session.now())
        mark_compared(self._session.store, [event.id for event in wanting], self._session.now())
        return wanting

    def _is_unchanged_since_delivery(self, key: str, found: str | None) -> bool:
        """Whether it was just like that a moment ago; the same later is a new edit."""
        before = self._unchanged_since_delivery.get(key)
        return (
            before is not None
            and before[0] == (found or "")
            and not has_passed(datetime.fromisoformat(before[1]), SUPPRESSED_FOR, self._began)
        )


def _echoes(session: Session, spec: EntitySpec, events: Sequence[Event]) -> list[Event]:
    """The events whose body shows the record in the delivered and desired state."""
    target, found = session.target(spec), list[Event]()
    known = session.ledger(spec).lookup({event.source_id for event in events if event.source_id})
    for event in events:
        record, shown = known.get(event.source_id or ""), target.in_event(event.kind, orjson.loads(event.payload))
        if record is None or shown is None or record.delivered_hash is None:
            continue
        there = target_hash(spec, target, record, shown)
        if there == record.delivered_hash and not _is_pending(spec, record, there):
            found.append(event)
    return found


def _without(session: Session, failed: ReadErrors, events: Sequence[Event], *, is_outage: bool) -> list[Event]:
    """The events without those whose record could not be read: these stay open, and are tried again later."""
    reasons: dict[str, list[int]] = {}
    for event in events:
        if event.source_id in failed and not is_outage:
            reasons.setdefault(str(failed[event.source_id]), []).append(event.id)
    for reason, ids in reasons.items():
        mark_failed(session.store, ids, f"{UNREAD}{reason}")
    return [event for event in events if event.source_id not in failed]


def _outage(read: Collection[str], failed: ReadErrors) -> str:
    """Why nothing at all could be read; empty when something was, or nothing had to be."""
    return "" if read else next((str(error) for error in failed.values()), "")


def _in_turn(records: Mapping[str, T], events: Sequence[Event]) -> dict[str, T]:
    """The records, each try starting with other ones: those that cannot be read must not always come first."""
    keys = list(records)
    start = max((event.attempts for event in events), default=0) * FAILURES % max(len(keys), 1)
    return {key: records[key] for key in [*keys[start:], *keys[:start]]}


def _read(session: Session, spec: EntitySpec, ours: dict[str, Known]) -> tuple[dict[str, Record | None], ReadErrors]:
    target = session.target(spec)
    if len(ours) <= pace_of(spec.target.system, session.settings).compares_by_id:
        return _read_each(session, target, {key: key for key in ours})
    records = (record for page in session.walk(target.read()) for record in page)
    try:
        listed = {key: record for record in records if (key := str(record[target.id_field])) in ours}
    except ApiError as error:
        return {}, dict.fromkeys(ours, error)
    return {key: listed.get(key) for key in ours}, {}


def _read_each(
    session: Session, target: UpsertTarget | AssigningTarget, places: Mapping[str, str | None]
) -> tuple[dict[str, Record | None], ReadErrors]:
    """The records at these places, by the same keys, and why others cannot be read."""
    read: dict[str, Record | None] = {}
    failed: ReadErrors = {}
    for key, place in places.items():
        try:
            read[key] = session.call(target.get, place) if place is not None else None
        except ApiError as error:
            failed[key] = error
            if not read and len(failed) == FAILURES:
                return {}, dict.fromkeys(places, error)
    return read, failed


def _is_pending(spec: EntitySpec, known: Known, found: str | None) -> bool:
    """Whether a sync would write to the record that is there as ``found``."""
    if known.deleted_at is not None:
        return found is not None and spec.target.delete != "keep" and known.refused_hash != REMOVAL
    return known.excluded_rule is None and known.fields_hash not in (found, known.refused_hash)


def target_hash(
    spec: EntitySpec, target: UpsertTarget | AssigningTarget, known: Known, record: Record | None
) -> str | None:
    """What is at the target, as a hash: None for nothing, and for what was archived because its source is deleted."""
    if record is None or (known.deleted_at is not None and target.is_archived(record)):
        return None
    return canonical_target(spec, record)[1]
