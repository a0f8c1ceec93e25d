"""Which records refer to which, as far as the ledger knows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import JSON, ColumnElement, Select, Text, cast, func, literal, literal_column, or_, select

from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import records

NOT_DELIVERED = "references"
"""The rule of a record that waits for another one that was rejected."""
NOT_THERE = "missing_reference"
"""The rule of a record that waits for one that its source does not have, where the target takes no unknown id."""
WAITS = (NOT_DELIVERED, NOT_THERE)
DELETED = "deleted_reference"
"""Under this rule records were rejected until they were delivered with the bare id; each is checked once more."""


class Reference(NamedTuple):
    """A field of an entity that holds ids of another one."""

    entity: str
    field: str


def referenced(store: Store, pair: str, referrers: Sequence[Reference], ids: Collection[str]) -> set[str]:
    """Those of these ids that are referred to by a record that exists at the source or is still at the target.

    One scan of the records of each referring entity is cheaper than an index that every write would have to update:
    at most two seconds for a million of them.
    """
    found: set[str] = set()
    for statement in referenced_ids(store, pair, referrers):
        with store.reading() as tx:
            found.update(key for key in tx.scalars(statement) if key in ids)
    return found


def referenced_ids(store: Store, pair: str, referrers: Sequence[Reference]) -> Iterator[Select[Any]]:
    """For each of these fields, a selection of the ids to which such records refer."""
    for entity, field in referrers:
        alive = or_(records.c.deleted_at.is_(None), records.c.delivered_hash.isnot(None))
        mine = [_unindexed(store, records.c.connection) == pair, _unindexed(store, records.c.entity) == entity]
        yield select(_field(store, field)).distinct().where(*mine, alive)


def _field(store: Store, name: str) -> ColumnElement[str]:
    """The text of one mapped field."""
    if store.dialect == "sqlite":
        return func.json_extract(records.c.fields, f'$."{name}"', type_=Text)
    # PostgreSQL reads the whole object, and refuses a NUL character anywhere in it.
    whole = func.replace(records.c.fields, literal("\\u0000"), literal("\\ufffd"))
    return cast(whole, JSON).op("->>", return_type=Text())(literal(name, Text))


def _unindexed(store: Store, column: ColumnElement[str]) -> ColumnElement[str]:
    """SQLite keeps no statistics: walking an index and looking up each row takes it twice as long as the whole table."""
    return literal_column(f"+{column.table.name}.{column.name}") if store.dialect == "sqlite" else column
