"""Polling: ask what changed, within the plan's request budget, and put the answer into the inbox like any event.

The feed of entity changes where there is one, else a list compared with what we know. What is found is a dirty flag,
nothing more; what is missed is found by the re-scans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson

from sync_pipeline.connectors.changes import KINDS, WHATS, Change
from sync_pipeline.connectors.clockify import PLANS
from sync_pipeline.errors import FatalApiError
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.settings import Settings
from sync_pipeline.stages.clients import standing
from sync_pipeline.stages.judge import judged_rows
from sync_pipeline.stages.session import Session
from sync_pipeline.store.events import Received, content_id, receive_many
from sync_pipeline.store.rate import room
from sync_pipeline.store.records import lookup, scan

SYSTEM = "poll"
"""Who sent the events that polling puts into the inbox."""
OVERLAP, SETTLING = timedelta(minutes=10), timedelta(minutes=2)
LONGEST_LOOK_BACK = timedelta(days=1)
ASK_AGAIN = timedelta(days=1)
"""A feed that was refused is tried again after this long: plans change."""
REFUSED = (400, 403, 404, 405)
SECONDS = {"paid": 60, "free": 3600}
RARER_ON_FREE = 3
"""On the Free plan, everything but time entries is asked for this many times less often."""
DAYS_SECONDS = 600
"""Without a feed, how often the days around today are read instead (on a paid plan only)."""
KEPT_FOR_RUNS = 10
"""Requests of an hour's budget that polling leaves to the runs it may cause."""
SEEN_KEPT = 1000
PATIENCE = timedelta(minutes=10)
"""A list says the same at every look while a record is not as we know it: it is tried again after this long."""


@dataclass(slots=True)
class Cursor:
    """What a sensor remembers between two ticks; anything it cannot read is forgotten, which costs one poll."""

    polled: datetime | None = None
    refused: datetime | None = None
    days_read: datetime | None = None
    seen: list[str] = field(default_factory=list)
    """Marks of what the last window held, since the next one overlaps it."""
    stubborn: dict[str, list[str]] = field(default_factory=dict)
    """Clients that did not become what we sent, and what they were instead, and since when."""

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        """Read a stored cursor."""
        try:
            found = orjson.loads(text or "{}")
            instants = {name: _instant(found.get(name)) for name in ("polled", "refused", "days_read")}
            # What an earlier version noted has no time: forgetting it costs one delivery.
            stubborn = {key: value for key, value in found.get("stubborn", {}).items() if isinstance(value, list)}
            return cls(**instants, seen=list(found.get("seen", [])), stubborn=stubborn)
        except (ValueError, TypeError, AttributeError):
            return cls()

    def __str__(self) -> str:
        known: dict[str, Any] = {"polled": self.polled, "refused": self.refused, "days_read": self.days_read}
        known |= {"seen": self.seen[-SEEN_KEPT:], "stubborn": self.stubborn}
        return orjson.dumps({name: value for name, value in known.items() if value}).decode()


def poll_seconds(settings: Settings, spec: EntitySpec) -> int:
    """How often changes of an entity are asked for."""
    if settings.poll_seconds is not None:
        return settings.poll_seconds
    rarer = RARER_ON_FREE if settings.clockify_plan == "free" and not spec.partitioned else 1
    return SECONDS[settings.clockify_plan] * rarer


def has_room(session: Session, requests: int) -> bool:
    """Whether so many requests fit into the hour's budget at once, with some left for the runs."""
    plan = PLANS[session.settings.clockify_plan]
    hourly = [window for window in plan.windows if window[1] > 60]
    if not hourly:
        return True
    bucket = session.clockify.account.bucket
    return room(session.store, bucket, hourly, session.now().timestamp()) >= requests + KEPT_FOR_RUNS


