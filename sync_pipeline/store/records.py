"""The desired and the delivered state of every record, and the steps that move one towards the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, case, func, or_, select, update

from sync_pipeline.store.bulk import execute_together
from sync_pipeline.store.chunks import chunks
from sync_pipeline.store.engine import Store
from sync_pipeline.store.outcomes import (
    REMOVAL,
    SENT,
    UNKNOWN,
    Delivered,
    Kind,
    Refused,
    Removed,
    Sending,
    append_outcomes,
    forget_outlived,
    forget_target_rejects,
    outlived,
    set_delivered,
    set_refused,
    set_removed,
    set_sending,
)
from sync_pipeline.store.schema import records
from sync_pipeline.store.scope import Scope, within

_OBSERVED = """
    WITH seen (source_id, found) AS ({rows})
    UPDATE records SET delivered_hash = seen.found FROM seen
    WHERE connection = ? AND entity = ? AND records.source_id = seen.source_id
"""
"""Reads no column of ``records`` but its key: SQLite would walk all records of the entity for it."""


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

    @property
    def is_delivered(self) -> bool:
        """Whether it is known to stand at the target, in whatever form."""
        return self.delivered_hash is not None and self.delivered_hash not in UNKNOWN

    @property
    def pending(self) -> bool:
        """Whether it is to be created or updated at the target."""
        wanted = self.deleted_at is None and self.excluded_rule is None
        return wanted and self.fields_hash not in (self.delivered_hash, self.refused_hash)


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


CLOCK_SLACK = timedelta(minutes=5)


def not_newer(observed_at: datetime) -> ColumnElement[bool]:
    """Rows that an observation begun at ``observed_at`` may change: older ones - and those from the future.

    A clock that ran ahead has left the latter; were they believed, nothing could change them before their time comes.
    """
    future = datetime.now(UTC) + CLOCK_SLACK
    return or_(records.c.observed_at <= observed_at, records.c.observed_at > future)


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
    """Gone at the source, still at the target, and its removal was not refused."""
    return [*_unwanted(), records.c.refused_hash.is_distinct_from(REMOVAL)]


def lookup(store: Store, connection: str, entity: str, source_ids: Iterable[str]) -> dict[str, Known]:
    """What is known about these records, deleted ones included."""
    found: dict[str, Known] = {}
    with store.reading() as own:
        for some in chunks(source_ids):
            statement = select(*KNOWN_COLUMNS).where(*_of(connection, entity), records.c.source_id.in_(some))
            found.update((row[0], known(row)) for row in own.execute(statement))
    return found


def scan(
    store: Store, connection: str, entity: str, partitions: Scope = None, size: int = 1000, after: str = ""
) -> Iterator[list[Known]]:
    """All records of the scope by source_id, a page at a time, each page a transaction of its own."""
    page = select(*KNOWN_COLUMNS).where(*_of(connection, entity), within(records.c.partition, partitions))
    while found := _page(store, page, size, after):
        yield found
        after = found[-1].source_id


def pending_deletes(store: Store, connection: str, entity: str, source_ids: Iterable[str]) -> list[Known]:
    """Those of these records that are to be deleted or archived at the target, by source_id."""
    found: list[Known] = []
    with store.reading() as own:
        for some in chunks(sorted(source_ids)):
            mine = [*_of(connection, entity), *pending_delete(), records.c.source_id.in_(some)]
            statement = select(*KNOWN_COLUMNS).where(*mine).order_by(records.c.source_id)
            found += [known(row) for row in own.execute(statement)]
    return found


def unsure(store: Store, connection: str, entity: str) -> list[Known]:
    """Live records of which nobody knows how they stand at the target: their last write was not answered."""
    mine = [*_of(connection, entity), records.c.deleted_at.is_(None), records.c.delivered_hash.in_(UNKNOWN)]
    with store.reading() as own:
        return [known(row) for row in own.execute(select(*KNOWN_COLUMNS).where(*mine))]


def mark_observed(store: Store, connection: str, entity: str, source_ids: Iterable[str], observed_at: datetime) -> int:
    """Note that a read begun at ``observed_at`` found these as they stand: an older batch may not change them any more."""
    older = (records.c.observed_at != observed_at, not_newer(observed_at))
    statement = update(records).where(*older).values(observed_at=observed_at)
    return _update(store, connection, entity, source_ids, statement)


def mark_deleted(store: Store, connection: str, entity: str, source_ids: Iterable[str], observed_at: datetime) -> int:
    """Note that a read begun at ``observed_at`` proved these gone; later observations win."""
    statement = (
        update(records)
        .where(records.c.deleted_at.is_(None), not_newer(observed_at))
        .values(deleted_at=observed_at, observed_at=observed_at, unconfirmed_at=None, excluded_rule=None)
    )
    changed = _update(store, connection, entity, source_ids, statement)
    if changed:
        drop_outlived(store, connection, entity)
    return changed


def drop_outlived(store: Store, connection: str, entity: str) -> None:
    """No reject outlives its reason: those about states that are not wanted any more go."""
    with store.reading() as own:
        if not outlived(own, connection, entity):
            return
    with store.writing() as own:
        forget_outlived(own, connection, entity)


def mark_unconfirmed(store: Store, connection: str, entity: str, source_ids: Iterable[str], at: datetime) -> int:
    """Note that these are missing from a read, without proof; the first such time is kept."""
    missing = [records.c.deleted_at.is_(None), records.c.unconfirmed_at.is_(None)]
    statement = update(records).where(*missing).values(unconfirmed_at=at)
    return _update(store, connection, entity, source_ids, statement)


def mark_sending(store: Store, connection: str, entity: str, rows: Sequence[Sending]) -> None:
    """Note what is about to be sent, before it is: should the answer never come, the record stays pending."""
    with store.writing() as own:
        set_sending(own, connection, entity, rows)


def mark_delivered(
    store: Store,
    connection: str,
    entity: str,
    rows: Sequence[Delivered],
    sync_id: int | None,
    at: datetime,
) -> None:
    """Note acknowledged writes, and each in the audit, in one transaction."""
    if not rows:
        return
    rows = [Delivered(*row) for row in rows]
    with store.writing() as own:
        set_delivered(own, connection, entity, rows, at)
        append_outcomes(own, connection, entity, "delivered", rows, sync_id, at)


def mark_removed(
    store: Store, connection: str, entity: str, rows: Sequence[Removed], sync_id: int | None, at: datetime
) -> None:
    """Note acknowledged deletes and archivings, and each in the audit, in one transaction."""
    if not rows:
        return
    rows = [Removed(*row) for row in rows]
    with store.writing() as own:
        set_removed(own, connection, entity, rows, at)
        append_outcomes(own, connection, entity, "delivered", rows, sync_id, at)


def mark_refused(
    store: Store,
    connection: str,
    entity: str,
    rows: Sequence[Refused],
    sync_id: int | None,
    at: datetime,
    run_id: str | None = None,
) -> None:
    """Set refused records aside with the target's reason, and each in the audit, in one transaction."""
    if not rows:
        return
    rows = [Refused(*row) for row in rows]
    with store.writing() as own:
        set_refused(own, connection, entity, rows, run_id, at)
        append_outcomes(own, connection, entity, "refused", rows, sync_id, at)


