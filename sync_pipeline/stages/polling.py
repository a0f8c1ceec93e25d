"""Polling: ask what changed, within the plan's request budget, and put the answer into the inbox like any event.

The feed of entity changes where there is one, else a list compared with what we know. What is found is a dirty flag,
nothing more; what is missed is found by the re-scans.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson

from sync_pipeline.clock import has_passed
from sync_pipeline.connectors.ports import WHATS, Change, Feed, Pace
from sync_pipeline.connectors.registry import name_of, pace_of
from sync_pipeline.errors import FatalApiError
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.inbox import LISTED, REFERENCE
from sync_pipeline.store.bulk import chunks
from sync_pipeline.store.events import Received, content_id, receive_many
from sync_pipeline.store.ledger import Ledger
from sync_pipeline.store.records import Known
from sync_pipeline.store.references import WAITS
from sync_pipeline.store.staging import Staging

SYSTEM = "poll"
"""Who sent the events that polling puts into the inbox."""
OVERLAP, SETTLING = timedelta(minutes=10), timedelta(minutes=2)
LONGEST_LOOK_BACK = timedelta(days=29)
"""The feed answers for 30 days at most."""
CLOCKS_APART = timedelta(days=1)
"""The most by which a system's clock is assumed to differ from ours: a wrong one may only cost a longer window."""
NARROWEST = timedelta(seconds=10)
"""The shortest window; the instants of a feed may be whole seconds."""
PAGES_OF_NARROWEST = 250
ASK_AGAIN = timedelta(days=1)
"""A feed that was refused is tried again after this long: plans change."""
REFUSED = (400, 403, 404, 405)
DAYS_INSTEAD = 7
"""So many days before a moment in which more changed than the feed gives are read instead."""
KEPT_FOR_RUNS = 10
"""Requests of an hour's budget that polling leaves to the runs it may cause."""
SEEN_KEPT = 1000
REPEAT_AFTER = timedelta(minutes=10)
"""A list says the same at every look while a record is not as we know it: it is tried again after this long."""


INSTANTS = ("polled", "refused", "days_read", "since", "listed", "reached", "dense", "in_full")
TOGETHER = ("unique_ids", *WAITS)
"""Rules about several records: a full read, or ``check_again``, finds what changed about these."""
MOST_CHANGES = 2000
"""Changes of a list that are stored at a time; with more, the list is read in full anyway."""


@dataclass(slots=True)
class Cursor:
    """What a sensor remembers between two ticks; anything it cannot read is forgotten, which costs one poll."""

    polled: datetime | None = None
    refused: datetime | None = None
    days_read: datetime | None = None
    since: datetime | None = None
    """Where the next window begins while it has to be shorter than up to now; None: where the last poll ended."""
    width: float | None = None
    """How long that window is, in seconds."""
    listed: datetime | None = None
    """When the list of a source that reports no changes was read."""
    reached: datetime | None = None
    """Up to when the feed was read, by whichever clock was behind: ours, or that of the feed."""
    ahead: float = 0.0
    """By how many seconds the feed's clock was ahead of ours at the last poll."""
    dense: datetime | None = None
    """A moment in which more changed than the feed gives; the entity is to be read instead."""
    in_full: datetime | None = None
    """When that was last asked for, by whichever clock was behind: it covers every such moment before."""
    seen: list[str] = field(default_factory=list)
    """Marks of what the last window held, since the next one overlaps it."""
    unchanged_since_delivery: dict[str, list[str]] = field(default_factory=dict)
    """Records at the target that did not become what we sent, and what they were instead, and since when."""

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        """Read a stored cursor."""
        try:
            found = orjson.loads(text or "{}")
            instants = {name: _instant(found.get(name)) for name in INSTANTS}
            # What an earlier version noted has no time: forgetting it costs one delivery.
            unchanged_since_delivery = {
                key: value for key, value in found.get("stubborn", {}).items() if isinstance(value, list)
            }
            width = float(found["width"]) if found.get("width") else None
            ahead = float(found.get("ahead") or 0)
            return cls(
                **instants,
                width=width,
                ahead=ahead,
                seen=list(found.get("seen", [])),
                unchanged_since_delivery=unchanged_since_delivery,
            )
        except (ValueError, TypeError, AttributeError):
            return cls()

    def __str__(self) -> str:
        known: dict[str, Any] = {name: getattr(self, name) for name in INSTANTS}
        known |= {
            "width": self.width,
            "ahead": self.ahead,
            "seen": self.seen[-SEEN_KEPT:],
            "stubborn": self.unchanged_since_delivery,
        }
        return orjson.dumps({name: value for name, value in known.items() if value}).decode()


