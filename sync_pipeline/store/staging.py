"""Set one batch beside what is known: duplicates, absence, what changed, what is left to deliver.

The batch goes into a temporary table on a connection of its own. Between two calls that connection holds
no lock and no snapshot, so requests to the other side may take as long as they like.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    case,
    delete,
    false,
    func,
    literal,
    null,
    or_,
    select,
    text,
    true,
    update,
)

from sync_pipeline.store.bulk import insert_fast
from sync_pipeline.store.engine import Held, Store
from sync_pipeline.store.outcomes import UNKNOWN
from sync_pipeline.store.probe import Probe
from sync_pipeline.store.records import (
    KNOWN_COLUMNS,
    Known,
    drop_outlived,
    known,
    not_newer,
    pending_delete,
    pending_upsert,
)
from sync_pipeline.store.schema import KEY, SERIAL, Instant, records, rejects
from sync_pipeline.store.scope import Scope, within
from sync_pipeline.store.upsert import insert_into

Status = Literal["accepted", "rejected", "excluded", "waiting"]

StagedRow = tuple[str, str | None, str, str, str, str | None]
"""source_id, partition, fields as JSON, hash of the fields, status, rule."""

MERGE_ROWS = 20_000
"""Rows per merge transaction: short enough that other processes' writes only pause, never time out."""

staged = Table(
    "staged",
    MetaData(),
    Column("nr", SERIAL, primary_key=True, doc="order of arrival"),
    Column("source_id", KEY, nullable=False),
    Column("partition", KEY),
    Column("fields", Text, nullable=False),
    Column("fields_hash", KEY, nullable=False),
    Column("status", KEY, nullable=False),
    Column("rule", KEY),
    prefixes=["TEMPORARY"],
)
_COLUMNS = ("source_id", "partition", "fields", "fields_hash", "status", "rule")


@dataclass(frozen=True, slots=True)
class MergeCounts:
    """What a merge found; only ``new`` and ``changed`` rows were written."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    newer: int = 0
    """Rows that differ but were observed later than this batch: left as they are."""

    @property
    def total(self) -> int:
        """Rows that were accepted or wait."""
        return self.new + self.changed + self.unchanged + self.newer

    def __add__(self, other: MergeCounts) -> MergeCounts:
        return MergeCounts(
            self.new + other.new,
            self.changed + other.changed,
            self.unchanged + other.unchanged,
            self.newer + other.newer,
        )


@dataclass(frozen=True, slots=True)
class Pending:
    """A record whose desired state is not the delivered one."""

    source_id: str
    target_id: str | None
    partition: str | None
    fields: str
    fields_hash: str
    delivered_hash: str | None


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of ids."""

    after: str
    last: str | None = None

    def of(self, table: Table) -> ColumnElement[bool]:
        """The rows of ``table`` in this stretch."""
        until = true() if self.last is None else table.c.source_id <= self.last
        return and_(table.c.source_id > self.after, until)


@contextmanager
def stage(store: Store, connection: str, entity: str, partitions: Scope = None) -> Iterator[Staging]:
    """An empty batch for ``entity``; ``partitions`` (first and last day) is what the read covered."""
    with store.holding() as held:
        with held.reading() as own:
            staged.create(own, checkfirst=False)
        yield Staging(store, held, connection, entity, partitions)