def observe_target(
    store: Store, connection: str, entity: str, rows: Iterable[tuple[str, str | None]], since: datetime
) -> int:
    """Correct what we believe of the target after having read it: (source_id, hash found or ``None``).

    The read began at ``since``: what was delivered later is believed as it is. Returns how many beliefs were wrong.
    Nothing is written for those that were right.
    """
    wrong = 0
    before = or_(records.c.delivered_at.is_(None), records.c.delivered_at < since)
    for some in chunks(rows):
        found = dict(some)
        beliefs = select(records.c.source_id, records.c.delivered_hash)
        beliefs = beliefs.where(*_of(connection, entity), records.c.source_id.in_(found), before)
        with store.reading() as own:
            if not _wrong(own, beliefs, found):
                continue
        with store.writing() as own:
            changes = _wrong(own, beliefs.with_for_update(), found)
            execute_together(own, _OBSERVED, changes, (connection, entity))
        wrong += len(changes)
    return wrong


def _wrong(own: Connection, beliefs: Select[Any], found: dict[str, str | None]) -> list[tuple[str, str | None]]:
    return [(key, found[key]) for key, believed in own.execute(beliefs) if believed != found[key]]


def link(
    store: Store,
    connection: str,
    entity: str,
    source_id: str,
    target_id: str,
    *,
    delivered_hash: str = SENT,
) -> bool:
    """Tie a record to what already exists at the target; ``False`` if that belongs to another record.

    Without a hash it is not known how it stands there.
    """
    with store.writing() as own:
        owner = own.scalar(
            select(records.c.source_id).where(*_of(connection, entity), records.c.target_id == target_id)
        )
        if owner not in (None, source_id):
            return False
        changed = own.execute(
            update(records)
            .where(*_of(connection, entity), records.c.source_id == source_id)
            .values(target_id=target_id, delivered_hash=delivered_hash)
        )
        return changed.rowcount == 1