def poll(session: Session, spec: EntitySpec, cursor: Cursor) -> str:
    """Ask if it is time to; what changed is in the inbox when this returns. Says what was done; "" when nothing was.

    Raises ApiError when Clockify fails; the cursor is as it was then.
    """
    now, every = session.now(), timedelta(seconds=poll_seconds(session.settings, spec))
    if cursor.polled is not None and now - cursor.polled < every:
        return ""
    if not has_room(session, len(WHATS)):
        return "the hour's request budget is nearly used up, so nothing was asked for"
    kind = KINDS.get(spec.entity if spec.source.system == "clockify" else str(spec.target.kind))
    may_ask = cursor.refused is None or now - cursor.refused > ASK_AGAIN
    if kind is not None and may_ask:
        try:
            return _by_feed(session, spec, cursor, kind, now)
        except FatalApiError as error:
            if error.request.status not in REFUSED:
                raise
            cursor.refused = now
    found = _by_list(session, spec) if not spec.partitioned else []
    cursor.polled = now
    return f"compared with the list: {_keep(session, found)} changed"


def days_instead(session: Session, spec: EntitySpec, cursor: Cursor) -> set[str]:
    """Yesterday, today and tomorrow, now and then, where a plan refuses the feed."""
    now = session.now()
    if not spec.partitioned or cursor.refused is None or session.settings.clockify_plan == "free":
        return set()
    if cursor.days_read is not None and now - cursor.days_read < timedelta(seconds=DAYS_SECONDS):
        return set()
    cursor.days_read = now
    today: date = now.astimezone(UTC).date()
    return {(today + timedelta(days=n)).isoformat() for n in (-1, 0, 1)}


def _by_feed(session: Session, spec: EntitySpec, cursor: Cursor, kind: str, now: datetime) -> str:
    since = max((cursor.polled or now) - OVERLAP, now - LONGEST_LOOK_BACK)
    changes: list[Change] = []
    for what in WHATS:
        changes += session.call(session.clockify.changes.read, what, kind, since, now - SETTLING)
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
    cursor.polled, cursor.refused, cursor.seen = now, None, list(marks)
    return f"asked what changed since {since:%H:%M:%S}: {news} records"


def _mark(change: Change) -> str:
    return content_id(change.what, change.id, {"at": change.at})[:12]


def _by_list(session: Session, spec: EntitySpec) -> list[Received]:
    """The records that are not as we know them: of a list at the source, or of the target's when the source is another."""
    changed = _clients_changed(session, spec) if spec.source.system != "clockify" else _rows_changed(session, spec)
    return [
        Received(content_id("poll:list", key, {"hash": digest}), "poll:list", spec.entity, key, "{}", session.now())
        for key, digest in changed.items()
    ]


def _rows_changed(session: Session, spec: EntitySpec) -> dict[str, str]:
    changed: dict[str, str] = {}
    met: set[str] = set()
    for page in session.read(spec, None):
        rows = judged_rows(session, spec, page)
        known = lookup(session.store, session.connection, spec.entity, [row[0] for row in rows])
        met.update(row[0] for row in rows)
        for key, _, _, digest, status, _ in rows:
            record = known.get(key)
            same = record is not None and record.fields_hash == digest and record.deleted_at is None
            if status in {"accepted", "waiting"} and not same:
                changed[key] = digest
    for stored in scan(session.store, session.connection, spec.entity):
        for record in stored:
            if record.source_id not in met and record.deleted_at is None and record.unconfirmed_at is None:
                changed[record.source_id] = ""
    return changed


def _clients_changed(session: Session, spec: EntitySpec) -> dict[str, str]:
    """Linked clients that are not what we delivered."""
    clients = {client["id"]: client for client in session.call(session.clockify.list_clients)}
    changed: dict[str, str] = {}
    for page in scan(session.store, session.connection, spec.entity):
        for record in page:
            if record.target_id is None:
                continue
            found = standing(spec, record, clients.get(record.target_id))
            if found != record.delivered_hash:
                changed[record.target_id] = found or ""
    return changed


def _keep(session: Session, found: Sequence[Received]) -> int:
    return sum(receive_many(session.store, session.connection, SYSTEM, found, patience=PATIENCE))


def _instant(value: object) -> datetime | None:
    return datetime.fromisoformat(value).astimezone(UTC) if isinstance(value, str) else None
