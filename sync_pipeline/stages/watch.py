"""Watch: what has changed since the last look, and which few runs would answer it.

An event is a dirty flag. A few dirty records are read by id; many are read again as the days they are on, or as the
whole list. Nothing is closed here but what turns out to be our own echo: the run that processes an event closes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, timedelta

from sync_pipeline.clock import has_passed
from sync_pipeline.connectors.error_category import ErrorCategory
from sync_pipeline.connectors.registry import pace_of
from sync_pipeline.errors import SyncError
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.inbox import ABOUT_TARGET, day_of, is_about_source
from sync_pipeline.stages.polling import (
    Cursor,
    asked,
    check_again,
    days_instead,
    has_room,
    instead_of_feed,
    poll,
    poll_source,
)
from sync_pipeline.stages.target_changes import compare_records, compare_with_delivered
from sync_pipeline.store.events import Event, close
from sync_pipeline.store.syncs import failing

EVENTS_A_TICK = 2000
"""So many events of one entity are looked at in one tick; the others wait for the next."""
SPANS_A_TICK = 5
GAP = 7
"""Days without a change that are read along rather than starting another run."""
TRANSIENT = (ErrorCategory.AWAY, ErrorCategory.BUSY)
"""A full read that failed for one of these is repeated without a person; any other failure needs one."""
FIRST_REPEAT, LAST_REPEAT = timedelta(minutes=5), timedelta(hours=1)
"""How long after it: twice as long after each further failure, up to the second."""


@dataclass(frozen=True, slots=True)
class Dirty:
    """What one run is to read again, and the events that ask for it."""

    events: tuple[int, ...]
    ids: tuple[str, ...] = ()
    days: Days | None = None
    """Without ids and days: the whole entity."""
    repeats: int | None = None
    """The failed sync that is repeated, if one is."""

    @property
    def is_whole(self) -> bool:
        """Whether everything is read again."""
        return not self.ids and self.days is None


@dataclass(slots=True)
class Watched:
    """The result of a tick: the runs to request, the cursor for the next tick, and what to report."""

    cursor: str
    runs: list[Dirty] = field(default_factory=list)
    note: str = ""
    trouble: str = ""
    """Why nothing could be asked; the events that are in the inbox already are dealt with all the same."""


def watch(session: Session, spec: EntitySpec, cursor: str | None, *, days_ahead: int = 7) -> Watched:
    """Poll when it is due, then read the inbox. Errors of a system are reported, and the cursor stays where it was."""
    state = Cursor.parse(cursor)
    watched, instead, in_full = Watched(str(state)), set[str](), list[Days | None]()
    for ask in (poll, poll_source):
        try:
            watched.note = ". ".join(filter(None, (watched.note, ask(session, spec, state))))
            watched.cursor = str(state)
        except SyncError as error:
            watched.trouble = ". ".join(filter(None, (watched.trouble, str(error))))
    if not watched.trouble:
        instead, in_full = days_instead(session, spec, state), instead_of_feed(session, spec, state)
        watched.cursor = str(state)
    check_again(session, spec)
    events = session.ledger(spec).events.to_do(EVENTS_A_TICK)
    due, later = _due(session, spec, events)
    watched.note = ". ".join(filter(None, (watched.note, later)))
    try:
        watched.runs, unread = _runs(session, spec, due, state, days_ahead)
    except SyncError as error:
        watched.trouble = str(error)
    else:
        watched.cursor = watched.cursor if watched.trouble else str(state)
        watched.trouble = ". ".join(filter(None, (watched.trouble, unread)))
    watched.runs += [Dirty((), days=span) for span in _spans(instead, session.settings.days_per_run)]
    watched.runs += [Dirty((), days=span) for span in in_full]
    if not watched.trouble and not any(run.is_whole for run in watched.runs):
        repeated, later = _repeated(session, spec)
        watched.runs += repeated
        watched.note = ". ".join(filter(None, (watched.note, later)))
    return watched


def _repeated(session: Session, spec: EntitySpec) -> tuple[list[Dirty], str]:
    """The run that repeats a full read which an outage or a used-up budget ended, when it is time; else what to say of it.

    What is read by days comes again within hours; a list would be read again in the next night.
    """
    failed = None if spec.partitioned else failing(session.store, session.pair).get(spec.entity)
    if failed is None or failed.last.category not in TRANSIENT:
        return [], ""
    ended = failed.last.finished_at or failed.last.begun_at
    wait = min(FIRST_REPEAT * 2 ** min(failed.count - 1, 9), LAST_REPEAT)
    if not has_passed(ended, wait, session.now()):
        return [], f"the last full read failed: it is repeated at {ended + wait:%H:%M:%S} UTC"
    if not all(has_room(session, system, 1) for system in {spec.source.system, spec.target.system}):
        return [], "the last full read failed, and the hour's request budget is nearly used up: it is repeated later"
    return [Dirty((), repeats=failed.last.id)], ""


def _due(session: Session, spec: EntitySpec, events: Sequence[Event]) -> tuple[list[Event], str]:
    """The events to answer now, and what to say of the others: the budget is used up, or their next try is later."""
    if events and not session.source(spec).notifies and not has_room(session, asked(session, spec), 1):
        return [], f"the hour's request budget is nearly used up: {len(events)} events wait"
    pause, now = timedelta(seconds=session.settings.sensor_seconds), session.now()
    due = [event for event in events if event.is_due(now, pause)]
    later = len(events) - len(due)
    return due, f"{later} events failed before and wait for their next try" if later else ""


def _runs(
    session: Session, spec: EntitySpec, events: Sequence[Event], state: Cursor, days_ahead: int
) -> tuple[list[Dirty], str]:
    """The runs that answer these events, and why records of the target could not be read."""
    if not events:
        return [], ""
    trouble = ""
    few = pace_of(spec.source.system, session.settings).reads_by_id
    edited = [event for event in events if event.kind.startswith(ABOUT_TARGET)]
    events = [event for event in events if event not in edited]
    if not session.source(spec).notifies:
        theirs = [event for event in events if not is_about_source(event, notifies=False)]
        events = [event for event in events if event not in theirs]
        if theirs:
            wanting, trouble = compare_with_delivered(session, spec, theirs, state.unchanged_since_delivery)
            if wanting:
                return [Dirty(tuple(event.id for event in (*wanting, *events)))], trouble
    if edited:
        wanting, trouble = compare_records(session, spec, edited, state.unchanged_since_delivery)
        events = [*events, *wanting]
    if spec.partitioned:
        events = _named(session, events)
    fresh = [event for event in events if not event.attempts or not event.source_id]
    tried = [event for event in events if event.attempts and event.source_id]
    return [*_anew(session, spec, fresh, few, days_ahead), *_again(session, spec, tried, few, days_ahead)], trouble


def _again(session: Session, spec: EntitySpec, tried: Sequence[Event], few: int, days_ahead: int) -> list[Dirty]:
    """What a run has failed to answer is read by id, apart from what is fresh: it may never succeed.

    Where much has failed, a system was away, and reading all of it one by one would use up the budget of hours.
    """
    some = sorted(list(dict.fromkeys(str(event.source_id) for event in tried))[:few])
    failed = [event for event in tried if event.reason and event.source_id not in some]
    many = _anew(session, spec, failed, few, days_ahead) if len({event.source_id for event in failed}) > few else []
    return [*([_by_id(tried, some)] if some else []), *many]


def _anew(session: Session, spec: EntitySpec, events: Sequence[Event], few: int, days_ahead: int) -> list[Dirty]:
    ids = sorted({event.source_id for event in events if event.source_id})
    if len(ids) <= few and all(event.source_id for event in events):
        return [_by_id(events, ids)] if ids else []
    if not spec.partitioned:
        return [Dirty(tuple(event.id for event in events))] if events else []
    return _by_days(session, spec, events, few, days_ahead)


def _named(session: Session, events: Sequence[Event]) -> list[Event]:
    """Without those that name no record: there is nothing to look up, and the re-scan brings what they meant."""
    close(session.store, [event.id for event in events if not event.source_id], None, session.now())
    return [event for event in events if event.source_id]


def _by_days(session: Session, spec: EntitySpec, events: Sequence[Event], few: int, days_ahead: int) -> list[Dirty]:
    """Runs over the days of the dirty records; what has no day is read by id."""
    dirty: dict[str, list[Event]] = {}
    lone: list[Event] = []
    known = session.ledger(spec).lookup({e.source_id for e in events if e.source_id})
    valid = Days(session.settings.start_date, session.now().astimezone(UTC).date() + timedelta(days=days_ahead)).keys
    for event in events:
        record = known.get(event.source_id or "")
        days = {day_of(spec, event), record.partition if record else None}
        wanted = [day for day in days if day is not None and valid[0] <= day <= valid[1]]
        for day in wanted:
            dirty.setdefault(day, []).append(event)
        if not wanted:
            lone.append(event)
    runs = [
        Dirty(tuple(sorted({event.id for day in span for event in dirty.get(day, ())})), days=span)
        for span in _spans(dirty, session.settings.days_per_run)[:SPANS_A_TICK]
    ]
    some = sorted({event.source_id for event in lone if event.source_id})[:few]
    return [*runs, _by_id(lone, some)] if some else runs


def _by_id(events: Iterable[Event], ids: Sequence[str]) -> Dirty:
    return Dirty(tuple(event.id for event in events if event.source_id in ids), ids=tuple(ids))


def _spans(days: Iterable[str], longest: int) -> list[Days]:
    """The days, coalesced into spans of at most ``longest`` days."""
    spans: list[Days] = []
    for day in sorted(map(date.fromisoformat, days)):
        last = spans[-1] if spans else None
        if last is not None and (day - last.last).days <= GAP and (day - last.first).days < longest:
            spans[-1] = Days(last.first, day)
        else:
            spans.append(Days(day, day))
    return spans
