"""Set both sides beside each other: what a batch wants and what was read at the target, as two temporary tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    case,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    text,
)

from sync_pipeline.store.bulk import insert_fast
from sync_pipeline.store.engine import HeldConnection
from sync_pipeline.store.schema import KEY, records
from sync_pipeline.store.scope import EntityRows
from sync_pipeline.store.staged import staged

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
WAITS = "waits"
"""The status of a row that waits for a record which is rejected."""
observed = Table(
    "observed",
    _META,
    Column("target_id", KEY, nullable=False),
    Column("fields", Text, nullable=False),
    Column("fields_hash", KEY, nullable=False),
    Column("key", Text, doc="what it is recognized by, where several records may have the same; else null"),
    Column("is_own", Integer, nullable=False, doc="1 when we have created it"),
    prefixes=["TEMPORARY"],
)


class ObservedRow(NamedTuple):
    """What is at the target."""

    target_id: str
    fields: str
    """As JSON."""
    fields_hash: str
    key: str | None = None
    is_own: int = 0


class Copy(NamedTuple):
    """A record of ours at the target that is linked to nothing, and has the key of one that is."""

    source_id: str
    linked_id: str
    target_id: str


@dataclass(frozen=True, slots=True)
class DifferingRecord:
    """One record that is not the same on both sides; the side that lacks it has no fields."""

    kind: Side
    source_id: str
    target_id: str | None
    wanted: str | None
    observed: str | None


class Comparison:
    """Both sides of one entity, on the connection that holds the staged batch; observe everything first, then ask."""

    def __init__(self, entity: EntityRows, held: HeldConnection) -> None:
        self._entity, self._held = entity, held
        self._indexed = False

    def want(self, tx: Connection, *, assigns_ids: bool) -> None:
        """Each staged record is wanted under its stored link; without one, where the target assigns no ids, under its own id."""
        schema = "temp" if tx.dialect.name == "sqlite" else "pg_temp"  # named, so that no table of the user is meant
        for table in _META.sorted_tables:  # of an earlier comparison of the same batch
            tx.execute(text(f"DROP TABLE IF EXISTS {schema}.{table.name}"))
        _META.create_all(tx, checkfirst=False)
        link = null() if assigns_ids else staged.c.source_id
        tx.execute(insert(wanted).from_select([column.name for column in wanted.c], self._staged(link)))

    def left_out(self) -> tuple[int, int, int]:
        """How many records of the batch are rejected, how many excluded, and how many wait for one that is rejected."""
        with self._held.reading() as tx:
            rows = tx.execute(select(wanted.c.status, func.count()).group_by(wanted.c.status))
            counts = {row[0]: row[1] for row in rows}
        return counts.get("rejected", 0), counts.get("excluded", 0), counts.get(WAITS, 0)

    def accepted(self) -> list[str]:
        """The records that are wanted at the target, but for those that were made before."""
        found = select(wanted.c.source_id).where(wanted.c.status == "accepted").order_by(wanted.c.source_id)
        return [row[0] for row in self._rows(found)]

    def observe(self, rows: Sequence[ObservedRow]) -> None:
        """What is at the target."""
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

    def differences(self) -> Iterator[DifferingRecord]:
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
            yield from (DifferingRecord(*row) for row in self._rows(statement))

    def copies(self, most: int) -> list[Copy]:
        """Records that we have created and that are linked to nothing, but have the key of one that is; ``most`` of them."""
        self._index()
        linked = observed.alias("linked")
        links = and_(*self._ours(), records.c.target_id == linked.c.target_id)
        known = self._is_known().correlate(observed)
        statement = (
            select(records.c.source_id, linked.c.target_id, observed.c.target_id)
            .select_from(observed.join(linked, linked.c.key == observed.c.key).join(records, links))
            .where(observed.c.is_own == 1, observed.c.target_id != linked.c.target_id, ~known.exists())
            .limit(most)
        )
        with self._held.reading() as tx:
            tx.execute(text("CREATE INDEX ix_observed_key ON observed (key)"))
            return [Copy(*row) for row in tx.execute(statement)]

    def beliefs(self) -> Iterator[tuple[str, str | None]]:
        """(source_id, hash found at the target or None) of every record whose row in ``records`` says something else.

        For a record that is rejected or excluded, only what was found counts: its last good state may be
        outside of the days that were read.
        """
        link = and_(*self._ours(), records.c.target_id == observed.c.target_id)
        there = select(records.c.source_id, observed.c.fields_hash).select_from(observed.join(records, link))
        there = there.where(records.c.delivered_hash.is_distinct_from(observed.c.fields_hash))
        yield from ((row[0], row[1]) for row in self._rows(there))
        missing = select(wanted.c.source_id, literal(None)).where(
            _deliverable(), ~select(observed.c.target_id).where(observed.c.target_id == wanted.c.target_id).exists()
        )
        yield from ((row[0], row[1]) for row in self._rows(missing))

    def _ours(self) -> list[ColumnElement[bool]]:
        return self._entity.of(records)

    def _staged(self, link: ColumnElement[Any]) -> Select[Any]:
        """The columns of ``wanted``, with the ``link`` of a record that has none; what was made once is wanted as it was made."""
        made = staged.c.status == "former"
        is_refused = and_(
            records.c.refused_hash == staged.c.fields_hash,
            records.c.delivered_hash.is_distinct_from(staged.c.fields_hash),
        )
        waits_in_vain = and_(staged.c.status == "waiting", staged.c.rule.isnot(None))
        return select(
            staged.c.source_id,
            func.coalesce(records.c.target_id, link),
            func.coalesce(case((made, records.c.fields)), staged.c.fields, records.c.fields, ""),
            func.coalesce(case((made, records.c.fields_hash)), staged.c.fields_hash),
            case((made, "former"), (is_refused, "rejected"), (waits_in_vain, WAITS), else_=staged.c.status),
        ).select_from(staged.outerjoin(records, and_(*self._ours(), records.c.source_id == staged.c.source_id)))

    def _is_known(self) -> Select[Any]:
        return select(records.c.source_id).where(*self._ours(), records.c.target_id == observed.c.target_id)

    def _add(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        with self._held.reading() as tx:
            insert_fast(tx, table.name, [column.name for column in table.columns], rows)

    def _count(self, statement: Select[Any]) -> int:
        self._index()
        with self._held.reading() as tx:
            return int(tx.execute(statement).scalar_one())

    def _rows(self, statement: Select[Any]) -> list[Any]:
        self._index()
        with self._held.reading() as tx:
            return list(tx.execute(statement))

    def _index(self) -> None:
        if self._indexed:
            return
        self._indexed = True
        with self._held.reading() as tx:
            tx.execute(text("CREATE INDEX ix_wanted ON wanted (target_id)"))
            tx.execute(text("CREATE INDEX ix_observed ON observed (target_id)"))
            if tx.dialect.name == "postgresql":
                tx.execute(text("ANALYZE wanted"))
                tx.execute(text("ANALYZE observed"))


def _deliverable() -> ColumnElement[bool]:
    return wanted.c.status.in_(["accepted", "waiting", "former"])


def _is_wanted() -> Select[Any]:
    return select(wanted.c.source_id).where(wanted.c.target_id == observed.c.target_id)
