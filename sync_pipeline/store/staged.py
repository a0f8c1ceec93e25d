"""The rows of one read in a temporary table, beside what is stored of their records.

The table is on a connection of its own. Between two calls that connection holds no lock and no snapshot, so requests to a
vendor may take as long as they like.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Join,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    delete,
    false,
    func,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from sync_pipeline.store.bulk import execute_together, insert_fast
from sync_pipeline.store.engine import HeldConnection
from sync_pipeline.store.loads import Loads
from sync_pipeline.store.records import unsettled
from sync_pipeline.store.rejects import Rejects
from sync_pipeline.store.schema import KEY, SERIAL, UNKNOWN, records
from sync_pipeline.store.scope import Scope, within
from sync_pipeline.store.staged_missing import StagedMissing
from sync_pipeline.store.staged_rejects import StagedRejects

Status = Literal["accepted", "rejected", "excluded", "waiting", "held", "kept", "former"]
"""``held``: a guard holds the row; ``former``: it keeps the form that an earlier mapping gave it; ``kept``: this batch does not decide about the record, what is stored of it is kept."""


class StagedRow(NamedTuple):
    """One processed row, whatever its status."""

    source_id: str
    partition: str | None
    fields: str
    """As JSON."""
    fields_hash: str
    status: str
    """One of ``Status``."""
    rule: str | None = None
    waiting_for: str | None = None
    """A JSON list of [entity, id]."""
    source_hash: str | None = None
    """Of the record at the source; None where it has to be processed again whenever it is read."""
    label: str | None = None
    facts: str | None = None
    """A JSON list, in the order of ``StagedRows.facts``."""


staged = Table(
    "staged",
    MetaData(),
    Column("nr", SERIAL, primary_key=True, doc="order of arrival"),
    Column("source_id", KEY, nullable=False),
    Column("partition", KEY),
    Column("fields", Text, doc="null = those that are stored"),
    Column("fields_hash", KEY, nullable=False),
    Column("status", KEY, nullable=False),
    Column("rule", KEY),
    Column("waiting_for", Text),
    Column("source_hash", KEY),
    Column("label", KEY),
    Column("facts", Text),
    Column("read_no", BigInteger, doc="of a read of its own; null = of the batch"),
    Column("by_id", Boolean, doc="whether that read was by id"),
    Column("is_sent", Boolean, doc="whether this run has claimed the record to send it"),
    prefixes=["TEMPORARY"],
)


_STAGE = """
    INSERT INTO staged (source_id, partition, fields_hash, status, source_hash)
    WITH seen (source_id, hash) AS ({rows})
    SELECT seen.source_id, records.partition, COALESCE(records.fields_hash, ''), 'accepted', seen.hash
    FROM seen LEFT JOIN records ON connection = ? AND entity = ? AND records.source_id = seen.source_id
"""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of ids."""

    after: str
    last: str | None = None

    def of(self, table: Table) -> ColumnElement[bool]:
        """The rows of ``table`` in this stretch."""
        until = true() if self.last is None else table.c.source_id <= self.last
        return and_(table.c.source_id > self.after, until)


class LookupJoin(Join):
    """An inner join with a fixed order on SQLite.

    SQLite keeps no statistics here and would rather walk all records of an entity than the few that are
    staged. There, CROSS JOIN means "do not reorder"; PostgreSQL knows better and gets a plain join. SQLite does not choose a partial
    ``index`` by itself; each has a condition of its own, since SQLAlchemy's cache of statements does not see the name.
    """

    inherit_cache = True

    def __init__(self, left: FromClause, right: FromClause, onclause: ColumnElement[bool], index: str = "") -> None:
        super().__init__(left, right, onclause)
        self.condition, self.index = onclause, index


@compiles(LookupJoin, "sqlite")
def _fixed_order(join: LookupJoin, compiler: SQLCompiler, **options: Any) -> str:
    options["asfrom"] = True
    left, right = (compiler.process(side, **options) for side in (join.left, join.right))
    options["asfrom"] = False
    condition = compiler.process(join.condition, **options)
    return f"{left} CROSS JOIN {right}{f' INDEXED BY {join.index}' if join.index else ''} ON {condition}"


class FactsIn(NamedTuple):
    """A table of facts, and those of its columns that are filled."""

    table: Table
    columns: tuple[str, ...]