class Staging:
    """The rows of one read, and the questions a sync asks about them."""

    def __init__(self, store: Store, held: Held, connection: str, entity: str, scope: Scope) -> None:
        self._store = store
        self._held = held
        self._connection = connection
        self._entity = entity
        self._scope = scope
        self._sealed = False

    @property
    def scope(self) -> Scope:
        """First and last day of what the read covered."""
        return self._scope

    def witness(self) -> str | None:
        """The id of any record this read met."""
        with self._looking() as own:
            found: str | None = own.scalar(select(staged.c.source_id).limit(1))
            return found

    def add(self, rows: Sequence[StagedRow]) -> None:
        """Take in one part of the batch, every extracted row whatever its status."""
        self._sealed = False
        with self._held.reading() as own:
            insert_fast(own, "staged", _COLUMNS, rows)

    def counts(self) -> dict[str, int]:
        """Staged records by status."""
        with self._looking() as own:
            rows = own.execute(select(staged.c.status, func.count()).group_by(staged.c.status))
            return {row[0]: row[1] for row in rows}

    def known(self, *, everywhere: bool = False) -> int:
        """How many delivered records of the scope - or of the entity - live: the base of the volume check."""
        scope = None if everywhere else self._scope
        live = [*self._ours(scope), records.c.deleted_at.is_(None), records.c.delivered_hash.isnot(None)]
        return self._count(select(func.count()).select_from(records).where(*live))

    def absent(self, limit: int | None = None, after: str = "", *, again: bool = False) -> list[Known]:
        """Records of the scope that this read did not meet, by source_id.

        Excluded ones are only missed when they stand at the target. With ``again`` also those that were proven gone
        before and still stand there: each delete needs a proof of its own run.
        """
        statement = self._absent(*KNOWN_COLUMNS, again=again).where(records.c.source_id > after)
        # The empty suffix keeps SQLite from walking the whole primary key to save sorting a few rows.
        ordered = statement.order_by(records.c.source_id + "").limit(limit)
        with self._looking() as own:
            return [known(row) for row in own.execute(ordered)]

    def count_absent(self, *, again: bool = False) -> int:
        """How many of the records ``absent`` lists stand at the target: the deletes this batch asks for."""
        statement = self._absent(func.count(), again=again)
        return self._count(statement.where(records.c.delivered_hash.isnot(None)))

    def rewritten(self, scopes: Sequence[Scope]) -> int:
        """Accepted rows of these scopes that are at the target in another form than this batch wants."""
        return self._count(
            self._joined(func.count()).where(
                staged.c.status == "accepted",
                records.c.delivered_hash != staged.c.fields_hash,
                records.c.delivered_hash.not_in(UNKNOWN),
                or_(false(), *(within(records.c.partition, scope) for scope in scopes)),
            )
        )

    def refused(self) -> int:
        """Accepted rows that wait because the target refused exactly this state."""
        return self._count(
            self._joined(func.count()).where(
                staged.c.status == "accepted",
                records.c.refused_hash == staged.c.fields_hash,
                records.c.delivered_hash.is_distinct_from(staged.c.fields_hash),
            )
        )

    def pending(self, limit: int, after: str = "") -> list[Pending]:
        """The next accepted rows still to be delivered, by source_id."""
        columns = [records.c[name] for name in Pending.__slots__]
        statement = (
            self._joined(*columns, after=after)
            .where(staged.c.status == "accepted", *pending_upsert())
            .order_by(staged.c.source_id)
            .limit(limit)
        )
        with self._looking() as own:
            return [Pending(*row) for row in own.execute(statement)]

    def merge(self, observed_at: datetime) -> MergeCounts:
        """Make the batch the desired state. Unchanged rows are not written, newer ones not replaced."""
        total = MergeCounts()
        for span in self._spans():
            with self._held.writing() as own:
                counts = self._compare(own, span, observed_at)
                if counts.new or counts.changed:
                    self._upsert(own, span, counts, observed_at)
            total += counts
        self._note_seen(observed_at)
        self._drop_moved(observed_at)
        drop_outlived(self._store, self._connection, self._entity)
        self._note_sizes(total)
        return total

    def _spans(self) -> Iterator[Span]:
        """The batch in stretches of ids; a merge cut off between two is finished by the next sync.

        In the order of ids the rows, their indexes and later the deliveries all touch neighbouring pages.
        """
        after: str | None = ""
        while after is not None:
            rest = select(staged.c.source_id).where(staged.c.source_id > after).order_by(staged.c.source_id)
            with self._looking() as own:
                last: str | None = own.scalar(rest.offset(MERGE_ROWS - 1).limit(1))
            yield Span(after, last)
            after = last

    def _compare(self, own: Connection, span: Span, observed_at: datetime) -> MergeCounts:
        state = case(
            (records.c.source_id.is_(None), "new"),
            (~_differs(), "unchanged"),
            (not_newer(observed_at), "changed"),
            else_="newer",
        ).label("state")
        rows = self._beside_records(span, state).where(span.of(staged), _desired()).subquery()
        statement = select(rows.c.state, func.count()).group_by(rows.c.state)
        return MergeCounts(**{row[0]: row[1] for row in own.execute(statement)})

    def _upsert(self, own: Connection, span: Span, counts: MergeCounts, at: datetime) -> None:
        """Only rows that will be written reach the upsert: a conflict that changes nothing would still lock."""
        row = (
            literal(self._connection),
            literal(self._entity),
            staged.c.source_id,
            staged.c.partition,
            staged.c.fields,
            staged.c.fields_hash,
            literal(at, Instant),
        )
        if counts.new == counts.total:
            source = select(*row)  # a first load: spares looking up what cannot be there
        else:
            changed = and_(_differs(), not_newer(at))
            source = self._beside_records(span, *row).where(or_(records.c.source_id.is_(None), changed))
        source = source.where(span.of(staged), _desired()).order_by(staged.c.source_id)
        key = ["connection", "entity", "source_id"]
        values = ["partition", "fields", "fields_hash", "observed_at"]
        insert = insert_into(self._store, records).from_select([*key, *values], source)
        update_to: dict[str, Any] = {name: insert.excluded[name] for name in values}
        update_to |= {name: null() for name in ("deleted_at", "unconfirmed_at", "excluded_rule")}
        own.execute(insert.on_conflict_do_update(index_elements=key, set_=update_to))

    def _note_seen(self, observed_at: datetime) -> None:
        """What was read but is not wanted: excluded by a rule, or invalid. Neither is a reason to delete."""
        met = staged.c.source_id == records.c.source_id
        rule = select(staged.c.rule).where(met).scalar_subquery()
        # It may have moved to another day; one that has no day any more keeps the last one.
        day = func.coalesce(select(staged.c.partition).where(met).scalar_subquery(), records.c.partition)
        moved = records.c.partition.is_distinct_from(day)
        gone = or_(records.c.deleted_at.isnot(None), records.c.unconfirmed_at.isnot(None))
        back = {"deleted_at": None, "unconfirmed_at": None}
        statements = [
            update(records)
            .where(*self._seen_as("excluded"), or_(records.c.excluded_rule.is_distinct_from(rule), moved, gone))
            .values(excluded_rule=rule, partition=day, observed_at=observed_at, **back),
            update(records)
            .where(*self._seen_as("rejected"), records.c.delivered_hash.isnot(None), or_(moved, gone))
            .values(partition=day, observed_at=observed_at, **back),
        ]
        counts = self.counts()
        if counts.get("excluded") or counts.get("rejected"):
            with self._held.writing() as own:
                for statement in statements:
                    own.execute(statement.where(not_newer(observed_at)))

    def _drop_moved(self, observed_at: datetime) -> None:
        """What our checks said of a record on a day it has left since: it was judged anew where it was met."""
        if self._scope is None:
            return
        here = and_(staged.c.source_id == rejects.c.source_id, staged.c.partition.is_distinct_from(rejects.c.partition))
        left = [
            rejects.c.connection == self._connection,
            rejects.c.entity == self._entity,
            rejects.c.origin == "check",
            rejects.c.at <= observed_at,
            ~within(rejects.c.partition, self._scope),
            select(staged.c.nr).where(here).exists(),
        ]
        if self._count(select(func.count()).select_from(rejects).where(*left)):
            with self._held.writing() as own:
                own.execute(delete(rejects).where(*left))

    def _note_sizes(self, counts: MergeCounts) -> None:
        """PostgreSQL's own statistics come a minute after a big change; until then its plans are for a small table."""
        if self._store.dialect == "postgresql" and counts.new + counts.changed > MERGE_ROWS // 4:
            with self._held.writing() as own:
                own.execute(text("ANALYZE records"))

    def _seen_as(self, status: Status) -> list[ColumnElement[bool]]:
        ids = select(staged.c.source_id).where(staged.c.status == status)
        return [*self._ours(), records.c.source_id.in_(ids)]

    def _ours(self, scope: Scope = None) -> list[ColumnElement[bool]]:
        mine = [records.c.connection == self._connection, records.c.entity == self._entity]
        return mine if scope is None else [*mine, within(records.c.partition, scope)]

    def _absent(self, *columns: Any, again: bool) -> Select[Any]:
        met = select(staged.c.nr).where(staged.c.source_id == records.c.source_id).exists()
        there = records.c.delivered_hash.isnot(None)
        missed = and_(records.c.deleted_at.is_(None), or_(records.c.excluded_rule.is_(None), there))
        if again:
            missed = or_(missed, and_(*pending_delete()))
        return select(*columns).select_from(records).where(*self._ours(self._scope), missed, ~met)

    def _match(self) -> ColumnElement[bool]:
        return and_(*self._ours(), records.c.source_id == staged.c.source_id)

    def _joined(self, *columns: Any, after: str = "") -> Select[Any]:
        """Staged rows with their records, by walking the index: neighbours there are neighbours in records.

        Both sides are told where to begin, or PostgreSQL's merge join begins each page at the first record.
        """
        span = Span(after)
        both = Probe(staged, records, and_(self._match(), span.of(records)))
        return select(*columns).select_from(both).where(span.of(staged))

    def _beside_records(self, span: Span, *columns: Any) -> Select[Any]:
        return select(*columns).select_from(staged.outerjoin(records, and_(self._match(), span.of(records))))

    def _count(self, statement: Select[Any]) -> int:
        with self._looking() as own:
            return int(own.execute(statement).scalar_one())

    @contextmanager
    def _looking(self) -> Iterator[Connection]:
        with self._held.reading() as own:
            if not self._sealed:
                self._seal(own)
            yield own

    def _seal(self, own: Connection) -> None:
        """After the last ``add``: index the rows (cheaper than while they come); of an id that came twice the last one counts."""
        own.execute(text("CREATE INDEX IF NOT EXISTS ix_staged ON staged (source_id, status, fields_hash)"))
        if self._store.dialect == "postgresql":
            own.execute(text("ANALYZE staged"))
        once = select(staged.c.source_id).group_by(staged.c.source_id)
        if own.scalar(once.having(func.count() > 1).limit(1)) is not None:
            last = select(func.max(staged.c.nr)).group_by(staged.c.source_id)
            own.execute(delete(staged).where(staged.c.nr.not_in(last)))
        self._sealed = True


def _desired() -> ColumnElement[bool]:
    return staged.c.status.in_(["accepted", "waiting"])


def _differs() -> ColumnElement[bool]:
    return or_(
        records.c.fields_hash != staged.c.fields_hash,
        records.c.fields != staged.c.fields,
        records.c.partition.is_distinct_from(staged.c.partition),
        records.c.deleted_at.isnot(None),
        records.c.unconfirmed_at.isnot(None),
        records.c.excluded_rule.isnot(None),
    )


__all__ = ["MergeCounts", "Pending", "StagedRow", "Staging", "Status", "stage"]
