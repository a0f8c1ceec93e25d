"""The outbox of the alerts: a row for each notice to a destination, written before it is sent.

A row is marked as sent only after it was sent: a process killed in between sends it twice, and none is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from sqlalchemy import delete, func, insert, select, update

from sync_pipeline.store.alerts import FIGURE, AlertKey, AlertRow, open_rows, resolved_rows
from sync_pipeline.store.engine import Store
from sync_pipeline.store.locks import take_turn
from sync_pipeline.store.schema import alert_notices, alerts

Event = Literal["opened", "repeated", "resolved"]
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)
"""How long after a failure it is tried again: twice as long each time."""
FAILING_AFTER = 2
"""Failures in a row after which a destination counts as failing."""
AT_ONCE = 50
"""Notices of one message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When a destination is sent what."""

    window: timedelta
    """How long notices are gathered before they are sent as one message."""
    repeat: timedelta
    lasting: Mapping[str, timedelta] = field(default_factory=dict)
    """How long alerts of a kind have to be open before a message is sent."""
    about_a_destination: str = ""
    """The kind of alert about a destination, which is not sent to that destination itself."""
    superseded: Callable[[Iterable[AlertKey]], Collection[AlertKey]] = lambda _: ()
    """Alerts on figures that a farther threshold supersedes: they are neither sent nor repeated while its alert is open."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One event of an alert that a destination is to receive."""

    id: int
    alert_id: int
    destination: str
    event: Event
    at: datetime
    attempts: int
    next_at: datetime


@dataclass(frozen=True, slots=True)
class FailingDestination:
    """Since when messages do not reach a destination, how many wait, and why."""

    since: datetime
    waiting: int
    problem: str


class _LastNotice(NamedTuple):
    """The last notice to a destination about one alert."""

    event: str
    at: datetime
    is_sent: bool


def write_notices(store: Store, pair: str, destinations: Sequence[str], rules: Rules, now: datetime) -> int:
    """Store a notice for each thing that a destination was not sent yet; returns how many."""
    if not list(_due(store, pair, destinations, rules, now)):
        return 0
    with store.writing(durable=True) as tx:
        take_turn(store, tx, f"alert notices\n{pair}")
        due = list(_due(store, pair, destinations, rules, now))
        if due:
            tx.execute(insert(alert_notices), due)
    return len(due)


def waiting_notices(store: Store, pair: str, now: datetime) -> dict[str, list[Notice]]:
    """What is to be sent now, by destination: all that waits for it, once its window or its pause is over."""
    columns = [alert_notices.c[name] for name in Notice.__slots__]
    mine = select(*columns).join(alerts, alerts.c.id == alert_notices.c.alert_id)
    unsent = mine.where(alerts.c.connection == pair, alert_notices.c.sent_at.is_(None)).order_by(alert_notices.c.id)
    found: dict[str, list[Notice]] = {}
    with store.reading() as tx:
        for row in tx.execute(unsent):
            found.setdefault(row.destination, []).append(Notice(*row))
    is_due = {name for name, some in found.items() if any(each.next_at <= now for each in some)}
    return {name: some[:AT_ONCE] for name, some in found.items() if name in is_due}


def note_sent(store: Store, notices: Iterable[Notice], at: datetime) -> None:
    """Note that these were sent."""
    _mark(store, notices, {"sent_at": at, "problem": None})


def note_not_sent(store: Store, notices: Sequence[Notice], problem: str, now: datetime) -> None:
    """Note why these could not be sent; they are tried again, later each time."""
    attempts = max(each.attempts for each in notices)
    pause = min(FIRST_PAUSE * 2 ** min(attempts, 10), LONGEST_PAUSE)
    _mark(store, notices, {"problem": problem, "attempts": attempts + 1, "next_at": now + pause})