class StagedRows:
    """The rows of one read; of an id that came twice the last one counts."""

    def __init__(self, loads: Loads, rejects: Rejects, held: HeldConnection, scope: Scope, read_no: int) -> None:
        self._loads, self._rejects = loads, rejects
        self._held = held
        self._scope, self._read_no = scope, read_no
        self._missed: dict[str, int] = {}
        self._has_facts = False
        self._approved: dict[int, list[ColumnElement[bool]]] = {}
        self._cut = False
        self.unfound: dict[str, str] = {}
        """Rows that ``cut`` dropped although the newer read of their day has stored nothing for them: id to staged day."""
        self._repeated: dict[str, bool] = {}
        self._prepared = False
        self.decided_by: str | None = None
        """What made the fields of the rows; None: when the records are read next, they are processed again."""
        self.facts: FactsIn | None = None
        """Where the facts of the rows are kept."""
        self.rejects = StagedRejects(held)
        """Why rows of it are rejected, or wait."""
        self.missing = StagedMissing(held)
        """The records that the read did not find, once ``find_missing`` has looked for them."""
        with held.reading() as tx:
            staged.create(tx, checkfirst=False)

    def close(self) -> None:
        """Forget the rows, with the connection that keeps them."""
        self._held.close()

    @property
    def scope(self) -> Scope:
        """First and last day of what the read covered."""
        return self._scope

    @property
    def read_no(self) -> int:
        """The number of the read."""
        return self._read_no

    @property
    def missed(self) -> Mapping[str, int]:
        """The records that ``miss`` was called for, with the numbers of the reads."""
        return self._missed

    def add(self, rows: Sequence[StagedRow]) -> None:
        """Take in one part of the batch, every extracted row whatever its status."""
        self._will_hold(rows)
        with self._held.reading() as tx:
            insert_fast(tx, "staged", StagedRow._fields, rows)

    def add_read(self, rows: Sequence[StagedRow], numbers: Mapping[str, int], *, by_id: bool) -> None:
        """Add records that were read separately, each with the number of its read; they replace the rows of the batch."""
        self._will_hold(rows)
        with self._held.reading() as tx:
            insert_fast(
                tx,
                "staged",
                (*StagedRow._fields, "read_no", "by_id"),
                [(*row, numbers[row.source_id], by_id) for row in rows],
            )

    def add_unchanged(self, rows: Sequence[tuple[str, str]]) -> None:
        """Take in records that are stored in just this form, by id and hash of the record at the source."""
        self._prepared = False
        with self._held.reading() as tx:
            execute_together(tx, _STAGE, rows, (self._loads.pair, self._loads.entity))

    def _will_hold(self, rows: Sequence[StagedRow]) -> None:
        self._prepared = False
        self._has_facts = self._has_facts or any(row.facts is not None for row in rows)

    def counts(self) -> dict[str, int]:
        """Staged records by status."""
        with self._looking() as tx:
            rows = tx.execute(select(staged.c.status, func.count()).group_by(staged.c.status))
            return {row[0]: row[1] for row in rows}

    def repeated(self) -> dict[str, bool]:
        """The ids under which several rows came, and whether these were made of different records."""
        with self._looking():
            return self._repeated

    def _ours(self, scope: Scope = None) -> list[ColumnElement[bool]]:
        mine = self._loads.of(records)
        return mine if scope is None else [*mine, within(records.c.partition, scope)]

    def _is_met(self) -> ColumnElement[bool]:
        return select(staged.c.nr).where(staged.c.source_id == records.c.source_id).exists()

    def _number(self) -> ColumnElement[int]:
        """The number of a row's read."""
        return func.coalesce(staged.c.read_no, self._read_no)

    def _not_newer(self) -> ColumnElement[bool]:
        return records.c.read_no <= self._number()

    def _fields(self) -> ColumnElement[str]:
        """The fields of a row; of one that was taken in by its id, those that are stored."""
        return func.coalesce(staged.c.fields, select(records.c.fields).where(self._match()).scalar_subquery(), "")

    def _is_made_otherwise(self) -> ColumnElement[bool]:
        """Whether what is stored was made from another record at the source, or by another mapping."""
        return or_(
            records.c.source_hash.is_distinct_from(staged.c.source_hash),
            records.c.decided_by.is_distinct_from(self.decided_by),
        )

    def _contradicts(self) -> ColumnElement[bool]:
        """Whether a row would change its record."""
        excluded = and_(staged.c.status == "excluded", records.c.excluded_rule == staged.c.rule)
        return and_(
            self._not_newer(),
            staged.c.status != "former",
            or_(and_(desired(), differs()), and_(~desired(), ~func.coalesce(excluded, false()))),
        )

    def leave_former(self) -> None:
        """Leave unchanged the rows that another mapping made from the same source record and that were delivered."""
        same_source = select(records.c.source_id).where(
            self._match(),
            records.c.source_hash == staged.c.source_hash,
            records.c.decided_by.is_distinct_from(self.decided_by),
            records.c.fields_hash == records.c.delivered_hash,
            records.c.fields_hash != staged.c.fields_hash,
            ~is_elsewhere(),
        )
        with self._looking() as tx:
            tx.execute(
                update(staged).where(staged.c.status == "accepted", same_source.exists()).values(status="former")
            )

    def _loaded_later(self, partition: ColumnElement[Any]) -> ColumnElement[bool]:
        return self._loads.loaded_later(partition, self._read_no)

    def _match(self) -> ColumnElement[bool]:
        return and_(*self._ours(), records.c.source_id == staged.c.source_id)

    def _joined(self, *columns: Any, after: str = "", is_unsettled: bool = False) -> Select[Any]:
        """Staged rows with their records, by walking the index: neighbours there are neighbours in records.

        Both sides need a lower bound, or PostgreSQL's merge join starts each page at the first record. Those that ``is_unsettled`` are
        found by the index that holds only records that are not at the target as wanted: most are not in it.
        """
        span, only = Span(after), [unsettled()] if is_unsettled else []
        index = "ix_records_unsettled" if is_unsettled else ""
        both = LookupJoin(staged, records, and_(self._match(), *only, span.of(records)), index)
        return select(*columns).select_from(both).where(span.of(staged))

    def _beside_records(self, span: Span, *columns: Any) -> Select[Any]:
        return select(*columns).select_from(staged.outerjoin(records, and_(self._match(), span.of(records))))

    def _count(self, statement: Select[Any]) -> int:
        with self._looking() as tx:
            return int(tx.execute(statement).scalar_one())

    @contextmanager
    def _looking(self) -> Iterator[Connection]:
        with self._held.reading() as tx:
            if not self._prepared:
                self._prepare(tx)
            yield tx

    def _prepare(self, tx: Connection) -> None:
        """After the last ``add``: index the rows (cheaper than while they come); of an id that came twice the last one counts."""
        tx.execute(text("CREATE INDEX IF NOT EXISTS ix_staged ON staged (source_id, status, fields_hash)"))
        if self._loads.store.dialect == "postgresql":
            tx.execute(text("ANALYZE staged"))
        once = select(staged.c.source_id).group_by(staged.c.source_id)
        if tx.scalar(once.having(func.count() > 1).limit(1)) is not None:
            differ = func.count(staged.c.source_hash.distinct()) > 1
            self._repeated = {row[0]: row[1] for row in tx.execute(once.add_columns(differ).having(func.count() > 1))}
            last = select(func.max(staged.c.nr)).group_by(staged.c.source_id)
            tx.execute(delete(staged).where(staged.c.nr.not_in(last)))
        self._prepared = True


def desired() -> ColumnElement[bool]:
    """The rows that are wanted at the target."""
    return staged.c.status.in_(["accepted", "waiting"])


def rewrites(scopes: Sequence[Scope]) -> list[ColumnElement[bool]]:
    """The rows of these scopes that are at the target in another form than this batch wants, and are not stored in it.

    Those that are stored were allowed before.
    """
    return [
        desired(),
        differs(),
        records.c.delivered_hash != staged.c.fields_hash,
        records.c.delivered_hash.not_in(UNKNOWN),
        or_(false(), *(within(records.c.partition, scope) for scope in scopes)),
    ]


def differs() -> ColumnElement[bool]:
    """The rows that are not as their record is stored."""
    return or_(
        records.c.fields_hash != staged.c.fields_hash,
        and_(staged.c.fields.isnot(None), records.c.fields != staged.c.fields),
        is_elsewhere(),
    )


def is_elsewhere() -> ColumnElement[bool]:
    """The rows whose record is stored under another day, or as deleted, missing or out of scope."""
    return or_(
        records.c.partition.is_distinct_from(staged.c.partition),
        records.c.deleted_at.isnot(None),
        records.c.unconfirmed_at.isnot(None),
        records.c.excluded_rule.isnot(None),
    )