def forget_delivered(store: Store, connection: str, entity: str, source_id: str, *, keep_link: bool = False) -> None:
    """The record becomes pending: the target has it no longer or, if the link is kept, nobody knows in which form."""
    forgotten = {"delivered_hash": SENT} if keep_link else {"delivered_hash": None, "target_id": None}
    with store.writing() as own:
        own.execute(
            update(records).where(*_of(connection, entity), records.c.source_id == source_id).values(**forgotten)
        )


def linked(store: Store, connection: str, entity: str) -> dict[str, str]:
    """Every link as target_id -> source_id, archived and deleted records included."""
    statement = select(records.c.target_id, records.c.source_id).where(
        *_of(connection, entity), records.c.target_id.isnot(None)
    )
    with store.reading() as own:
        return {row[0]: row[1] for row in own.execute(statement)}


def clear_refused(store: Store, connection: str, entity: str, source_ids: Iterable[str] | None = None) -> int:
    """Try again what the target refused: these records, or all of the entity. Returns how many."""
    mine = [*_of(connection, entity), records.c.refused_hash.isnot(None)]
    with store.writing() as own:
        every = set(own.scalars(select(records.c.source_id).where(*mine)))
        keys = sorted(every if source_ids is None else every & set(source_ids))
        for some in chunks(keys):
            own.execute(update(records).where(*mine, records.c.source_id.in_(some)).values(refused_hash=None))
        forget_target_rejects(own, connection, entity, keys)
    return len(keys)


def counts(store: Store, connection: str) -> dict[str, RecordCounts]:
    """The state of every entity that has records."""
    columns = records.c
    states = [
        columns.deleted_at.is_(None),
        columns.deleted_at.is_(None) & (columns.delivered_hash == columns.fields_hash),
        _all(pending_upsert()),
        _all(pending_delete()),
        (_all(_wanted()) & (columns.refused_hash == columns.fields_hash))
        | (_all(_unwanted()) & (columns.refused_hash == REMOVAL)),
        columns.deleted_at.isnot(None),
        columns.excluded_rule.isnot(None),
        columns.unconfirmed_at.isnot(None),
    ]
    sums = [func.sum(case((state, 1), else_=0)) for state in states]
    statement = select(columns.entity, *sums).where(columns.connection == connection).group_by(columns.entity)
    with store.reading() as own:
        return {row[0]: RecordCounts(*(int(figure) for figure in row[1:])) for row in own.execute(statement)}


def delivered_by_day(store: Store, connection: str, entity: str, partitions: Scope) -> dict[str, int]:
    """How many records of each day of the scope stand at the target."""
    mine = [*_of(connection, entity), records.c.delivered_hash.isnot(None), within(records.c.partition, partitions)]
    statement = select(records.c.partition, func.count()).where(*mine).group_by(records.c.partition)
    with store.reading() as own:
        return {row[0]: row[1] for row in own.execute(statement)}


def _of(connection: str, entity: str) -> list[ColumnElement[bool]]:
    return [records.c.connection == connection, records.c.entity == entity]


def _wanted() -> list[ColumnElement[bool]]:
    return [records.c.deleted_at.is_(None), records.c.excluded_rule.is_(None)]


def _unwanted() -> list[ColumnElement[bool]]:
    return [records.c.deleted_at.isnot(None), records.c.delivered_hash.isnot(None)]


def _all(conditions: list[ColumnElement[bool]]) -> ColumnElement[bool]:
    first, *rest = conditions
    for condition in rest:
        first = first & condition
    return first


def _page(store: Store, statement: Select[Any], limit: int, after: str) -> list[Known]:
    page = statement.where(records.c.source_id > after).order_by(records.c.source_id).limit(limit)
    with store.reading() as own:
        return [known(row) for row in own.execute(page)]


def _update(store: Store, connection: str, entity: str, source_ids: Iterable[str], statement: Any) -> int:
    changed = 0
    for some in chunks(source_ids):
        with store.writing() as own:
            mine = [*_of(connection, entity), records.c.source_id.in_(some)]
            changed += own.execute(statement.where(*mine)).rowcount
    return changed


__all__ = [
    "Delivered",
    "Kind",
    "Known",
    "RecordCounts",
    "Refused",
    "Removed",
    "Sending",
    "clear_refused",
    "counts",
    "delivered_by_day",
    "drop_outlived",
    "forget_delivered",
    "link",
    "linked",
    "lookup",
    "mark_deleted",
    "mark_delivered",
    "mark_observed",
    "mark_refused",
    "mark_removed",
    "mark_sending",
    "mark_unconfirmed",
    "observe_target",
    "pending_deletes",
    "scan",
    "unsure",
]
