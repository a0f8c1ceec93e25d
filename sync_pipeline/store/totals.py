"""What was written and asked for since this process began to count: sums that never fall when old rows are pruned."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, func, select

from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import deliveries, syncs

KILLED_AFTER = timedelta(days=1)
"""A sync that has not ended for so long is not waited for."""


@dataclass(slots=True)
class Totals:
    """The sums of one pair."""

    deliveries: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By entity and outcome."""
    requests: int = 0
    """Of the syncs that have ended."""
    _delivery: int | None = None
    """The newest delivery that is counted."""
    _sync: int = 0
    """Each sync up to this one is counted."""
    _counted: set[int] = field(default_factory=set)
    """Later ones that are."""

    def add_new(self, store: Store, pair: str, now: datetime) -> None:
        """Add what has come since the last time; at the first time only note where counting begins."""
        with store.reading() as tx:
            if self._delivery is None:
                self._delivery, self._sync = _newest(tx, deliveries.c.id), _newest(tx, syncs.c.id)
                return
            self._add_deliveries(tx, pair, self._delivery)
            self._add_requests(tx, pair, now)

    def _add_deliveries(self, tx: Connection, pair: str, after: int) -> None:
        by = (deliveries.c.entity, deliveries.c.outcome)
        new = select(*by, func.count(), func.max(deliveries.c.id)).where(
            deliveries.c.id > after, deliveries.c.connection == pair, deliveries.c.outcome.isnot(None)
        )
        for entity, outcome, count, newest in tx.execute(new.group_by(*by)):
            self.deliveries[entity, outcome] += count
            self._delivery = max(self._delivery or 0, newest)

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


def _newest(tx: Connection, number: Column[Any]) -> int:
    return int(tx.scalar(select(func.max(number))) or 0)
