"""Set both sides beside each other: what the source wants and what was read at the target, as two temporary tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    Column,
    ColumnElement,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    func,
    literal,
    or_,
    select,
    text,
)

from sync_pipeline.store.bulk import insert_fast
from sync_pipeline.store.engine import Held, Store
from sync_pipeline.store.schema import KEY, records

Side = Literal["missing", "extra", "different"]

_META = MetaData()
wanted = Table(
    "wanted",
    _META,
    Column("source_id", KEY, nullable=False),
    Column("target_id", KEY, doc="the stored link; null when the record was never linked"),
    Column("fields", Text, nullable=False),
    Column("fields_hash", KEY, nullable=False),
    Column("status", KEY, nullable=False),
    prefixes=["TEMPORARY"],
)
observed = Table(
    "observed",
    _META,
    Column("target_id", KEY, nullable=False),
    Column("fields", Text, nullable=False),
    Column("fields_hash", KEY, nullable=False),
    prefixes=["TEMPORARY"],
)

WantedRow = tuple[str, str | None, str, str, str]
"""source_id, target_id, fields as JSON, hash, status."""

ObservedRow = tuple[str, str, str]
"""target_id, fields as JSON, hash."""


@dataclass(frozen=True, slots=True)
class Found:
    """One record that is not the same on both sides; the side that lacks it has no fields."""

    kind: Side
    source_id: str
    target_id: str | None
    wanted: str | None
    observed: str | None


@contextmanager
def compare(store: Store, connection: str, entity: str) -> Iterator[Comparison]:
    """An empty comparison of one entity."""
    with store.holding() as held:
        with held.reading() as own:
            _META.create_all(own, checkfirst=False)
        yield Comparison(held, connection, entity)


class Comparison:
    """Both sides of one entity; add everything first, then ask."""

    def __init__(self, held: Held, connection: str, entity: str) -> None:
        self._held, self._connection, self._entity = held, connection, entity
        self._indexed = False

    def want(self, rows: Sequence[WantedRow]) -> None:
        """What the source says, whatever its status."""
        self._add(wanted, rows)

    def observe(self, rows: Sequence[ObservedRow]) -> None:
        """What stands at the target."""
        self._add(observed, rows)

    def count_wanted(self) -> int:
        """How many records should be at the target."""
        return self._count(select(func.count()).select_from(wanted).where(_deliverable()))

    def count_observed(self) -> int:
        """How many records at the target are ours."""
        return self._count(
            select(func.count()).select_from(observed).where(or_(_is_wanted().exists(), self._is_known().exists()))
        )

    def count_foreign(self) -> int:
        """How many records at the target were never delivered by us."""
        return self._count(
            select(func.count()).select_from(observed).where(~_is_wanted().exists(), ~self._is_known().exists())
        )

    def differences(self) -> Iterator[Found]:
        """Every record that differs, straight from the two tables: nothing is re-read here."""
        both = and_(wanted.c.target_id == observed.c.target_id, _deliverable())
        missing = select(
            literal("missing"), wanted.c.source_id, wanted.c.target_id, wanted.c.fields, literal(None)
        ).where(
            _deliverable(), ~select(observed.c.target_id).where(observed.c.target_id == wanted.c.target_id).exists()
        )
        different = (
            select(literal("different"), wanted.c.source_id, wanted.c.target_id, wanted.c.fields, observed.c.fields)
            .select_from(wanted.join(observed, both))
            .where(wanted.c.fields_hash != observed.c.fields_hash)
        )
        extra = (
            select(literal("extra"), records.c.source_id, records.c.target_id, literal(None), observed.c.fields)
            .select_from(observed.join(records, and_(*self._ours(), records.c.target_id == observed.c.target_id)))
            .where(~_is_wanted().exists())
        )
        for statement in (missing, different, extra):
            yield from (Found(*row) for row in self._rows(statement))

    def beliefs(self) -> Iterator[tuple[str, str | None]]:
        """(source_id, hash found at the target or None) of every record of both sides that has a row in ``records``.

        Of a record that is set aside or excluded, only what was found is believed: its last good state may stand
        outside of the days that were read.
        """
        link = and_(*self._ours(), records.c.target_id == observed.c.target_id)
        there = select(records.c.source_id, observed.c.fields_hash).select_from(observed.join(records, link))
        yield from ((row[0], row[1]) for row in self._rows(there))
        gone = select(wanted.c.source_id, literal(None)).where(
            _deliverable(), ~select(observed.c.target_id).where(observed.c.target_id == wanted.c.target_id).exists()
        )
        yield from ((row[0], row[1]) for row in self._rows(gone))

    def _ours(self) -> list[ColumnElement[bool]]:
        return [records.c.connection == self._connection, records.c.entity == self._entity]

    def _is_known(self) -> Select[Any]:
        return select(records.c.source_id).where(*self._ours(), records.c.target_id == observed.c.target_id)

    def _add(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        with self._held.reading() as own:
            insert_fast(own, table.name, [column.name for column in table.columns], rows)

    def _count(self, statement: Select[Any]) -> int:
        self._index()
        with self._held.reading() as own:
            return int(own.execute(statement).scalar_one())

    def _rows(self, statement: Select[Any]) -> list[Any]:
        self._index()
        with self._held.reading() as own:
            return list(own.execute(statement))

    def _index(self) -> None:
        if self._indexed:
            return
        self._indexed = True
        with self._held.reading() as own:
            own.execute(text("CREATE INDEX ix_wanted ON wanted (target_id)"))
            own.execute(text("CREATE INDEX ix_observed ON observed (target_id)"))
            if own.dialect.name == "postgresql":
                own.execute(text("ANALYZE wanted"))
                own.execute(text("ANALYZE observed"))


def _deliverable() -> ColumnElement[bool]:
    return wanted.c.status.in_(["accepted", "waiting"])


def _is_wanted() -> Select[Any]:
    return select(wanted.c.source_id).where(wanted.c.target_id == observed.c.target_id)
