"""Make a staged batch the desired state of its records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    delete,
    false,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    text,
    update,
)

from sync_pipeline.store.approvals import use_configuration
from sync_pipeline.store.engine import insert_into
from sync_pipeline.store.facts import StagedFacts
from sync_pipeline.store.schema import KEY, UNKNOWN, WIDENED, Instant, records, rejects
from sync_pipeline.store.scope import lock_in_order, within
from sync_pipeline.store.staged import Span, Status, desired, differs, staged

MERGE_ROWS = 20_000
"""Rows per merge transaction: short enough that other processes' writes only pause, never time out."""


_KEY = ["connection", "entity", "source_id"]
_VALUES = [
    *("partition", "fields", "fields_hash", "read_no", "by_id_at", "observed_at"),
    *("source_hash", "decided_by", "label"),
]


@dataclass(frozen=True, slots=True)
class MergeCounts:
    """What a merge found; only ``new`` and ``changed`` rows were written."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    newer: int = 0
    """Rows that differ from what a newer read has stored: left unchanged."""
    restated: int = 0
    """Unchanged rows whose source hash was updated."""

    @property
    def total(self) -> int:
        """Rows that were accepted or wait."""
        return self.new + self.changed + self.unchanged + self.newer + self.restated

    def __add__(self, other: MergeCounts) -> MergeCounts:
        return MergeCounts(
            self.new + other.new,
            self.changed + other.changed,
            self.unchanged + other.unchanged,
            self.newer + other.newer,
            self.restated + other.restated,
        )


class MergedRows(StagedFacts):
    """A batch that can be merged."""

    _has_many = False
    """Whether so many rows were merged that PostgreSQL's statistics are too old to plan with."""

    def merge(
        self,
        observed_at: datetime,
        then: Callable[[Connection], None] | None = None,
        first: Callable[[Connection], None] | None = None,
    ) -> MergeCounts:
        """Make the batch the desired state. Unchanged rows are not written, newer ones not replaced.

        ``first`` is called in the first transaction that makes something pending, ``then`` in the one that ends it. Raises
        LockLost when a lock of this process was lost.
        """
        total = MergeCounts()
        for span in self._spans():
            self._loads.store.check_locks()
            with self._held.writing() as tx:
                counts = self._compare(tx, span)
                if counts.new or counts.changed:
                    self._use_approvals(tx, span)
                    self._upsert(tx, span, counts, observed_at)
                    if first is not None and not total.new + total.changed:
                        first(tx)
                self._keep_facts(tx, span)
            if counts.restated:
                # Apart: what it locks lies between the rows of the upsert, and a transaction locks records in one order.
                with self._held.writing() as tx:
                    self._restate(tx, span, observed_at)
            total += counts
        self._drop_moved()
        statuses = self.counts()
        with self._held.writing() as tx:
            if statuses.keys() & {"excluded", "rejected", "former"}:
                self._note_seen(tx, observed_at)
            if statuses.get("excluded"):
                self._drop_excluded_facts(tx)
            if then is not None:
                then(tx)
        self._rejects.drop_obsolete()
        self._note_sizes(total)
        return total

    def _use_approvals(self, tx: Connection, span: Span) -> None:
        """Count the rows that approvals allow, in the transaction that stores them: a run that is killed leaves the rest."""
        changed = or_(records.c.source_id.is_(None), self._not_newer())
        for approval, allowed in self._approved.items():
            if count := tx.scalar(self._beside_records(span, func.count()).where(*_of(span), changed, *allowed)):
                use_configuration(tx, approval, count)

    def _spans(self) -> Iterator[Span]:
        """The batch in stretches of ids; a merge cut off between two is finished by the next sync.

        In the order of ids the rows, their indexes and later the deliveries all touch neighbouring pages.
        """
        after: str | None = ""
        while after is not None:
            rest = select(staged.c.source_id).where(staged.c.source_id > after).order_by(staged.c.source_id)
            with self._looking() as tx:
                last: str | None = tx.scalar(rest.offset(MERGE_ROWS - 1).limit(1))
            yield Span(after, last)
            after = last

    def _compare(self, tx: Connection, span: Span) -> MergeCounts:
        state = case(
            (records.c.source_id.is_(None), "new"),
            (self._is_to_restate(), "restated"),
            (~differs(), "unchanged"),
            (self._not_newer(), "changed"),
            else_="newer",
        ).label("state")
        rows = self._beside_records(span, state).where(*_of(span)).subquery()
        statement = select(rows.c.state, func.count()).group_by(rows.c.state)
        return MergeCounts(**{row[0]: row[1] for row in tx.execute(statement)})

    def _upsert(self, tx: Connection, span: Span, counts: MergeCounts, at: datetime) -> None:
        """Only rows that will be written reach the upsert: a conflict that changes nothing would still lock."""
        row = self._row(tx, at)
        if counts.new == counts.total:
            source = select(*row)  # a first load: spares looking up what cannot be there
        else:
            changed = and_(differs(), self._not_newer())
            source = self._beside_records(span, *row).where(or_(records.c.source_id.is_(None), changed))
        source = source.where(*_of(span)).order_by(staged.c.source_id)
        insert = insert_into(self._loads.store, records).from_select([*_KEY, *_VALUES], source)
        update_to: dict[str, Any] = {name: insert.excluded[name] for name in _VALUES}
        update_to |= {name: null() for name in ("deleted_at", "unconfirmed_at", "excluded_rule")}
        is_there = records.c.delivered_hash == records.c.fields_hash
        update_to["delivered_fields"] = case((is_there, records.c.fields), else_=records.c.delivered_fields)
        update_to["moved_from"] = _moved_from(insert.excluded.partition, insert.excluded.fields_hash)
        # A read by id may have noted since the comparison that the record was deleted; that takes no lock of the entity.
        older = records.c.read_no <= insert.excluded.read_no
        tx.execute(insert.on_conflict_do_update(index_elements=_KEY, set_=update_to, where=older))

    def _is_to_restate(self) -> ColumnElement[bool]:
        """Whether a row has the fields that are stored, but another label, or made from another record or by another mapping."""
        if self.decided_by is None:
            return false()
        other = or_(self._is_made_otherwise(), records.c.label.is_distinct_from(staged.c.label))
        return and_(other, ~differs(), self._not_newer())

    def _restate(self, tx: Connection, span: Span, at: datetime) -> None:
        """Note what unchanged fields were made from now; the state of the record stays what it is."""
        source = self._beside_records(span, *self._row(tx, at)).where(*_of(span), self._is_to_restate())
        source = source.order_by(staged.c.source_id)
        insert = insert_into(self._loads.store, records).from_select([*_KEY, *_VALUES], source)
        update_to = {name: insert.excluded[name] for name in ("source_hash", "decided_by", "label")}
        tx.execute(insert.on_conflict_do_update(index_elements=_KEY, set_=update_to))

    def _row(self, tx: Connection, at: datetime) -> tuple[ColumnElement[Any], ...]:
        """A staged row as key and values of a record."""
        return (
            literal(self._loads.pair),
            literal(self._loads.entity),
            staged.c.source_id,
            staged.c.partition,
            staged.c.fields,
            staged.c.fields_hash,
            self._number(),
            case((staged.c.by_id, literal(self._loads.store.now(tx), Instant))),
            literal(at, Instant),
            staged.c.source_hash,
            literal(self.decided_by, KEY),
            staged.c.label,
        )

    def _note_seen(self, tx: Connection, observed_at: datetime) -> None:
        """What was read but is not wanted: excluded by a rule, or invalid. Neither is a reason to delete."""
        met = staged.c.source_id == records.c.source_id
        rule = select(staged.c.rule).where(met).scalar_subquery()
        number = select(self._number()).where(met).scalar_subquery()
        # It may have moved. A record without a day keeps its last one, and while a run is writing it, the day that is sent.
        new = func.coalesce(select(staged.c.partition).where(met).scalar_subquery(), records.c.partition)
        day = case((records.c.claimed_by.isnot(None), records.c.partition), else_=new)
        moved = records.c.partition.is_distinct_from(day)
        absent = or_(records.c.deleted_at.isnot(None), records.c.unconfirmed_at.isnot(None))
        seen = {"partition": day, "moved_from": _moved_from(day), "read_no": number, "observed_at": observed_at}
        seen |= {"deleted_at": None, "unconfirmed_at": None}
        statements = [
            update(records)
            .where(*self._seen_as("excluded"), or_(records.c.excluded_rule.is_distinct_from(rule), moved, absent))
            .values(excluded_rule=rule, **seen),
            update(records)
            .where(*self._seen_as("rejected", "former"), records.c.delivered_hash.isnot(None), or_(moved, absent))
            .values(**seen),
        ]
        lock_in_order(tx, self._seen_as("excluded", "rejected", "former"))
        for statement in statements:
            tx.execute(statement.where(records.c.read_no <= number))

    def _drop_moved(self) -> None:
        """Drop the rejects of a record on a day that it has left since: it was checked again on its new day."""
        if self._scope is None:
            return
        here = and_(staged.c.source_id == rejects.c.source_id, staged.c.partition.is_distinct_from(rejects.c.partition))
        left = [
            *self._rejects.of(rejects),
            rejects.c.origin == "check",
            rejects.c.read_no <= self._read_no,
            ~within(rejects.c.partition, self._scope),
            ~self._loaded_later(rejects.c.partition),
            select(staged.c.nr).where(here).exists(),
        ]
        if self._count(select(func.count()).select_from(rejects).where(*left)):
            with self._held.writing() as tx:
                tx.execute(delete(rejects).where(*left))

    def _note_sizes(self, counts: MergeCounts) -> None:
        """PostgreSQL's own statistics come a minute after a big change; until then its plans are for a small table."""
        self._has_many = counts.new + counts.changed > MERGE_ROWS // 4
        if self._loads.store.dialect == "postgresql" and self._has_many:
            with self._held.writing() as tx:
                tx.execute(text("ANALYZE records"))

    def _seen_as(self, *statuses: Status) -> list[ColumnElement[bool]]:
        ids = select(staged.c.source_id).where(staged.c.status.in_(statuses))
        return [*self._ours(), records.c.source_id.in_(ids)]


def _of(span: Span) -> list[ColumnElement[bool]]:
    """The rows of a stretch that are to be stored; those that were taken in by their id are."""
    return [span.of(staged), desired(), staged.c.fields.isnot(None)]


def _moved_from(partition: ColumnElement[Any], fields_hash: ColumnElement[Any] | None = None) -> ColumnElement[Any]:
    """SQL: ``moved_from`` once the record is stored with this day and hash."""
    before = records.c.moved_from
    is_there_as_wanted = and_(records.c.delivered_hash == fields_hash, records.c.claimed_by.is_(None))
    may_be_there = or_(records.c.delivered_hash.isnot(None), records.c.claimed_by.isnot(None))
    is_sent = or_(func.coalesce(records.c.delivered_hash, "").in_(UNKNOWN), records.c.claimed_by.isnot(None))
    moves = and_(may_be_there, records.c.partition.is_distinct_from(partition))
    return case(
        *([] if fields_hash is None else [(is_there_as_wanted, null())]),
        (~moves, before),
        (before.is_(None), records.c.partition),
        (is_sent, literal_column(WIDENED, KEY)),
        else_=before,
    )
