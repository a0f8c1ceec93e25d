"""What was written and asked for: sums that never fall, when old rows are pruned and when a process starts again.

Deliveries that are deleted are counted in the transaction that deletes them; the others are counted where they are stored.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, Connection, Text, cast, delete, func, select, update

from sync_pipeline.store.engine import Store, insert_into
from sync_pipeline.store.schema import deliveries, health, subscriptions, syncs

KILLED_AFTER = timedelta(days=1)
"""A sync that has not ended for so long is not waited for."""
SETTLED_AFTER = timedelta(minutes=10)
"""No transaction takes so long: what has a lower number than a delivery of before is stored."""
DELETED = "deleted deliveries:"
"""How a row of ``health`` begins that counts them by entity and outcome."""


def delete_deliveries(store: Store, tx: Connection, *which: ColumnElement[bool]) -> int:
    """Delete them, count them, and let no subscription wait for a number beyond those that are left: SQLite gives it out again."""
    by = (deliveries.c.connection, deliveries.c.entity, deliveries.c.outcome)
    found = select(*by, func.count()).where(*which, deliveries.c.outcome.isnot(None)).group_by(*by).order_by(*by)
    for pair, entity, outcome, count in tx.execute(found).all():
        row = {"connection": pair, "system": f"{DELETED}{entity}:{outcome}", "code": str(count)}
        more = cast(cast(health.c.code, BigInteger) + count, Text)
        statement = insert_into(store, health).values(row)
        tx.execute(statement.on_conflict_do_update(index_elements=["connection", "system"], set_={"code": more}))
    conclusions = delete(deliveries).where(*which, deliveries.c.intent_id.isnot(None))
    deleted = tx.execute(conclusions).rowcount + tx.execute(delete(deliveries).where(*which)).rowcount
    newest = _newest(tx, deliveries.c.id)
    tx.execute(update(subscriptions).where(subscriptions.c.delivery > newest).values(delivery=newest))
    return deleted


@dataclass(slots=True)
class Totals:
    """The sums of one pair."""

    deliveries: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By entity and outcome."""
    requests: int = 0
    """Of the syncs that have ended."""
    _deleted: Counter[tuple[str, str]] | None = None
    """Those that were deleted; while no more are, those up to a number need not be counted again."""
    _settled: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Those up to this number."""
    _up_to: int = 0
    _seen: deque[tuple[datetime, int]] = field(default_factory=deque)
    """The newest delivery at several times since then."""
    _sync: int = 0
    """Each sync up to this one is counted."""
    _counted: set[int] = field(default_factory=set)
    """Later ones that are."""

    def add_new(self, store: Store, pair: str, now: datetime) -> None:
        """Add what has come since the last time; requests count from the first time on."""
        with store.snapshot(), store.reading() as tx:
            if self._deleted is None:
                self._sync = _newest(tx, syncs.c.id)
                old = select(func.max(deliveries.c.id)).where(deliveries.c.at < now - SETTLED_AFTER)
                self._seen.append((now - 2 * SETTLED_AFTER, int(tx.scalar(old) or 0)))
            self._count_deliveries(tx, pair, now)
            self._add_requests(tx, pair, now)

    def _count_deliveries(self, tx: Connection, pair: str, now: datetime) -> None:
        """Those that may still be followed by one with a lower number are counted again each time."""
        deleted, newest, before = _deleted(tx, pair), _newest(tx, deliveries.c.id), self._up_to
        while self._seen and self._seen[0][0] < now - SETTLED_AFTER:
            self._up_to = max(self._up_to, self._seen.popleft()[1])
        if deleted != self._deleted:
            self._deleted, self._settled, before = deleted, Counter(), 0
            self._up_to = min(self._up_to, newest)
            self._seen = deque((at, min(number, newest)) for at, number in self._seen)
        number = deliveries.c.id
        self._settled += _stored(tx, pair, number > before, number <= self._up_to)
        self.deliveries = deleted + self._settled + _stored(tx, pair, number > self._up_to)
        self._seen.append((now, newest))

    def _add_requests(self, tx: Connection, pair: str, now: datetime) -> None:
        new = select(syncs.c.id, syncs.c.requests, syncs.c.finished_at, syncs.c.begun_at)
        rows = tx.execute(new.where(syncs.c.id > self._sync, syncs.c.connection == pair).order_by(syncs.c.id)).all()
        is_waited_for = False
        for number, requests, finished_at, begun_at in rows:
            if finished_at is not None and number not in self._counted:
                self.requests += requests or 0
                self._counted.add(number)
            is_waited_for |= finished_at is None and now - begun_at < KILLED_AFTER
            if not is_waited_for:
                self._sync = number
        self._counted = {number for number in self._counted if number > self._sync}


def _stored(tx: Connection, pair: str, *which: ColumnElement[bool]) -> Counter[tuple[str, str]]:
    by = (deliveries.c.entity, deliveries.c.outcome)
    mine = (deliveries.c.connection == pair, deliveries.c.outcome.isnot(None))
    rows = tx.execute(select(*by, func.count()).where(*mine, *which).group_by(*by))
    return Counter({(entity, outcome): count for entity, outcome, count in rows})


def _deleted(tx: Connection, pair: str) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    mine = (health.c.connection == pair, health.c.system.startswith(DELETED, autoescape=True))
    for system, count in tx.execute(select(health.c.system, health.c.code).where(*mine)):
        entity, _, outcome = system.removeprefix(DELETED).rpartition(":")
        found[entity, outcome] = int(count)
    return found


def _newest(tx: Connection, number: Column[Any]) -> int:
    return int(tx.scalar(select(func.max(number))) or 0)
