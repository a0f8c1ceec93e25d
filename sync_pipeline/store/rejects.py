"""Records set aside, with every reason: found by our checks, or refused by the target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    delete,
    func,
    insert,
    literal,
    null,
    select,
)

from sync_pipeline.store.chunks import chunks
from sync_pipeline.store.engine import Store
from sync_pipeline.store.outcomes import digest, plain, shown
from sync_pipeline.store.schema import KEY, Instant, rejects
from sync_pipeline.store.scope import Scope, within
from sync_pipeline.store.upsert import insert_into

Origin = Literal["check", "target"]

NO_ID = "(no id)"
"""What stands for the id of a record that has none, wherever people read or name it."""


@dataclass(frozen=True, slots=True)
class Reject:
    """One reason why one record is set aside."""

    source_id: str | None
    field: str | None
    rule: str
    reason: str
    value: object = None
    partition: str | None = None


@dataclass(frozen=True, slots=True)
class StoredReject:
    """A reject as it is kept."""

    id: int
    entity: str
    origin: str
    source_id: str
    """``NO_ID`` for a record without one."""
    partition: str | None
    field: str | None
    rule: str
    reason: str
    value: str | None
    run_id: str | None
    at: datetime


_found = Table(
    "found_rejects",
    MetaData(),
    Column("digest", KEY, primary_key=True),
    Column("source_id", KEY),
    Column("partition", KEY),
    Column("field", KEY),
    Column("rule", KEY, nullable=False),
    Column("reason", Text, nullable=False),
    Column("value", Text),
    Column("nr", Integer, nullable=False),
    prefixes=["TEMPORARY"],
)
_ID = StoredReject.__slots__.index("source_id")
_COPIED = ["digest", "source_id", "partition", "field", "rule", "reason", "value"]


def replace_rejects(
    store: Store,
    connection: str,
    entity: str,
    scope: Scope,
    found: Iterable[Reject],
    run_id: str | None,
    at: datetime,
    *,
    source_ids: Sequence[str] | None = None,
) -> int:
    """Make ``found`` the check rejects of ``scope`` - or of exactly ``source_ids`` - and return how many there are.

    What was set aside before for the same reason keeps its row and its time; when nothing differs nothing
    is written. What the target refused is not touched.
    """
    with store.holding() as held:
        with held.reading() as own:
            _found.create(own, checkfirst=False)
            total = sum(_take_in(own, store, part) for part in chunks(_rows(found, scope), 5000))
        with held.reading() as own:
            gone = _gone(connection, entity, scope, source_ids)
            if not _to_go(own, gone) and not _to_come(own, connection, entity):
                return total
        with held.writing() as own:
            own.execute(delete(rejects).where(*gone))
            own.execute(_insert_new(connection, entity, run_id, at))
    return total


def list_rejects(
    store: Store,
    connection: str,
    *,
    entity: str | None = None,
    origin: Origin | None = None,
    run_id: str | None = None,
    limit: int = 100,
    after: int = 0,
) -> list[StoredReject]:
    """Open rejects, oldest first, from the id ``after`` on."""
    conditions = [rejects.c.connection == connection, rejects.c.id > after]
    for column, wanted in ((rejects.c.entity, entity), (rejects.c.origin, origin), (rejects.c.run_id, run_id)):
        if wanted is not None:
            conditions.append(column == wanted)
    return _select(store, conditions, limit)


def show(store: Store, connection: str, entity: str, source_id: str) -> list[StoredReject]:
    """Every reason why one record is set aside - or, for ``NO_ID``, all records without an id."""
    named = rejects.c.source_id.is_(None) if source_id == NO_ID else rejects.c.source_id == source_id
    conditions = [*_of(connection, entity), named]
    return _select(store, conditions, None)


def origins(store: Store, connection: str, entity: str, source_ids: Iterable[str]) -> dict[str, set[str]]:
    """Who set each of these records aside, by id: a check, the target, or both; the others are not set aside."""
    found: dict[str, set[str]] = {}
    with store.reading() as own:
        for some in chunks(list(source_ids)):
            named = [*_of(connection, entity), rejects.c.source_id.in_(some)]
            for source_id, origin in own.execute(select(rejects.c.source_id, rejects.c.origin).where(*named)):
                found.setdefault(source_id, set()).add(origin)
    return found


def rejected_by(store: Store, connection: str, entity: str, rule: str) -> list[str]:
    """The records the target refused under this rule."""
    conditions = [*_of(connection, entity), rejects.c.origin == "target", rejects.c.rule == rule]
    with store.reading() as own:
        return list(own.scalars(select(rejects.c.source_id).where(*conditions).order_by(rejects.c.source_id)))


def count_rejects(store: Store, connection: str) -> dict[str, int]:
    """How many records each entity has set aside; a record counts once, whatever its reasons."""
    ids = func.count(rejects.c.source_id.distinct())
    nameless = func.count().filter(rejects.c.source_id.is_(None))
    statement = select(rejects.c.entity, ids + nameless).where(rejects.c.connection == connection)
    with store.reading() as own:
        return {row[0]: row[1] for row in own.execute(statement.group_by(rejects.c.entity))}


def _rows(found: Iterable[Reject], scope: Scope) -> Iterator[dict[str, Any]]:
    """Records without an id cannot be told apart, so equal ones are numbered."""
    nameless: Counter[str] = Counter()
    for nr, reject in enumerate(found):
        # A record without a day belongs to the read that met it: the first day's next read judges it anew.
        visible = {
            "source_id": reject.source_id,
            "partition": reject.partition or (scope[0] if scope else None),
            "field": reject.field,
            "rule": reject.rule,
            "reason": plain(reject.reason),
            "value": shown(reject.value),
        }
        mark = digest(*visible.values())
        if reject.source_id is None:
            nameless[mark] += 1
            mark = digest(mark, nameless[mark])
        yield {"digest": mark, **visible, "nr": nr}


def _take_in(own: Connection, store: Store, rows: list[dict[str, Any]]) -> int:
    own.execute(insert_into(store, _found).on_conflict_do_nothing(), rows)
    return len(rows)


def _of(connection: str, entity: str) -> list[ColumnElement[bool]]:
    return [rejects.c.connection == connection, rejects.c.entity == entity]


def _judged(connection: str, entity: str) -> list[ColumnElement[bool]]:
    return [*_of(connection, entity), rejects.c.origin == "check"]


def _gone(connection: str, entity: str, scope: Scope, source_ids: Sequence[str] | None) -> list[ColumnElement[bool]]:
    again = select(_found.c.digest).where(_found.c.digest == rejects.c.digest).exists()
    judged = within(rejects.c.partition, scope) if source_ids is None else rejects.c.source_id.in_(source_ids)
    return [*_judged(connection, entity), judged, ~again]


def _new(connection: str, entity: str) -> ColumnElement[bool]:
    same = [*_judged(connection, entity), rejects.c.digest == _found.c.digest]
    return ~select(rejects.c.id).where(*same).exists()


def _to_go(own: Connection, gone: list[ColumnElement[bool]]) -> bool:
    some = select(rejects.c.id).where(*gone).limit(1)
    return own.scalar(some) is not None


def _to_come(own: Connection, connection: str, entity: str) -> bool:
    some = select(_found.c.digest).where(_new(connection, entity)).limit(1)
    return own.scalar(some) is not None


def _insert_new(connection: str, entity: str, run_id: str | None, at: datetime) -> Any:
    source = (
        select(
            *(_found.c[name] for name in _COPIED),
            literal(connection),
            literal(entity),
            literal("check"),
            null() if run_id is None else literal(run_id),
            literal(at, Instant),
        )
        .where(_new(connection, entity))
        .order_by(_found.c.nr)
    )
    columns = [*_COPIED, "connection", "entity", "origin", "run_id", "at"]
    return insert(rejects).from_select(columns, source)


def _select(store: Store, conditions: list[ColumnElement[bool]], limit: int | None) -> list[StoredReject]:
    columns: list[ColumnElement[Any]] = [rejects.c[name] for name in StoredReject.__slots__]
    columns[_ID] = func.coalesce(rejects.c.source_id, NO_ID).label("source_id")
    with store.reading() as own:
        rows = own.execute(select(*columns).where(*conditions).order_by(rejects.c.id).limit(limit))
        return [StoredReject(*row) for row in rows]
