"""The inbox: the events that came in, kept until the run that processed it closes it.

An event is a dirty flag: it says which record to read again, not what to write. The sender repeats itself (at least
once, every attempt under another id), so a repeat is recognised by what it says: it is dropped when an event that says
the same is still untouched, since the record is going to be read anyway. Once a run has taken that one up, the same
words are news: a record may change from A to B and back to A, and a body does not hold all of its record - that of a
client is the same after each change of its address. Believing a repeat costs one read; a change ignored would not heal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    Select,
    and_,
    cast,
    delete,
    func,
    or_,
    select,
    update,
)

from sync_pipeline.clock import has_passed
from sync_pipeline.store.bulk import chunks
from sync_pipeline.store.engine import Store, insert_into, plain
from sync_pipeline.store.schema import events, one_time_tokens
from sync_pipeline.store.scope import EntityRows

LONGEST_PAUSE = timedelta(hours=1)
DOUBLINGS = 12
ROW_BYTES = 500
"""What an event takes beside its body, its place in the indexes included."""
DROPPED_AT_ONCE = 500
NOT_OURS = "about nothing that is synced"
DELIVERY = "delivery"
DELIVERIES_KEPT = timedelta(days=7)
"""Longer than vendors go on sending a delivery again."""


class Received(NamedTuple):
    """One event as it came in; ``entity`` and ``source_id`` as far as its kind and body say."""

    content: str
    """Its ``content_id``."""
    kind: str
    entity: str | None
    source_id: str | None
    payload: str
    """The body as it was sent."""
    at: datetime
    hook: str | None = None
    """The webhook by which it came in; None when it was polled."""
    delivery: str = ""
    """The id that the sender gives a delivery and all repeats of it; "" where it gives none."""


@dataclass(frozen=True, slots=True)
class Event:
    """One open event."""

    id: int
    kind: str
    entity: str
    source_id: str | None
    payload: str
    received_at: datetime
    attempts: int
    tried_at: datetime | None
    reason: str | None
    stored_at: datetime | None = None
    """When it came in by the clock of the store; ``None`` = before that was kept."""
    compared_at: datetime | None = None
    """Of an event about the target: when its record was compared there, so that what differs is pending."""

    def is_due(self, now: datetime, pause: timedelta) -> bool:
        """Whether to try it (again): what failed waits, twice as long after each attempt; it may never succeed."""
        if self.tried_at is None or self.reason is None:
            return True
        longer: timedelta = pause * 2 ** min(self.attempts - 1, DOUBLINGS)
        return has_passed(self.tried_at, min(longer, LONGEST_PAUSE), now)


@dataclass(slots=True)
class _Known:
    """The events there are about one record."""

    newest: str
    """Delivery id."""
    at: datetime
    untouched: set[str]
    """What those say that no run has claimed."""

    def is_repeated_by(self, one: Received, repeat_after: timedelta) -> bool:
        is_newest = _content(self.newest) == one.content
        return one.content in self.untouched or (is_newest and not has_passed(self.at, repeat_after, one.at))


def content_id(kind: str, source_id: str | None, body: dict[str, Any]) -> str:
    """What an event says, as a hash: equal for a repeat, however its body is spaced and ordered."""
    parts = [kind, source_id, body]
    return hashlib.blake2b(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


def receive_many(
    store: Store, pair: str, system: str, batch: Sequence[Received], *, repeat_after: timedelta = timedelta(0)
) -> list[bool]:
    """Keep a batch in one transaction, committed when this returns; for each event whether it was news.

    For ``repeat_after`` what came last about a record is no news either, although a run has claimed it: for a sender that
    repeats the same until something changes.
    """
    if not batch:
        return []
    batch = [_storable(one) for one in batch]
    with store.writing(durable=True) as tx:  # the sender will not send it again
        rows = _news(store, tx, pair, system, batch, repeat_after)
        if not rows:
            return [False] * len(batch)
        statement = insert_into(store, events).on_conflict_do_nothing().returning(events.c.delivery_id)
        # Another receiver on the same database may have been faster with the same event: its row stays.
        stored = set(tx.scalars(statement, list(rows.values())))
    return [number in rows and rows[number]["delivery_id"] in stored for number in range(len(batch))]


class Events(EntityRows):
    """The open events of one entity of a pair."""

    def to_do(self, limit: int) -> list[Event]:
        """What to look at next for an entity: the least tried first, then the oldest."""
        with self.store.reading() as tx:
            statement = self._of_entity().order_by(events.c.attempts, events.c.id).limit(limit)
            return [Event(*row) for row in tx.execute(statement)]

    def open_events(self, limit: int, after: int = 0) -> list[Event]:
        """What is still to do for an entity, oldest first; ``after`` is the last id of the page before.

        For paging only: an event that was committed late may have a lower id than one already seen, so each tick starts at 0.
        """
        statement = self._of_entity().where(events.c.id > after).order_by(events.c.id).limit(limit)
        with self.store.reading() as tx:
            return [Event(*row) for row in tx.execute(statement)]

    def newest_open(self) -> int:
        """The id of the newest open event of an entity; 0 when nothing is open."""
        statement = select(func.max(events.c.id)).where(*_open(self.pair), events.c.entity == self.entity)
        with self.store.reading() as tx:
            return tx.scalar(statement) or 0

    def _of_entity(self) -> Select[Any]:
        columns = (events.c[name] for name in Event.__slots__)
        return select(*columns).where(*_open(self.pair), events.c.entity == self.entity)


def mark_attempt(store: Store, ids: Iterable[int], at: datetime) -> None:
    """Note that a run takes these up. Call it before their records are read: until then a repeat says nothing new."""
    _change(store, ids, attempts=events.c.attempts + 1, tried_at=at)


def mark_compared(store: Store, ids: Iterable[int], at: datetime) -> None:
    """Note that what these report of the target is stored: the run that delivers the records answers them."""
    _change(store, ids, compared_at=at)


def mark_failed(store: Store, ids: Iterable[int], reason: str) -> None:
    """Note why the attempt failed; the events stay open."""
    _change(store, ids, reason=plain(reason))


def close(store: Store, ids: Iterable[int], run_id: str | None, at: datetime) -> int:
    """Note that ``run_id`` processed these; how many of them were open."""
    return _change(store, ids, run_id=run_id, closed_at=at, reason=None)


def open_counts(store: Store, pair: str) -> dict[str, int]:
    """How many events are open, by entity: from the index alone, however much has been closed."""
    statement = select(events.c.entity, func.count()).where(*_open(pair)).group_by(events.c.entity)
    with store.reading() as tx:
        return {row[0]: row[1] for row in tx.execute(statement)}


def last_received(store: Store, pair: str, hook: str) -> datetime | None:
    """When a webhook last brought an event that is still kept."""
    newest = select(events.c.received_at).where(events.c.connection == pair, events.c.hook == hook)
    with store.reading() as tx:
        return tx.scalar(newest.order_by(events.c.id.desc()).limit(1))


def kept_bytes(store: Store, pair: str) -> dict[str, int]:
    """How much there is in the inbox by webhook, closed events included."""
    size = func.sum(_size(store))
    of_hooks = (events.c.connection == pair, events.c.hook.is_not(None))
    with store.reading() as tx:
        found = tx.execute(select(events.c.hook, size).where(*of_hooks).group_by(events.c.hook))
        return {row[0]: int(row[1]) for row in found}


def drop_closed(store: Store, pair: str, hook: str, enough: int) -> int:
    """Delete closed events of a webhook, the oldest first, until ``enough`` bytes are free; how many became free."""
    closed = (events.c.connection == pair, events.c.hook == hook, events.c.closed_at.is_not(None))
    columns = (events.c.id, _size(store).label("size"))
    freed = 0
    while freed < enough:
        with store.writing() as tx:
            oldest = tx.execute(select(*columns).where(*closed).order_by(events.c.id).limit(DROPPED_AT_ONCE)).all()
            if not oldest:
                break
            tx.execute(delete(events).where(events.c.id.in_([row.id for row in oldest])))
        freed += sum(row.size for row in oldest)
    return freed


def _news(
    store: Store, tx: Connection, pair: str, system: str, batch: Sequence[Received], repeat_after: timedelta
) -> dict[int, dict[str, Any]]:
    """The rows to insert, by place in the batch: without the repeats."""
    stored_at = store.now(tx)
    known = _known(tx, pair, system, {one.source_id for one in batch if one.source_id is not None})
    rows: dict[int, dict[str, Any]] = {}
    for number, one in enumerate(batch):
        subject = one.source_id or one.content
        last = known.get(subject)
        if last is not None and last.is_repeated_by(one, repeat_after):
            continue
        delivery_id = _delivery_id(one, last)
        untouched = last.untouched if last is not None else set()
        known[subject] = _Known(delivery_id, one.at, untouched | {one.content})
        rows[number] = _row(pair, system, one, delivery_id, stored_at)
    return rows


def _storable(one: Received) -> Received:
    """The event, without an id that no database holds: it still reports that something of its entity changed."""
    source_id = one.source_id if one.source_id is None or plain(one.source_id) == one.source_id else None
    return one._replace(source_id=source_id, payload=plain(one.payload))


def _known(tx: Connection, pair: str, system: str, source_ids: set[str]) -> dict[str, _Known]:
    found: dict[str, _Known] = {}
    of_sender = (events.c.connection == pair, events.c.system == system)
    is_untouched = and_(events.c.closed_at.is_(None), events.c.attempts == 0)
    for some in chunks(sorted(source_ids)):
        of_records = (*of_sender, events.c.source_id.in_(some))
        last = select(func.max(events.c.id)).where(*of_records).group_by(events.c.source_id)
        statement = (
            select(events.c.source_id, events.c.delivery_id, events.c.received_at, is_untouched.label("untouched"))
            .where(*of_records, or_(is_untouched, events.c.id.in_(last)))
            .order_by(events.c.id)
        )
        for row in tx.execute(statement):
            record = found.setdefault(row.source_id, _Known(row.delivery_id, row.received_at, set()))
            record.newest, record.at = row.delivery_id, row.received_at
            if row.untouched:
                record.untouched.add(_content(row.delivery_id))
    return found


def _content(delivery_id: str) -> str:
    return delivery_id.partition(".")[0]


def _delivery_id(one: Received, last: _Known | None) -> str:
    """A hash of an event's content and of the event before it: two receivers give the same event the same id."""
    if one.source_id is None:  # about no record, so it follows none: the same words count once an hour
        return f"{one.content}.{one.at:%Y%m%d%H}"
    if last is None:
        return one.content
    return f"{one.content}.{hashlib.blake2b(last.newest.encode(), digest_size=8).hexdigest()}"


