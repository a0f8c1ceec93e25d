"""What is stored of each record: its desired and its delivered state, and what is pending between the two."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, Select, case, func, or_, select

from sync_pipeline.store.bulk import chunks, select_together
from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import REMOVAL, UNKNOWN, records
from sync_pipeline.store.scope import EntityRows, Scope, within


@dataclass(frozen=True, slots=True)
class Known:
    """One row of ``records``; see ``schema.records`` for what each field means."""

    source_id: str
    target_id: str | None
    partition: str | None
    fields: str
    fields_hash: str
    delivered_hash: str | None
    refused_hash: str | None
    observed_at: datetime
    deleted_at: datetime | None
    unconfirmed_at: datetime | None
    excluded_rule: str | None
    label: str | None = None

    @property
    def is_tombstone(self) -> bool:
        """Whether all that is known is that the source has no such record."""
        return self.fields_hash == TOMBSTONE and self.excluded_rule is None

    @property
    def is_delivered(self) -> bool:
        """Whether it is known to be at the target, in whatever form."""
        return self.delivered_hash is not None and self.delivered_hash not in UNKNOWN


class Absent(NamedTuple):
    """What a guard looks at of a record that a read did not find, and the read that proved what became of it."""

    source_id: str
    partition: str | None
    delivered_hash: str | None
    deleted_at: datetime | None
    read_no: int | None = None
    by_id: bool | None = None


class Link(NamedTuple):
    """The record that an id at the target belongs to."""

    source_id: str
    is_deleted: bool
    """Whether it is deleted at the source."""


KNOWN_COLUMNS = [records.c[name] for name in Known.__slots__]


@dataclass(frozen=True, slots=True)
class RecordCounts:
    """How many records of one entity are in which state; a record can be in several."""

    records: int
    """Not deleted at the source."""
    delivered: int
    """Exactly as wanted at the target."""
    pending: int
    """To be created or updated."""
    pending_deletes: int
    refused: int
    deleted: int
    excluded: int
    unconfirmed: int


BEFORE_SWITCH_ON, SETTLED = "before_switch_on", "settled_by_hand"
"""Rules by which an automation leaves records alone: they existed before it was switched on, or a person has settled them."""
LEFT_ALONE = (BEFORE_SWITCH_ON, SETTLED)
TOMBSTONE = ""
"""The ``fields_hash`` of a record that is only known to be deleted."""
LAG = timedelta(minutes=10)
"""How long after a read by id a list may still show an older state."""


_UNCHANGED = """
    WITH seen (source_id, hash) AS ({rows})
    SELECT seen.source_id FROM seen CROSS JOIN records
    WHERE connection = ? AND entity = ? AND records.source_id = seen.source_id AND source_hash = seen.hash
      AND decided_by = ? AND delivered_hash = fields_hash
      AND (refused_hash IS NULL OR refused_hash <> fields_hash)
      AND deleted_at IS NULL AND unconfirmed_at IS NULL AND excluded_rule IS NULL
      AND moved_from IS NULL AND claimed_by IS NULL
      AND NOT EXISTS (
        SELECT 1 FROM rejects WHERE rejects.connection = records.connection
        AND rejects.entity = records.entity AND rejects.source_id = records.source_id
      )
