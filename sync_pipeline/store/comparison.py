"""Compare both sides, what a batch wants and what was read at the target, in temporary tables of the database."""

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
from sync_pipeline.store.schema import KEY, SERIAL, records
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
FORGOTTEN = "forgotten"
"""The status of a row that was made, and whose record was removed since."""
observed = Table(
    "observed",
    _META,
    Column("target_id", KEY, nullable=False),
    Column("fields", Text, nullable=False),
    Column("fields_hash", KEY, nullable=False),
    Column("key", Text, doc="what it is recognized by, where several records may have the same; else null"),
    Column("is_own", Integer, nullable=False, doc="1 when we have created it"),
    Column("is_archived", Integer, nullable=False, doc="1 when it is archived there"),
    prefixes=["TEMPORARY"],
)
differing = Table(
    "differing",
    _META,
    Column("nr", SERIAL, primary_key=True),
    Column("kind", KEY, nullable=False),
    Column("source_id", KEY, nullable=False),
    Column("target_id", KEY),
    Column("wanted", Text),
    Column("observed", Text),
    prefixes=["TEMPORARY"],
)
believed = Table(
    "believed",
    _META,
    Column("nr", SERIAL, primary_key=True),
    Column("source_id", KEY, nullable=False),
    Column("observed_hash", KEY, doc="null = not there"),
    prefixes=["TEMPORARY"],
)
PAGE = 1_000
TOGETHER = 50_000
"""The most rows of one statement, since Ctrl-C has to wait for it."""


