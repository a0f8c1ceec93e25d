"""The rejects of one read in a temporary table: there may be as many as there are records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from sqlalchemy import Column, MetaData, Select, String, Table, Text, cast, func, select

from sync_pipeline.store.bulk import insert_fast
from sync_pipeline.store.engine import HeldConnection, plain
from sync_pipeline.store.references import WAITS
from sync_pipeline.store.rejects import Reject
from sync_pipeline.store.schema import KEY, SERIAL

PAGE = 1000
COUNTED = "counted"
"""The status of a rejected record of which another row gives the reason."""

_reasons = Table(
    "staged_rejects",
    MetaData(),
    Column("nr", SERIAL, primary_key=True, doc="order of arrival"),
    Column("status", KEY, nullable=False, doc="of the record"),
    Column("source_id", KEY),
    Column("field", KEY),
    Column("rule", KEY, nullable=False),
    Column("reason", Text, nullable=False),
    Column("value", Text, nullable=False, doc="as JSON"),
    Column("partition", KEY),
    prefixes=["TEMPORARY"],
)
_COLUMNS = ("source_id", "field", "rule", "reason", "value", "partition")
_REASONS = (
    select(_reasons.c.nr, *(_reasons.c[name] for name in _COLUMNS))
    .where(_reasons.c.status != COUNTED)
    .order_by(_reasons.c.nr)
)
_WAITS = (_reasons.c.status == "waiting", _reasons.c.rule.in_(WAITS))


class StagedRejects:
    """Why records are rejected, or wait, in the order in which that was found."""

    def __init__(self, held: HeldConnection) -> None:
        self._held, self._is_empty = held, True

    def add(self, found: Sequence[tuple[str, Reject]]) -> None:
        """Take in reasons, each with the status of its record."""
        if not found:
            return
        with self._held.reading() as tx:
            if self._is_empty:
                _reasons.create(tx, checkfirst=False)
                self._is_empty = False
            insert_fast(tx, _reasons.name, ("status", *_COLUMNS), [_row(status, each) for status, each in found])

    def failing(self) -> dict[str, int]:
        """How many records are rejected under each rule; those without an id count one by one."""
        record = func.coalesce(_reasons.c.source_id, cast(_reasons.c.nr, String))
        counts = select(_reasons.c.rule, func.count(record.distinct()))
        rejected = counts.where(_reasons.c.status.in_(["rejected", COUNTED])).group_by(_reasons.c.rule)
        return {row[0]: row[1] for row in self._select(rejected)}

    def first(self, rule: str, limit: int) -> list[Reject]:
        """The first reasons under this rule."""
        return [_reject(row) for row in self._select(_REASONS.where(_reasons.c.rule == rule).limit(limit))]

    def count_waiting(self) -> int:
        """How many records wait for one that cannot be delivered."""
        return sum(row[0] for row in self._select(select(func.count(_reasons.c.source_id.distinct())).where(*_WAITS)))

    def first_waiting(self, limit: int) -> list[Reject]:
        """Why the first of them wait."""
        return [_reject(row) for row in self._select(_REASONS.where(*_WAITS).limit(limit))]

    def __iter__(self) -> Iterator[Reject]:
        """Every reason, read a page at a time."""
        after = 0
        while page := self._select(_REASONS.where(_reasons.c.nr > after).limit(PAGE)):
            yield from map(_reject, page)
            after = page[-1].nr

    def _select(self, statement: Select[Any]) -> Sequence[Any]:
        if self._is_empty:
            return []
        with self._held.reading() as tx:
            return tx.execute(statement).all()


def _row(status: str, reject: Reject) -> tuple[str | None, ...]:
    value = orjson.dumps(reject.value).decode()
    return status, reject.source_id, reject.field, reject.rule, plain(reject.reason), value, reject.partition


def _reject(row: Any) -> Reject:
    return Reject(row.source_id, row.field, row.rule, row.reason, orjson.loads(row.value), row.partition)