"""
"""A cross join, since SQLite keeps its order: it would rather walk all records for each row."""


def known(row: Row[Any]) -> Known:
    """A row of ``KNOWN_COLUMNS`` as an object."""
    return Known(*tuple(row))


def pending_upsert() -> list[ColumnElement[bool]]:
    """Wanted, not there in this form, and not refused in this form."""
    return [
        *_wanted(),
        records.c.fields_hash.is_distinct_from(records.c.delivered_hash),
        records.c.fields_hash.is_distinct_from(records.c.refused_hash),
    ]


def pending_delete() -> list[ColumnElement[bool]]:
    """Deleted at the source, still at the target, and its removal was not refused."""
    return [*_unwanted(), records.c.refused_hash.is_distinct_from(REMOVAL)]


def read_by_id_lately(now: datetime) -> ColumnElement[bool]:
    """SQL: records that were read by id so recently that a list may lag behind; ``now`` is the time of the store."""
    return records.c.by_id_at.between(now - LAG, now + LAG)  # beyond that it is from before a clock was set back


def counts(store: Store, pair: str) -> dict[str, RecordCounts]:
    """The state of every entity that has records."""
    columns = records.c
    known = columns.fields_hash != TOMBSTONE
    states = [
        columns.deleted_at.isnot(None),
        columns.deleted_at.is_(None) & columns.fields_hash.is_distinct_from(columns.delivered_hash),
        _all(pending_upsert()),
        _all(pending_delete()),
        refused(),
        columns.deleted_at.isnot(None) & known,
        columns.excluded_rule.isnot(None),
        columns.unconfirmed_at.isnot(None),
    ]
    sums = [func.sum(case((state, 1), else_=0)) for state in states]
    mine = columns.connection == pair
    found: dict[str, RecordCounts] = {}
    with store.reading() as tx:
        # All of them are counted in an index; the state of each is looked at only where there is something to do.
        totals = tx.execute(select(columns.entity, func.count()).where(mine).group_by(columns.entity)).all()
        some = select(*sums).where(mine, unsettled())
        for entity, total in totals:
            row = tx.execute(some.where(columns.entity == entity)).one()
            absent, elsewhere, *others = (int(figure or 0) for figure in row)
            found[entity] = RecordCounts(total - absent, total - absent - elsewhere, *others)
    return found


def unsettled() -> ColumnElement[bool]:
    """SQL: in any state but at the target as wanted. They are few, and found by an index, which is used for just these words."""
    instants = (records.c.deleted_at, records.c.excluded_rule, records.c.unconfirmed_at)
    differs = records.c.fields_hash.is_distinct_from(records.c.delivered_hash)
    return or_(differs, *(column.isnot(None) for column in instants))


def refused() -> ColumnElement[bool]:
    """The target refused it in the form that is wanted, or refused its removal."""
    return (_all(_wanted()) & (records.c.refused_hash == records.c.fields_hash)) | (
        _all(_unwanted()) & (records.c.refused_hash == REMOVAL)
    )


class Records(EntityRows):
    """What is stored of the records of one entity of a pair."""

    def lookup(self, source_ids: Iterable[str]) -> dict[str, Known]:
        """What is known about these records, deleted ones included."""
        return {record.source_id: record for record in self._lookup(records.c.source_id, source_ids)}

    def lookup_targets(self, target_ids: Iterable[str]) -> dict[str, Known]:
        """What is known about the records that these ids at the target belong to, by these ids."""
        found = self._lookup(records.c.target_id, target_ids)
        return {record.target_id: record for record in found if record.target_id is not None}

    def lately_read_by_id(self, source_ids: Iterable[str]) -> set[str]:
        """Those of these records that were read by id so recently that a list may lag behind."""
        found: set[str] = set()
        with self.store.reading() as tx:
            lately = read_by_id_lately(self.store.now(tx))
            for some in chunks(source_ids):
                mine = [*self.of(records), records.c.source_id.in_(some), lately]
                found.update(tx.scalars(select(records.c.source_id).where(*mine)))
        return found

    def delivered_fields(self, source_id: str) -> str | None:
        """The fields at the target, as JSON, while others are wanted; None when they are the wanted ones, or not known."""
        mine = [*self.of(records), records.c.source_id == source_id]
        with self.store.reading() as tx:
            return tx.scalar(select(records.c.delivered_fields).where(*mine))

    def has_any(self, partitions: Scope = None) -> bool:
        """Whether there is any record of the scope."""
        some = select(records.c.source_id).where(*self.of(records), within(records.c.partition, partitions)).limit(1)
        with self.store.reading() as tx:
            return tx.scalar(some) is not None

    def unchanged(self, rows: Sequence[tuple[str, str]], decided_by: str) -> frozenset[str]:
        """Those of these records, ids with hashes of what the source has, that are stored and delivered with exactly that hash."""
        with self.store.reading() as tx:
            return frozenset(select_together(tx, _UNCHANGED, rows, (self.pair, self.entity, decided_by)))

    def links(self, target_ids: Iterable[str]) -> dict[str, Link]:
        """Which record each of these ids at the target belongs to, by these ids; archived and deleted ones included."""
        columns = (records.c.target_id, records.c.source_id, records.c.deleted_at.isnot(None))
        found: dict[str, Link] = {}
        with self.store.reading() as tx:
            for some in chunks(target_ids):
                rows = tx.execute(select(*columns).where(*self.of(records), records.c.target_id.in_(some)))
                found.update((row[0], Link(row[1], row[2])) for row in rows)
        return found

    def owners(self, target_ids: Iterable[str], *, existing: bool = False) -> dict[str, str]:
        """The source id of the record that each of these ids at the target belongs to; with ``existing`` without deleted ones."""
        links = self.links(target_ids).items()
        return {target_id: link.source_id for target_id, link in links if not (existing and link.is_deleted)}

    def scan(self, partitions: Scope = None, size: int = 1000) -> Iterator[list[Known]]:
        """All records of the scope by source_id, a page at a time, each page a transaction of its own."""
        page = select(*KNOWN_COLUMNS).where(*self.of(records), within(records.c.partition, partitions))
        after = ""
        while found := self._page(page, size, after):
            yield found
            after = found[-1].source_id

    def newest_ids(self, most: int) -> list[str]:
        """The highest source ids of an entity's records that are not deleted, in order."""
        newest = select(records.c.source_id).where(*self.of(records), records.c.deleted_at.is_(None))
        with self.store.reading() as tx:
            return sorted(tx.scalars(newest.order_by(records.c.source_id.desc()).limit(most)))

    def pending_deletes(self, source_ids: Iterable[str], *, are_marked: bool = True) -> list[Known]:
        """Those of these records that are to be deleted or archived at the target, by source_id.

        Only what is stored as deleted: a newer read may have found some of them again. Before that is stored of any,
        without ``are_marked``.
        """
        found: list[Known] = []
        pending = pending_delete() if are_marked else pending_delete()[1:]
        with self.store.reading() as tx:
            for some in chunks(sorted(source_ids)):
                mine = [*self.of(records), *pending, records.c.source_id.in_(some)]
                statement = select(*KNOWN_COLUMNS).where(*mine).order_by(records.c.source_id)
                found += [known(row) for row in tx.execute(statement)]
        return found

    def target_ids(self, source_ids: Iterable[str]) -> dict[str, str]:
        """Those of these records that are at the target, with their ids there."""
        known = self.lookup(source_ids).values()
        return {record.source_id: record.target_id for record in known if record.target_id and record.is_delivered}

    def kept_ids(self) -> set[str]:
        """The records that are deleted at the source and still at the target, except where the target refused the removal."""
        mine = [*self.of(records)]
        with self.store.reading() as tx:
            return set(tx.scalars(select(records.c.source_id).where(*mine, *pending_delete())))

    def with_unknown_delivery(self) -> list[Known]:
        """Live records whose state at the target is unknown: their last write was not answered."""
        mine = [*self.of(records), records.c.deleted_at.is_(None), records.c.delivered_hash.in_(UNKNOWN)]
        with self.store.reading() as tx:
            return [known(row) for row in tx.execute(select(*KNOWN_COLUMNS).where(*mine))]

    def unconfirmed_ids(self, limit: int) -> list[str]:
        """The first records that a read did not find and that are not yet proven to be deleted."""
        missing = [*self.of(records), records.c.deleted_at.is_(None), records.c.unconfirmed_at.isnot(None)]
        found = select(records.c.source_id).where(*missing).order_by(records.c.source_id).limit(limit)
        with self.store.reading() as tx:
            return list(tx.scalars(found))

    def linked(self) -> dict[str, str]:
        """Every link as target_id -> source_id, archived and deleted records included."""
        statement = select(records.c.target_id, records.c.source_id).where(
            *self.of(records), records.c.target_id.isnot(None)
        )
        with self.store.reading() as tx:
            return {row[0]: row[1] for row in tx.execute(statement)}

    def delivered_by_day(self, partitions: Scope) -> dict[str, int]:
        """How many records of each day of the scope are at the target."""
        mine = [*self.of(records), records.c.delivered_hash.isnot(None), within(records.c.partition, partitions)]
        statement = select(records.c.partition, func.count()).where(*mine).group_by(records.c.partition)
        with self.store.reading() as tx:
            return {row[0]: row[1] for row in tx.execute(statement)}

    def delivered_digest(self) -> str:
        """A digest of what is at the target; the same in whatever order the rows come."""
        mine = [*self.of(records), records.c.delivered_hash.isnot(None)]
        statement = select(records.c.source_id, records.c.delivered_hash).where(*mine)
        total = 0
        with self.store.reading() as tx:
            for source_id, found in tx.execute(statement.execution_options(yield_per=1_000)):
                digest = hashlib.blake2b(f"{source_id}\0{found}".encode(), digest_size=16).digest()
                total += int.from_bytes(digest)
        return f"{total % 2**128:032x}"

    def _lookup(self, column: ColumnElement[str | None], ids: Iterable[str]) -> list[Known]:
        found: list[Known] = []
        with self.store.reading() as tx:
            for some in chunks(ids):
                statement = select(*KNOWN_COLUMNS).where(*self.of(records), column.in_(some))
                found += map(known, tx.execute(statement))
        return found

    def _page(self, statement: Select[Any], limit: int, after: str) -> list[Known]:
        page = statement.where(records.c.source_id > after).order_by(records.c.source_id).limit(limit)
        with self.store.reading() as tx:
            return [known(row) for row in tx.execute(page)]


def _wanted() -> list[ColumnElement[bool]]:
    return [records.c.deleted_at.is_(None), records.c.excluded_rule.is_(None)]


def _unwanted() -> list[ColumnElement[bool]]:
    return [records.c.deleted_at.isnot(None), records.c.delivered_hash.isnot(None)]


def _all(conditions: list[ColumnElement[bool]]) -> ColumnElement[bool]:
    first, *rest = conditions
    for condition in rest:
        first = first & condition
    return first
