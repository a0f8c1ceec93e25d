"""Digests of what was delivered: how far each subscription has read, and what its destinations are still to be sent.

A digest is written in the transaction that moves its subscription on, and deleted after it was sent: who is killed in between sends
it once more, with the same number, and loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, FromClause, and_, delete, func, insert, or_, select, text, update

from sync_pipeline.store.alert_notices import FAILING_AFTER, FIRST_PAUSE, LONGEST_PAUSE, FailingDestination
from sync_pipeline.store.engine import Store, insert_into
from sync_pipeline.store.locks import take_turn
from sync_pipeline.store.schema import deliveries, digests, entry_facts, project_facts, records, subscriptions

MOST_WAITING = 10
"""Digests of one subscription that wait for a destination: until one of them is sent, changes gather for the next."""


class DeliveredRecord(NamedTuple):
    """A record that was written to its target."""

    entity: str
    kind: str
    source_id: str
    label: str | None
    project: str | None
    client: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestScope:
    """Which deliveries a subscription is about."""

    kinds: Collection[tuple[str, str]]
    """Entity and kind of delivery."""
    projects: Collection[str] = ()
    """Ids; none = all."""
    clients: Collection[str] = ()
    """Ids and names; none = all."""


class DigestContent(NamedTuple):
    """What was delivered since the last digest."""

    counts: dict[tuple[str, str], int]
    first: list[DeliveredRecord]


@dataclass(frozen=True, slots=True)
class Digest:
    """One message that waits for its destination."""

    id: int
    subscription: str
    destination: str
    title: str
    body: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathering:
    """How a digest of one subscription is made."""

    name: str
    destinations: Sequence[str]
    wanted: DigestScope
    since: datetime | None
    """A digest is due when it was last looked before then; None: when the oldest change is from before ``window``."""
    window: datetime
    shown: int
    message: Callable[[DigestContent], tuple[str, str]]
    """Title and text."""


def gather(store: Store, pair: str, asked: Gathering, now: datetime) -> int:
    """Write a digest for each destination where one is due, and move the subscription on; returns how many changes it is about."""
    last = _read_state(store, pair, asked.name)
    if last is not None and (asked.since is not None and last.looked_at >= asked.since):
        return 0
    newest = _newest(store, after=last.delivery if last is not None else -1)
    if newest is None:
        return 0
    with store.writing(durable=True) as tx:
        take_turn(store, tx, f"subscription\n{pair}\n{asked.name}")
        last = _state(tx, pair, asked.name)
        if last is None:
            _move_on(store, tx, pair, asked.name, newest, now)  # what was delivered before is no news
            return 0
        if last.delivery >= newest or _is_full(tx, pair, asked):
            return 0  # another process was faster; or no one takes what there is
        found = _changes(tx, pair, asked.wanted, asked.shown, (last.delivery, newest))
        count = sum(found.counts.values())
        if count and asked.since is None and found.first[0].at > asked.window:
            return 0
        if count:
            title, body = asked.message(found)
            row = {"connection": pair, "subscription": asked.name, "title": title, "body": body}
            rows = [{**row, "destination": name, "at": now, "next_at": now} for name in asked.destinations]
            tx.execute(insert(digests), rows)
        _move_on(store, tx, pair, asked.name, newest, now)
    return count


def begin(store: Store, pair: str, name: str, now: datetime) -> None:
    """Start a subscription with what is delivered from now on, unless it has started already."""
    newest = _newest(store, after=-1) or 0
    with store.writing(durable=True) as tx:
        take_turn(store, tx, f"subscription\n{pair}\n{name}")
        if _state(tx, pair, name) is None:
            _move_on(store, tx, pair, name, newest, now)


def delivered_since(store: Store, pair: str, wanted: DigestScope, since: datetime, shown: int) -> DigestContent:
    """What a digest would contain if its subscription had started then."""
    first = select(func.min(deliveries.c.id)).where(deliveries.c.at >= since)
    with store.reading() as tx:
        after = tx.scalar(first)
        newest = tx.scalar(select(func.max(deliveries.c.id)))
        return DigestContent({}, []) if after is None else _changes(tx, pair, wanted, shown, (after - 1, newest or 0))


def waiting_digests(store: Store, pair: str, now: datetime) -> list[Digest]:
    """What is to be sent now, oldest first."""
    columns = [digests.c[name] for name in Digest.__slots__]
    due = select(*columns).where(digests.c.connection == pair, digests.c.next_at <= now).order_by(digests.c.id)
    with store.reading() as tx:
        return [Digest(*row) for row in tx.execute(due)]


def note_digest_sent(store: Store, digest: Digest) -> None:
    """Delete it."""
    with store.writing(durable=True) as tx:
        tx.execute(delete(digests).where(digests.c.id == digest.id))


def note_digest_not_sent(store: Store, digest: Digest, problem: str, now: datetime) -> None:
    """Note why it, and so the others for its destination, could not be sent; it is tried again, later each time."""
    pause = min(FIRST_PAUSE * 2 ** min(digest.attempts, 10), LONGEST_PAUSE)
    same = update(digests).where(digests.c.destination == digest.destination, digests.c.next_at <= now)
    with store.writing(durable=True) as tx:
        tx.execute(same.values(next_at=now + pause))
        values = {"problem": problem, "attempts": digest.attempts + 1, "next_at": now + pause}
        tx.execute(update(digests).where(digests.c.id == digest.id).values(values))


def failing_digests(store: Store, pair: str) -> dict[str, FailingDestination]:
    """The destinations that digests do not reach."""
    columns = (func.min(digests.c.at), func.count(), func.max(digests.c.problem), func.max(digests.c.attempts))
    mine = select(digests.c.destination, *columns).where(digests.c.connection == pair).group_by(digests.c.destination)
    with store.reading() as tx:
        return {
            destination: FailingDestination(*failure)
            for destination, *failure, attempts in tx.execute(mine)
            if attempts >= FAILING_AFTER
        }


def drop_digests(store: Store, destination: str) -> None:
    """Delete what was to be sent to a destination that was removed."""
    with store.writing() as tx:
        tx.execute(delete(digests).where(digests.c.destination == destination))


def looked_at(store: Store, pair: str) -> dict[str, datetime]:
    """When each subscription last looked."""
    with store.reading() as tx:
        rows = tx.execute(
            select(subscriptions.c.name, subscriptions.c.looked_at).where(subscriptions.c.connection == pair)
        )
        return {row[0]: row[1] for row in rows}


def forget_subscriptions(store: Store, pair: str, but: Iterable[str]) -> None:
    """Delete the positions of removed subscriptions, so that one that is added again starts over."""
    removed = [name for name in looked_at(store, pair) if name not in set(but)]
    if removed:
        mine = (subscriptions.c.connection == pair, subscriptions.c.name.in_(removed))
        with store.writing() as tx:
            tx.execute(delete(subscriptions).where(*mine))


class _State(NamedTuple):
    delivery: int
    looked_at: datetime


def _read_state(store: Store, pair: str, name: str) -> _State | None:
    with store.reading() as tx:
        return _state(tx, pair, name)


def _state(tx: Connection, pair: str, name: str) -> _State | None:
    mine = (subscriptions.c.connection == pair, subscriptions.c.name == name)
    row = tx.execute(select(subscriptions.c.delivery, subscriptions.c.looked_at).where(*mine)).first()
    return None if row is None else _State(*row)


def _newest(store: Store, after: int) -> int | None:
    """The newest delivery once all older ones are committed; None if there is none later than ``after``."""
    newest = select(func.coalesce(func.max(deliveries.c.id), 0))
    with store.reading() as tx:
        found = int(tx.scalar(newest) or 0)
    if found <= after:
        return None
    if store.dialect == "postgresql":
        with store.writing() as tx:
            tx.execute(text("LOCK TABLE deliveries IN SHARE MODE"))  # waits for those that write now
            return int(tx.scalar(newest) or 0)
    return found


def _move_on(store: Store, tx: Connection, pair: str, name: str, newest: int, now: datetime) -> None:
    values = {"delivery": newest, "looked_at": now}
    row = insert_into(store, subscriptions).values(connection=pair, name=name, **values)
    tx.execute(row.on_conflict_do_update(index_elements=["connection", "name"], set_=values))


def _is_full(tx: Connection, pair: str, asked: Gathering) -> bool:
    mine = (digests.c.connection == pair, digests.c.subscription == asked.name)
    counts = select(func.count()).where(*mine, digests.c.destination.in_(asked.destinations))
    return any(count >= MOST_WAITING for count in tx.scalars(counts.group_by(digests.c.destination)))


def _changes(tx: Connection, pair: str, wanted: DigestScope, shown: int, between: tuple[int, int]) -> DigestContent:
    source = _source()
    conditions: list[ColumnElement[bool]] = [
        deliveries.c.id > between[0],
        deliveries.c.id <= between[1],
        deliveries.c.connection == pair,
        deliveries.c.outcome == "delivered",
        or_(*(and_(deliveries.c.entity == entity, deliveries.c.kind == kind) for entity, kind in wanted.kinds)),
    ]
    if wanted.projects:
        conditions.append(project_facts.c.source_id.in_(wanted.projects))
    if wanted.clients:
        is_named = and_(project_facts.c.source_id.is_(None), records.c.label.in_(wanted.clients))
        conditions.append(or_(project_facts.c.client_id.in_(wanted.clients), is_named))
    by = (deliveries.c.entity, deliveries.c.kind)
    count = select(*by, func.count()).select_from(source).where(*conditions).group_by(*by)
    counts = {(entity, kind): number for entity, kind, number in tx.execute(count)}
    names = (records.c.label, project_facts.c.name, project_facts.c.client_name)
    rows = select(*by, deliveries.c.source_id, *names, deliveries.c.at).select_from(source).where(*conditions)
    first = [DeliveredRecord(*row) for row in tx.execute(rows.order_by(deliveries.c.id).limit(shown))] if counts else []
    return DigestContent(counts, first)


def _source() -> FromClause:
    """Each delivery beside its record, and beside the project that it is, or that it is of."""
    same = [records.c[name] == deliveries.c[name] for name in ("connection", "entity", "source_id")]
    entry = [entry_facts.c[name] == deliveries.c[name] for name in ("connection", "entity", "source_id")]
    project = func.coalesce(entry_facts.c.project_id, deliveries.c.source_id)
    of = (project_facts.c.connection == deliveries.c.connection, project_facts.c.source_id == project)
    joined = deliveries.outerjoin(records, and_(*same)).outerjoin(entry_facts, and_(*entry))
    return joined.outerjoin(project_facts, and_(*of))