class ObservedRow(NamedTuple):
    """What is at the target."""

    target_id: str
    fields: str
    """As JSON."""
    fields_hash: str
    key: str | None = None
    is_own: int = 0
    is_archived: int = 0


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
        self.drop(tx)  # of an earlier comparison of the same batch, which was interrupted
        _META.create_all(tx, checkfirst=False)
        rows = self._staged(null() if assigns_ids else staged.c.source_id)
        newest = tx.scalar(select(func.max(staged.c.nr))) or 0
        for before in range(0, newest, TOGETHER):
            some = rows.where(staged.c.nr > before, staged.c.nr <= before + TOGETHER)
            tx.execute(insert(wanted).from_select([column.name for column in wanted.c], some))

    def drop(self, tx: Connection) -> None:
        """Drop the tables."""
        schema = "temp" if tx.dialect.name == "sqlite" else "pg_temp"  # named, so that no table of the user is meant
        for table in _META.sorted_tables:
            tx.execute(text(f"DROP TABLE IF EXISTS {schema}.{table.name}"))

    def left_out(self) -> tuple[int, int, int]:
        """How many records of the batch are rejected, how many excluded, and how many wait for one that is rejected."""
        with self._held.reading() as tx:
            rows = tx.execute(select(wanted.c.status, func.count()).group_by(wanted.c.status))
            counts = {row[0]: row[1] for row in rows}
        return counts.get("rejected", 0), counts.get("excluded", 0), counts.get(WAITS, 0)

    def accepted(self, limit: int) -> list[str]:
        """The first of the records that are wanted at the target, but for those that were made before."""
        found = select(wanted.c.source_id).where(wanted.c.status == "accepted").order_by(wanted.c.source_id)
        with self._held.reading() as tx:
            return list(tx.scalars(found.limit(limit)))

    def count_accepted(self) -> int:
        """How many records are wanted at the target, but for those that were made before."""
        return self._count(select(func.count()).select_from(wanted).where(wanted.c.status == "accepted"))

    def observe(self, rows: Sequence[ObservedRow]) -> None:
        """Add records that were read at the target."""
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

    def count_removed(self) -> int:
        """How many records that are not wanted any more are archived at the target, which is how they should be."""
        return self._count(self._extra(func.count()).where(observed.c.is_archived == 1))

    def differences(self) -> Iterator[list[DifferingRecord]]:
        """Every record that differs, a page at a time, straight from the two tables: nothing is read again here."""
        both = and_(wanted.c.target_id == observed.c.target_id, _deliverable())
        link = (wanted.c.source_id, wanted.c.target_id)
        missing = _missing(literal("missing"), *link, wanted.c.fields, null())
        different = (
            select(literal("different"), *link, wanted.c.fields, observed.c.fields)
            .select_from(wanted.join(observed, both))
            .where(wanted.c.fields_hash != observed.c.fields_hash)
        )
        extra = self._extra(
            literal("extra"), records.c.source_id, records.c.target_id, null(), observed.c.fields
        ).where(observed.c.is_archived == 0)
        for page in self._pages(differing, missing, different, extra):
            yield [DifferingRecord(*row) for row in page]

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
        outside of the days that were read. One that is archived and not wanted is not there.
        """
        is_removed = and_(observed.c.is_archived == 1, ~_is_wanted().exists())
        found = case((is_removed, null()), else_=observed.c.fields_hash)
        there = select(records.c.source_id, found).select_from(observed.join(records, self._link()))
        there = there.where(records.c.delivered_hash.is_distinct_from(found))
        for page in self._pages(believed, there, _missing(wanted.c.source_id, null())):
            yield from ((source_id, observed_hash) for source_id, observed_hash in page)

    def _ours(self) -> list[ColumnElement[bool]]:
        return self._entity.of(records)

    def _staged(self, link: ColumnElement[Any]) -> Select[Any]:
        """The columns of ``wanted``, with the ``link`` of a record that has none; what was made once is wanted as it was made."""
        made = and_(staged.c.status == "former", records.c.source_id.isnot(None))
        is_refused = and_(
            records.c.refused_hash == staged.c.fields_hash,
            records.c.delivered_hash.is_distinct_from(staged.c.fields_hash),
        )
        waits_for_rejected = and_(staged.c.status == "waiting", staged.c.rule.isnot(None))
        return select(
            staged.c.source_id,
            func.coalesce(records.c.target_id, link),
            func.coalesce(case((made, records.c.fields)), staged.c.fields, records.c.fields, ""),
            func.coalesce(case((made, records.c.fields_hash)), staged.c.fields_hash),
            case(
                (made, "former"),
                (staged.c.status == "former", FORGOTTEN),
                (is_refused, "rejected"),
                (waits_for_rejected, WAITS),
                else_=staged.c.status,
            ),
        ).select_from(staged.outerjoin(records, and_(*self._ours(), records.c.source_id == staged.c.source_id)))

    def _link(self) -> ColumnElement[bool]:
        return and_(*self._ours(), records.c.target_id == observed.c.target_id)

    def _is_known(self) -> Select[Any]:
        return select(records.c.source_id).where(self._link())

    def _extra(self, *columns: Any) -> Select[Any]:
        """Of the records that we know, and are at the target without being wanted."""
        return select(*columns).select_from(observed.join(records, self._link())).where(~_is_wanted().exists())

    def _add(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        with self._held.reading() as tx:
            insert_fast(tx, table.name, [column.name for column in table.columns], rows)

    def _count(self, statement: Select[Any]) -> int:
        self._index()
        with self._held.reading() as tx:
            return int(tx.execute(statement).scalar_one())

    def _pages(self, into: Table, *statements: Select[Any]) -> Iterator[list[Any]]:
        """What these find, kept in a table and read a page at a time: all records may be among it."""
        self._index()
        columns = [column for column in into.c if column.name != "nr"]
        with self._held.reading() as tx:
            for statement in statements:
                tx.execute(insert(into).from_select([column.name for column in columns], statement))
        last = 0
        while True:
            page = select(into.c.nr, *columns).where(into.c.nr > last).order_by(into.c.nr).limit(PAGE)
            with self._held.reading() as tx:
                found = tx.execute(page).all()
            if not found:
                return
            yield [row[1:] for row in found]
            last = found[-1].nr

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


def _missing(*columns: Any) -> Select[Any]:
    """Of the records that are wanted and not at the target."""
    there = select(observed.c.target_id).where(observed.c.target_id == wanted.c.target_id)
    return select(*columns).where(_deliverable(), ~there.exists())


def _is_wanted() -> Select[Any]:
    return select(wanted.c.source_id).where(wanted.c.target_id == observed.c.target_id)