def poll_seconds(session: Session, spec: EntitySpec) -> int:
    """How often changes of an entity are asked for."""
    if session.settings.poll_seconds is not None:
        return session.settings.poll_seconds
    pace = _pace(session, spec)
    return pace.poll_seconds * (1 if spec.partitioned else pace.list_poll_factor)


def asked(session: Session, spec: EntitySpec) -> str:
    """The system that is asked what changed: the source, or the target of a source that does not notify."""
    return (spec.source if session.source(spec).notifies else spec.target).system


def _pace(session: Session, spec: EntitySpec) -> Pace:
    return pace_of(asked(session, spec), session.settings)


def has_room(session: Session, system: str, requests: int) -> bool:
    """Whether so many requests fit into what is left of a system's hourly budget, with some left for the runs."""
    budget = session.budget(system)
    return budget is None or budget.left >= requests + KEPT_FOR_RUNS


def poll(session: Session, spec: EntitySpec, cursor: Cursor) -> str:
    """Ask if it is time to; what changed is in the inbox when this returns. Says what was done; "" when nothing was.

    Raises ApiError when the system fails; the cursor is as it was then.
    """
    now, every = session.now(), timedelta(seconds=poll_seconds(session, spec))
    if cursor.since is None and not has_passed(cursor.polled, every, now):
        return ""
    requests = len(WHATS) * (1 if cursor.since is None else _pace(session, spec).feed_pages)
    if not has_room(session, asked(session, spec), requests):
        return "the hour's request budget is nearly used up, so nothing was asked for"
    source = session.source(spec)
    if spec.target.once and not source.notifies:  # what was made is never changed: there is nothing to compare
        cursor.polled = now
        return ""
    feed = source.feed if source.notifies else session.target(spec).feed
    if feed is not None and has_passed(cursor.refused, ASK_AGAIN, now):
        try:
            return _by_feed(session, spec, cursor, feed, now)
        except FatalApiError as error:
            if error.request.status not in REFUSED:
                raise
            cursor.refused = now
    news = _by_list(session, spec) if not spec.partitioned else 0
    cursor.polled = now
    return f"compared with the list: {news} changed"


def poll_source(session: Session, spec: EntitySpec, cursor: Cursor) -> str:
    """Compare the list of a source that reports no changes with what is stored, when it is due; "" when it is not.

    It takes no request to the target, and no more than its rate limit allows to the source. Raises ApiError when it fails.
    """
    now, every = session.now(), timedelta(seconds=session.settings.snapshots_poll_seconds)
    tick = timedelta(seconds=session.settings.sensor_seconds)
    # A tick that comes a little early is no reason to wait for another one.
    if session.source(spec).notifies or not has_passed(cursor.listed, every - tick / 2, now):
        return ""
    found = _received(session, spec, LISTED, _rows_changed(session, spec))
    cursor.listed = now
    return f"compared with the list at the source: {_keep(session, found)} changed"


def check_again(session: Session, spec: EntitySpec) -> int:
    """Request the records whose reference is no longer what they wait for; returns how many."""
    fields = [*spec.references.items(), *(spec.links.items() if spec.target.once else ())]
    if not fields:
        return 0
    ids = session.ledger(spec).rejects.to_check_again(fields, MOST_CHANGES)
    return _keep(session, _received(session, spec, REFERENCE, dict.fromkeys(ids, "")))


