"""Facts about the records at the source, which reports are made of; written with the merge, whatever is delivered of a record."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    FromClause,
    Text,
    and_,
    case,
    cast,
    delete,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    true,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import JSONB

from sync_pipeline.store.engine import insert_into
from sync_pipeline.store.schema import FACTS, KEY, Instant, records
from sync_pipeline.store.scope import EntityRows, within
from sync_pipeline.store.staged import FactsIn, Span, StagedRows, staged

KEPT = ("accepted", "waiting", "rejected", "held", "former")
"""The statuses of rows whose facts are kept: all that this batch decides about, and that are in scope."""
_KEY = ("connection", "entity", "source_id")


def delete_facts_of_deleted(tx: Connection, rows: EntityRows, source_ids: Collection[str]) -> None:
    """Delete the facts of these records, as far as they are stored as deleted."""
    deleted = select(records.c.source_id).where(
        *rows.of(records), records.c.source_id.in_(source_ids), records.c.deleted_at.isnot(None)
    )
    for table in FACTS.values():
        tx.execute(delete(table).where(*rows.of(table), table.c.source_id.in_(deleted)))


class StagedFacts(StagedRows):
    """A batch with facts to be stored."""

    def drop_unmet_facts(self, tx: Connection) -> None:
        """Delete the facts of rejected records of the scope that this read did not find and that are not stored."""
        if self.facts is None:
            return
        table = self.facts.table
        same = and_(*self._loads.of(records), records.c.source_id == table.c.source_id)
        unmet = [
            *self._loads.of(table),
            table.c.rejected_on.isnot(None),
            within(table.c.rejected_on, self._scope),
            table.c.read_no <= self._read_no,
            ~self._loaded_later(func.nullif(table.c.rejected_on, "")),
            ~select(records.c.source_id).where(same).exists(),
            ~select(staged.c.nr).where(staged.c.source_id == table.c.source_id).exists(),
        ]
        tx.execute(delete(table).where(*unmet))

    def _drop_excluded_facts(self, tx: Connection) -> None:
        if self.facts is None:
            return
        table = self.facts.table
        excluded = select(staged.c.source_id).where(staged.c.status == "excluded")
        met = select(staged.c.source_id).where(
            staged.c.source_id == table.c.source_id,
            table.c.read_no <= self._number(),
            ~self._is_stored_by_a_newer_read(),
        )
        # Named, so that the few are looked up and not all facts of the entity looked at.
        named = table.c.source_id.in_(excluded)
        tx.execute(delete(table).where(*self._loads.of(table), named, met.exists()))

    def _is_stored_by_a_newer_read(self) -> ColumnElement[bool]:
        newer = select(records.c.source_id).where(self._match(), records.c.read_no > self._number())
        return newer.exists()

    def _keep_facts(self, tx: Connection, span: Span) -> None:
        """Only what differs is written, and never over a newer read of the record."""
        if self.facts is None or not self._has_facts:
            return
        table = self.facts.table
        columns, source = self._columns(self.facts)
        values = [
            literal(self._loads.pair),
            literal(self._loads.entity),
            staged.c.source_id,
            self._number(),
            *columns.values(),
        ]
        mine = [*self._loads.of(table), span.of(table)]
        rows = select(*values).where(
            span.of(staged),
            staged.c.facts.isnot(None),
            staged.c.status.in_(KEPT),
            ~self._is_stored_by_a_newer_read(),
        )
        # At a first load nothing is there to be compared with, and comparing costs as much as the rest.
        if tx.scalar(select(table.c.source_id).where(*mine).limit(1)) is not None:
            source = source.outerjoin(table, and_(*mine, table.c.source_id == staged.c.source_id))
            changed = or_(*(table.c[name].is_distinct_from(value) for name, value in columns.items()))
            rows = rows.where(or_(table.c.source_id.is_(None), and_(table.c.read_no <= self._number(), changed)))
        rows = rows.select_from(source).order_by(staged.c.source_id)
        insert = insert_into(self._loads.store, table).from_select([*_KEY, "read_no", *columns], rows)
        update_to = {name: insert.excluded[name] for name in ("read_no", *columns)}
        tx.execute(insert.on_conflict_do_update(index_elements=_KEY, set_=update_to))

    def _columns(self, facts: FactsIn) -> tuple[dict[str, ColumnElement[Any]], FromClause]:
        """Each column's value, null where the mapping fills none, and what they are read from."""
        first_day = self._scope[0] if self._scope else ""
        day = func.coalesce(staged.c.partition, literal(first_day, KEY))
        columns: dict[str, ColumnElement[Any]] = {"rejected_on": case((staged.c.status == "rejected", day))}
        source: FromClause = staged
        parsed: FromClause | None = None
        if self._loads.store.dialect == "postgresql":
            # A subquery with an offset is not merged into the outer query: each list is parsed once.
            parsed = select(cast(staged.c.facts, JSONB).label("facts")).correlate(staged).offset(0).lateral("parsed")
            source = staged.join(parsed, true())
        for column in facts.table.c:
            if column.name in facts.columns:
                columns[column.name] = _value(column, facts.columns.index(column.name), parsed)
            elif column.name not in (*_KEY, "read_no", "rejected_on"):
                columns[column.name] = cast(null(), column.type)
        return columns, source


def _value(column: Column[Any], place: int, parsed: FromClause | None) -> ColumnElement[Any]:
    """One value of a row's facts; instants are texts in UTC without a zone, as SQLite keeps them."""
    if parsed is None:
        found: ColumnElement[Any] = func.json_extract(staged.c.facts, literal_column(f"'$[{place}]'"))
        return type_coerce(found, column.type)
    text: ColumnElement[Any] = parsed.c.facts.op("->>", return_type=Text())(literal_column(str(place)))
    if isinstance(column.type, Instant):
        return cast(text.concat("+00"), column.type)
    return cast(text, column.type) if isinstance(column.type, BigInteger | Boolean) else type_coerce(text, column.type)
