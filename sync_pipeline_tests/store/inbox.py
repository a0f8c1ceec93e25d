"""What an inbox holds: figures that tests compare."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, select

from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import events


@dataclass(frozen=True, slots=True)
class InboxCounts:
    """The figures of one entity's inbox."""

    open: int
    failed: int
    """Open ones that a run has tried already."""
    closed: int
    oldest: datetime | None
    """When the oldest open one came in."""


def counts(store: Store, pair: str) -> dict[str | None, InboxCounts]:
    """The inbox by entity; None is what is about nothing we sync."""
    is_open = events.c.closed_at.is_(None)
    statement = (
        select(
            events.c.entity,
            func.count(case((is_open, 1))),
            func.count(case((is_open & (events.c.attempts > 0), 1))),
            func.count(events.c.closed_at),
            func.min(case((is_open, events.c.received_at))),
        )
        .where(events.c.connection == pair)
        .group_by(events.c.entity)
    )
    with store.reading() as tx:
        return {row[0]: InboxCounts(*row[1:]) for row in tx.execute(statement)}