def _row(pair: str, system: str, one: Received, delivery_id: str, stored_at: datetime) -> dict[str, Any]:
    ours = one.entity is not None
    return {
        "connection": pair,
        "system": system,
        "delivery_id": delivery_id,
        "kind": one.kind,
        "hook": one.hook,
        "entity": one.entity,
        "source_id": one.source_id,
        "payload": one.payload,
        "received_at": one.at,
        "stored_at": stored_at,
        "attempts": 0,
        "closed_at": None if ours else one.at,
        "reason": None if ours else NOT_OURS,
    }


def _size(store: Store) -> ColumnElement[int]:
    payload = events.c.payload  # `octet_length` is new in SQLite, and a cast means something else on PostgreSQL
    is_sqlite = store.dialect == "sqlite"
    return (func.length(cast(payload, LargeBinary)) if is_sqlite else func.octet_length(payload)) + ROW_BYTES


def _open(pair: str) -> tuple[ColumnElement[bool], ...]:
    return (events.c.connection == pair, events.c.closed_at.is_(None))


def _change(store: Store, ids: Iterable[int], **values: Any) -> int:
    changed = 0
    with store.writing() as tx:
        for some in chunks(ids):
            still_open = update(events).where(events.c.id.in_(some), events.c.closed_at.is_(None))
            changed += tx.execute(still_open.values(**values)).rowcount
    return changed


def seen_deliveries(store: Store, pair: str, ids: Iterable[str], now: datetime) -> set[str]:
    """Those that were noted."""
    named = {_delivery_key(pair, one): one for one in ids}
    found: set[str] = set()
    for some in chunks(list(named)):
        statement = select(one_time_tokens.c.id).where(one_time_tokens.c.id.in_(some), one_time_tokens.c.until > now)
        with store.reading() as tx:
            found |= {named[key] for key in tx.scalars(statement)}
    return found


def note_deliveries(store: Store, pair: str, ids: Iterable[str], now: datetime) -> None:
    """Note deliveries that are kept; those noted long ago are deleted."""
    rows = [{"id": _delivery_key(pair, one), "purpose": DELIVERY, "until": now + DELIVERIES_KEPT} for one in ids]
    if rows:
        with store.writing() as tx:
            tx.execute(delete(one_time_tokens).where(one_time_tokens.c.until <= now))
            tx.execute(insert_into(store, one_time_tokens).on_conflict_do_nothing(), rows)


def _delivery_key(pair: str, delivery: str) -> str:
    return hashlib.sha256(f"{DELIVERY}\n{pair}\n{delivery}".encode()).hexdigest()
