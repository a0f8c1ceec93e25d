"""Small batches for the store's tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import Table, func, select

from sync_pipeline.store.deliveries import Delivered
from sync_pipeline.store.engine import Store
from sync_pipeline.store.ledger import Ledger
from sync_pipeline.store.merge import MergeCounts
from sync_pipeline.store.records import Known
from sync_pipeline.store.schema import metadata
from sync_pipeline.store.staged import StagedRow, Status

HERE = "clockify w1 > snapshots a1"
THERE = "clockify w1 > snapshots a2"
ENTITY = "time_entries"
LATER = 1_000
"""A number of a read that is newer than all that a test has drawn."""


def here(store: Store) -> Ledger:
    """What is stored of the entity."""
    return Ledger(store, HERE, ENTITY)


def there(store: Store) -> Ledger:
    """The same entity of another pair."""
    return Ledger(store, THERE, ENTITY)


def at(hour: int) -> datetime:
    """A time of the story; later hours are later."""
    return datetime(2024, 3, 1, tzinfo=UTC) + timedelta(hours=hour)


def is_pending(known: Known) -> bool:
    """Whether it is to be created or updated at the target."""
    wanted = known.deleted_at is None and known.excluded_rule is None
    return wanted and known.fields_hash not in (known.delivered_hash, known.refused_hash)


def row(
    source_id: str,
    value: str = "v1",
    day: str | None = "2024-03-01",
    status: Status = "accepted",
    rule: str | None = None,
) -> StagedRow:
    """One staged row whose hash is its value."""
    return StagedRow(source_id, day, json.dumps({"id": source_id, "value": value}), value, status, rule)


def merge(
    store: Store,
    rows: Sequence[StagedRow],
    hour: int,
    scope: tuple[str, str] | None = None,
    connection: str = HERE,
) -> MergeCounts:
    """Stage and merge one batch, read under the number ``hour``."""
    with Ledger(store, connection, ENTITY).staging(scope, read_no=hour) as staging:
        staging.add(rows)
        return staging.merge(at(hour))


def deliver(store: Store, rows: Sequence[StagedRow], hour: int = 1, connection: str = HERE) -> None:
    """Merge a batch and have the target acknowledge all of it."""
    merge(store, rows, hour, connection=connection)
    delivered = [Delivered(row.source_id, f"t-{row.source_id}", row.fields_hash, "create") for row in rows]
    Ledger(store, connection, ENTITY).mark_delivered(delivered, None, at(hour))


def size(store: Store, table: Table) -> int:
    """How many rows a table has."""
    with store.reading() as tx:
        return tx.execute(select(func.count()).select_from(table)).scalar_one()


def content(store: Store, table: Table) -> list[tuple[object, ...]]:
    """All rows of a table, in one order."""
    with store.reading() as tx:
        return sorted((tuple(found) for found in tx.execute(select(table))), key=repr)


@contextmanager
def commits(store: Store) -> Iterator[Callable[[], object]]:
    """A reading that changes whenever anyone commits a write to a table of ours."""
    with store.engine.connect() as watcher:

        def reading() -> object:
            watcher.rollback()  # a transaction sees what was there when it began
            if store.dialect == "sqlite":
                return watcher.exec_driver_sql("PRAGMA data_version").scalar()
            names = [table for table in metadata.tables if table != "syncs"]
            # xmin and xmax change with every write and every row lock, ctid with every new version.
            versions = "SELECT xmin::text, xmax::text, ctid::text FROM {} ORDER BY ctid"
            found = [watcher.exec_driver_sql(versions.format(name)).all() for name in names]
            watcher.rollback()
            return found

        yield reading