def days_instead(session: Session, spec: EntitySpec, cursor: Cursor) -> set[str]:
    """Yesterday, today and tomorrow, now and then, where the feed is refused."""
    now, every = session.now(), _pace(session, spec).days_seconds
    if not spec.partitioned or cursor.refused is None or every is None:
        return set()
    if not has_passed(cursor.days_read, timedelta(seconds=every), now):
        return set()
    cursor.days_read = now
    today: date = now.astimezone(UTC).date()
    return {(today + timedelta(days=n)).isoformat() for n in (-1, 0, 1)}


def instead_of_feed(session: Session, spec: EntitySpec, cursor: Cursor) -> list[Days | None]:
    """What is to be read in full because more changed at a moment than the feed gives; None is the whole entity."""
    moment, cursor.dense = cursor.dense, None
    if moment is None or (cursor.in_full is not None and moment <= cursor.in_full <= session.now()):
        return []
    cursor.in_full = _earlier(cursor, session.now())
    last = moment.date() + timedelta(days=1)
    return [Days(last - timedelta(days=DAYS_INSTEAD), last) if spec.partitioned else None]


def _by_feed(session: Session, spec: EntitySpec, cursor: Cursor, feed: Feed, now: datetime) -> str:
    # The feed uses a clock of its own, and ours may be wrong. A window ends by the clock that is ahead, and the next begins by
    # the one that is behind: whichever is right, nothing falls between two windows, and a wrong one costs a longer window.
    latest = now + max(timedelta(seconds=cursor.ahead), timedelta()) - SETTLING
    since = max(cursor.since or _beginning(cursor, now), now - LONGEST_LOOK_BACK)
    if since >= latest:  # our clock was set back; from this answer on its difference from the feed's is known
        since = latest - OVERLAP
    until = min(latest, since + timedelta(seconds=cursor.width or LONGEST_LOOK_BACK.total_seconds()))
    is_narrowest = until - since <= NARROWEST
    most = PAGES_OF_NARROWEST if is_narrowest else _pace(session, spec).feed_pages
    changes = _changes(session, feed, since, until, most)
    cursor.polled, cursor.refused = now, None  # not earlier: the caller keeps the cursor even after an error
    cursor.ahead = _ahead(feed)
    if changes is None and is_narrowest:
        cursor.since, cursor.dense = until, until
        return (
            f"{name_of(asked(session, spec), session.settings)}'s feed of changes does not end for the seconds from {since:%Y-%m-%d %H:%M:%S}: "
            f"{f'the {DAYS_INSTEAD} days before are' if spec.partitioned else 'everything is'} read once instead, and "
            f"polling continues after them. `sync-pipeline verify {spec.entity} --repair` brings what is older"
        )
    if changes is None:
        cursor.since, cursor.width = since, (until - since).total_seconds() / 2
        return (
            f"more changed from {since:%d.%m. %H:%M:%S} to {until:%H:%M:%S} than one poll reads: the next asks for less"
        )
    marks = {_mark(change): change for change in changes}
    fresh = [change for mark, change in marks.items() if mark not in cursor.seen]
    found = [
        Received(
            content_id(change.what, change.id, {"at": change.at}),
            f"poll:{change.what}",
            spec.entity,
            change.id,
            orjson.dumps(change.record).decode(),
            now,
        )
        for change in fresh
    ]
    news = _keep(session, found)
    cursor.seen = list(marks)
    is_all = until >= latest
    cursor.reached = min(until, _earlier(cursor, now) - SETTLING)
    # Whether both ends of a window belong to it is not documented: the next one overlaps it.
    cursor.since = None if is_all else until - timedelta(seconds=1)
    cursor.width = None if is_all or cursor.width is None else cursor.width * 2
    return f"asked what changed since {since:%H:%M:%S}{'' if is_all else f' until {until:%H:%M:%S}'}: {news} records"


def _beginning(cursor: Cursor, now: datetime) -> datetime:
    if cursor.reached is not None:
        return cursor.reached + SETTLING - OVERLAP
    return min(cursor.polled or now, now) - OVERLAP


def _earlier(cursor: Cursor, now: datetime) -> datetime:
    """The time by the feed's clock or ours, whichever is behind."""
    return now + timedelta(seconds=min(cursor.ahead, 0))