def failing_destinations(store: Store, pair: str) -> dict[str, FailingDestination]:
    """The destinations that messages do not reach."""
    columns = (
        alert_notices.c.destination,
        func.min(alert_notices.c.at),
        func.count(),
        func.max(alert_notices.c.problem),
        func.max(alert_notices.c.attempts),
    )
    unsent = select(*columns).join(alerts, alerts.c.id == alert_notices.c.alert_id)
    mine = unsent.where(alerts.c.connection == pair, alert_notices.c.sent_at.is_(None))
    with store.reading() as tx:
        rows = tx.execute(mine.group_by(alert_notices.c.destination)).all()
    return {
        destination: FailingDestination(*failure)
        for destination, *failure, attempts in rows
        if attempts >= FAILING_AFTER
    }


def drop_notices(store: Store, destination: str) -> None:
    """Delete the notices to a destination that was removed, sent or not."""
    with store.writing() as tx:
        tx.execute(delete(alert_notices).where(alert_notices.c.destination == destination))


def _mark(store: Store, notices: Iterable[Notice], values: dict[str, Any]) -> None:
    ids = [each.id for each in notices]
    with store.writing(durable=True) as tx:
        tx.execute(update(alert_notices).where(alert_notices.c.id.in_(ids)).values(values))


def _due(store: Store, pair: str, destinations: Sequence[str], rules: Rules, now: datetime) -> Iterator[dict[str, Any]]:
    """The rows to write."""
    rows = open_rows(store, pair)
    quiet = rules.superseded(key for key in rows if key.kind == FIGURE)
    opened = [row for key, row in rows.items() if key not in quiet and not row.is_silenced(now)]
    resolved = [row for row in _resolved_unsent(store, pair) if not row.is_silenced(row.resolved_at or now)]
    last = _last_notices(store, [row.id for row in (*opened, *resolved)])
    for row in (*opened, *resolved):
        for name in destinations:
            if row.key == (rules.about_a_destination, "", name):
                continue
            if (event := _event(row, last.get((row.id, name)), rules, now)) is not None:
                values = {"alert_id": row.id, "destination": name, "event": event, "at": now}
                yield {**values, "next_at": now + rules.window, "attempts": 0}


def _event(row: AlertRow, last: _LastNotice | None, rules: Rules, now: datetime) -> Event | None:
    """The event to send to a destination now, given the last notice it received about the alert."""
    if row.resolved_at is not None:
        return "resolved" if last is not None and last.event != "resolved" else None
    if row.is_acknowledged:
        return None
    if last is None:
        is_lasting = now - row.first_seen_at >= rules.lasting.get(row.kind, timedelta())
        return "opened" if is_lasting else None
    got_worse = row.acknowledged_at is not None and last.at < row.news_at
    return "repeated" if last.is_sent and (got_worse or now - last.at >= rules.repeat) else None


def _resolved_unsent(store: Store, pair: str) -> list[AlertRow]:
    """The resolved alerts for which some destination received the opening and not yet the resolution."""
    resolved = alert_notices.alias()
    ended = select(resolved.c.id).where(
        resolved.c.alert_id == alert_notices.c.alert_id,
        resolved.c.destination == alert_notices.c.destination,
        resolved.c.event == "resolved",
    )
    unreported = select(alert_notices.c.alert_id).where(alert_notices.c.event == "opened", ~ended.exists())
    with store.reading() as tx:
        return resolved_rows(tx, pair, unreported)


def _last_notices(store: Store, numbers: Sequence[int]) -> dict[tuple[int, str], _LastNotice]:
    """The last notice to each destination about each of these alerts."""
    columns = (alert_notices.c.alert_id, alert_notices.c.destination, alert_notices.c.event)
    more = (alert_notices.c.at, alert_notices.c.sent_at)
    statement = select(*columns, *more).where(alert_notices.c.alert_id.in_(numbers)).order_by(alert_notices.c.id)
    with store.reading() as tx:
        return {
            (alert, destination): _LastNotice(event, at, sent_at is not None)
            for alert, destination, event, at, sent_at in tx.execute(statement)
        }