def _ahead(feed: Feed) -> float:
    """By how many seconds the feed's clock is ahead of ours, by the Date of its last answer; 0 where it has none."""
    offset, most = feed.clock_offset or 0.0, CLOCKS_APART.total_seconds()
    return max(-most, min(offset, most))


def _changes(session: Session, feed: Feed, since: datetime, until: datetime, most: int) -> list[Change] | None:
    """What the feeds hold of a window; None when one holds more than so many pages."""
    changes: list[Change] = []
    for what in WHATS:
        found = session.call(feed.read, what, since, until, most)
        if found is None:
            return None
        changes += found
    return changes


def _mark(change: Change) -> str:
    return content_id(change.what, change.id, {"at": change.at})[:12]


def _by_list(session: Session, spec: EntitySpec) -> int:
    """Store an event for each record whose state in the list of this system differs from the stored one; returns how many are new."""
    pages = [_rows_changed(session, spec)] if session.source(spec).notifies else targets_changed(session, spec)
    return sum(_keep(session, _received(session, spec, "poll:list", changed)) for changed in pages)


def _received(session: Session, spec: EntitySpec, kind: str, changed: Mapping[str, str]) -> list[Received]:
    return [
        Received(content_id(kind, key, {"hash": digest}), kind, spec.entity, key, "{}", session.now())
        for key, digest in changed.items()
    ]


def _rows_changed(session: Session, spec: EntitySpec) -> dict[str, str]:
    # With pandas, which most polls do not need.
    from sync_pipeline.stages.process import process_frame, reject_problems, staged_rows

    changed: dict[str, str] = {}
    ledger = session.ledger(spec)
    with ledger.staging() as met:
        for page in session.read(spec, None):
            if len(changed) >= MOST_CHANGES:
                return changed
            frame = process_frame(session, spec, page)
            rows = staged_rows(spec, frame)
            ids = [row.source_id for row in rows]
            known, wrong = ledger.lookup(ids), ledger.rejects.differing(ids, reject_problems(frame), TOGETHER)
            met.add_unchanged([(row.source_id, row.fields_hash) for row in rows])
            for row in rows:
                record = known.get(row.source_id)
                same = record is not None and record.fields_hash == row.fields_hash and record.deleted_at is None
                if row.source_id in wrong or (row.status in {"accepted", "waiting"} and not same):
                    changed[row.source_id] = row.fields_hash
        for record in _not_met(ledger, met):
            if record.deleted_at is None and record.unconfirmed_at is None:
                changed[record.source_id] = ""
    return changed


def targets_changed(session: Session, spec: EntitySpec) -> Iterator[dict[str, str]]:
    """Linked records of the target that differ from what was delivered, some at a time."""
    from sync_pipeline.stages.target_changes import target_hash  # with pandas, which most polls do not need

    target, ledger = session.target(spec), session.ledger(spec)
    with ledger.staging() as met:
        for page in session.walk(target.read()):
            listed = {str(record[target.id_field]): record for record in page}
            ours = ledger.lookup_targets(listed)
            met.add_unchanged([(record.source_id, record.fields_hash) for record in ours.values()])
            found = {key: target_hash(spec, target, record, listed[key]) for key, record in ours.items()}
            yield {key: digest or "" for key, digest in found.items() if digest != ours[key].delivered_hash}
        lost = (record.target_id for record in _not_met(ledger, met) if record.delivered_hash is not None)
        yield from (dict.fromkeys(some, "") for some in chunks(key for key in lost if key is not None))


def _not_met(ledger: Ledger, met: Staging) -> Iterator[Known]:
    """The stored records that a list did not show."""
    for page in ledger.scan():
        listed = met.listed_among([record.source_id for record in page])
        yield from (record for record in page if record.source_id not in listed)


def _keep(session: Session, found: Sequence[Received]) -> int:
    found = [one._replace(payload=session.forgotten.cleaned(one.payload)) for one in found]
    return sum(receive_many(session.store, session.pair, SYSTEM, found, repeat_after=REPEAT_AFTER))


def _instant(value: object) -> datetime | None:
    return datetime.fromisoformat(value).astimezone(UTC) if isinstance(value, str) else None
