"""Searching records by id, e-mail address, beginning of the label, and state: a page at a time, counted, whatever their number."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple, cast, get_args

from sqlalchemy import ColumnElement, Select, and_, false, func, or_, select

from sync_pipeline.store.bulk import chunks
from sync_pipeline.store.engine import Store
from sync_pipeline.store.records import KNOWN_COLUMNS, TOMBSTONE, Known, known, pending_delete, pending_upsert
from sync_pipeline.store.references import WAITS
from sync_pipeline.store.rejects import NO_ID, is_in_state
from sync_pipeline.store.schema import UNSETTLED, deliveries, person_facts, project_facts, records, rejects, syncs
from sync_pipeline.store.syncs import outside_dagster

State = Literal["in_step", "pending", "rejected", "ignored", "waiting", "excluded", "unconfirmed", "deleted"]
STATES: tuple[State, ...] = get_args(State)
OF_REJECTS = ("rejected", "ignored", "waiting")
PAGE = 50
COUNTED = 2_000
"""More than so many are not counted, and not paged through, unless that is asked for."""
LONGEST = 250
ACTIONS: Mapping[str, tuple[str, ...]] = {
    "created": ("create", "restore"),
    "adopted": ("adopt",),
    "updated": ("update",),
    "deleted": ("delete", "archive"),
}
"""What a run did with a record, and the deliveries that are called so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordQuery:
    """Which records are wanted; all of these entities by default."""

    entities: Sequence[str]
    q: str = ""
    """An id at source or target, an e-mail address, or the beginning of a label."""
    state: str = ""
    reason: str = ""
    """Only with a state of rejects: exactly this reason."""
    run: str = ""
    """Only what this run delivered or rejected."""
    action: str = ""
    """Of a run: created, adopted, updated, deleted or rejected."""
    emails: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Entity to its fields that hold e-mail addresses."""


class RecordRow(NamedTuple):
    """One record that was found."""

    entity: str
    source_id: str
    label: str | None
    state: State
    reason: str
    """Why it is rejected, ignored, waiting or excluded; "" otherwise."""
    target_id: str | None
    at: datetime | None
    """When its last change was read, or when it was rejected first."""
    run_id: str | None = None
    """The run that rejected it."""


class RecordsFound(NamedTuple):
    """A page of records."""

    rows: list[RecordRow]
    total: int
    """How many there are, as far as they were counted."""


_Key = tuple[str, str]


def search_records(
    store: Store, pair: str, query: RecordQuery, *, offset: int = 0, limit: int = PAGE, most: int = COUNTED
) -> RecordsFound:
    """A page of the records of a pair, from the ``offset``-th on; at most one more than ``most`` are counted."""
    keys: list[_Key] = []
    total = 0
    with store.reading() as tx:
        for statement in _statements(store, pair, query):
            some = statement.limit(most + 1 - total).subquery()
            count = int(tx.scalar(select(func.count()).select_from(some)) or 0)
            first = offset - total
            if count > first and len(keys) < limit:
                page = statement.offset(max(first, 0)).limit(limit - len(keys))
                keys += [(row[0], row[1]) for row in tx.execute(page)]
            total += count
            if total > most or (count and query.q and _is_exact(statement)):
                break
    return RecordsFound(rows_of(store, pair, keys), total)


def rows_of(store: Store, pair: str, keys: Sequence[_Key]) -> list[RecordRow]:
    """What is stored of these records, in their order."""
    found: dict[_Key, RecordRow] = {}
    for entity in dict.fromkeys(entity for entity, _ in keys):
        ids = [source_id for name, source_id in keys if name == entity]
        found |= {(entity, row.source_id): row for row in _rows(store, pair, entity, ids)}
    return [found[key] for key in keys if key in found]


def labels_of(store: Store, pair: str, keys: Iterable[_Key]) -> dict[_Key, str]:
    """The labels of these records, as far as they are known."""
    found = rows_of(store, pair, list(dict.fromkeys(keys)))
    return {(row.entity, row.source_id): row.label for row in found if row.label}


def linked_to(
    store: Store, pair: str, entities: Collection[str], target_ids: Iterable[str]
) -> dict[str, tuple[str, str]]:
    """Entity and source id of the record that is linked to each of these ids at its target; unknown ids are left out."""
    wanted = select(records.c.target_id, records.c.entity, records.c.source_id)
    mine = (records.c.connection == pair, records.c.entity.in_(entities))
    found: dict[str, tuple[str, str]] = {}
    with store.reading() as tx:
        for some in chunks(target_ids):
            rows = tx.execute(wanted.where(*mine, records.c.target_id.in_(some)))
            found.update((target_id, (entity, source_id)) for target_id, entity, source_id in rows)
    return found


def state_of(record: Known | None, why: Sequence[Any]) -> State:
    """The state of a record with these rejects, which have ``rule`` and ``ignored_at``."""
    if why:
        if all(one.ignored_at is not None for one in why):
            return "ignored"
        return "waiting" if all(one.rule in WAITS for one in why if one.ignored_at is None) else "rejected"
    if record is None or record.deleted_at is not None:
        return "deleted"
    if record.excluded_rule is not None:
        return "excluded"
    if record.unconfirmed_at is not None:
        return "unconfirmed"
    return "in_step" if record.delivered_hash == record.fields_hash else "pending"


def _statements(store: Store, pair: str, query: RecordQuery) -> Iterator[Select[Any]]:
    """Selects of entity and source id, in the order in which they are shown; a record is found by one of them."""
    if query.run:
        yield _of_run(pair, query)
    elif query.state in OF_REJECTS:
        yield _of_rejects(pair, query)
    elif not query.q:
        for entity in query.entities:
            yield _select(pair, entity, *_in_state(store, query.state)).order_by(records.c.source_id)
    else:
        yield from _named(store, pair, query)


def _named(store: Store, pair: str, query: RecordQuery) -> Iterator[Select[Any]]:
    state = _in_state(store, query.state)
    for entity in query.entities:
        is_it = or_(records.c.source_id == query.q, records.c.target_id == query.q)
        yield _exact(_select(pair, entity, is_it, *state))
    if "@" in query.q:
        for entity, fields in query.emails.items():
            if entity in query.entities:
                yield _exact(_select(pair, entity, or_(*_holds(store, fields, query.q)), *state))
    if not query.state:
        yield _only_rejected(pair, query)
    for entity in query.entities:
        for words in _spellings(query.q):
            # What is unsettled has an index of its own, and is few.
            is_indexed = query.state in ("", "in_step")
            label = records.c.label if is_indexed else func.coalesce(records.c.label, "")
            yield _select(pair, entity, *_begins(label, words), *state).order_by(label)


def _select(pair: str, entity: str, *conditions: ColumnElement[bool]) -> Select[Any]:
    mine = (records.c.connection == pair, records.c.entity == entity, *conditions)
    return select(records.c.entity, records.c.source_id).where(*mine)


def _exact(statement: Select[Any]) -> Select[Any]:
    return statement.execution_options(is_exact=True)


def _is_exact(statement: Select[Any]) -> bool:
    """Whether what it finds is what was meant, so that nothing else is looked for."""
    return bool(statement.get_execution_options().get("is_exact"))


def _holds(store: Store, fields: Sequence[str], email: str) -> list[ColumnElement[bool]]:
    """Whether one of these fields has just this value, in the canonical JSON of the fields."""
    find = func.instr if store.dialect == "sqlite" else func.strpos
    texts = [
        f"{json.dumps(name)}:{json.dumps(word, ensure_ascii=False)}"
        for name in fields
        for word in {email, email.lower()}
    ]
    return [find(records.c.fields, text) > 0 for text in texts]


def _spellings(words: str) -> list[str]:
    """As it was typed, and in the usual ways to write it: labels are indexed by their exact letters."""
    return list(dict.fromkeys((words, words.lower(), words.capitalize(), words.title(), words.upper())))


def _begins(label: ColumnElement[Any], words: str) -> list[ColumnElement[bool]]:
    return [label >= words, label < words + "\U0010ffff"]


def _in_state(store: Store, state: str) -> list[ColumnElement[bool]]:
    """The conditions of a state of stored records."""
    column = records.c
    live = and_(column.deleted_at.is_(None), column.excluded_rule.is_(None))
    conditions: dict[str, list[ColumnElement[bool]]] = {
        "in_step": [live, column.unconfirmed_at.is_(None), column.delivered_hash == column.fields_hash],
        "pending": [or_(and_(*pending_upsert()), and_(*pending_delete()))],
        "excluded": [column.excluded_rule.isnot(None)],
        "unconfirmed": [live, column.unconfirmed_at.isnot(None)],
        "deleted": [column.deleted_at.isnot(None), column.fields_hash != TOMBSTONE],
        "": [column.fields_hash != TOMBSTONE],
    }
    found = conditions.get(state, [false()])
    return found if state in ("in_step", "") else [cast("ColumnElement[bool]", UNSETTLED[store.dialect]), *found]


def _of_rejects(pair: str, query: RecordQuery) -> Select[Any]:
    named = func.coalesce(rejects.c.source_id, NO_ID)
    statement = select(rejects.c.entity, named).distinct().where(rejects.c.connection == pair)
    statement = statement.where(rejects.c.entity.in_(query.entities), *is_in_state(query.state))
    if query.reason:
        statement = statement.where(rejects.c.reason == query.reason)
    if query.q:
        same = (records.c.connection == pair, records.c.entity == rejects.c.entity)
        called = select(records.c.source_id).where(*same, records.c.source_id == rejects.c.source_id)
        words = or_(*(and_(*_begins(records.c.label, words)) for words in _spellings(query.q)))
        statement = statement.where(
            or_(rejects.c.source_id == query.q, rejects.c.value == query.q, called.where(words).exists())
        )
    return statement.order_by(rejects.c.entity, named)


def _only_rejected(pair: str, query: RecordQuery) -> Select[Any]:
    """Records that were rejected before anything of them was stored: by id, by the wrong value, or by the name in the facts."""

    def beside(table: Any, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
        same = [table.c.entity == rejects.c.entity, table.c.source_id == rejects.c.source_id]
        return select(table.c.source_id).where(table.c.connection == pair, *same, *conditions).exists()

    names = [
        beside(table, or_(*(and_(*_begins(table.c.name, words)) for words in _spellings(query.q))))
        for table in (person_facts, project_facts)
    ]
    is_it = or_(rejects.c.source_id == query.q, rejects.c.value == query.q, *names)
    key = (rejects.c.entity, rejects.c.source_id)
    mine = (rejects.c.connection == pair, rejects.c.entity.in_(query.entities), rejects.c.source_id.isnot(None))
    return select(*key).distinct().where(*mine, ~beside(records), is_it).order_by(*key)


def _of_run(pair: str, query: RecordQuery) -> Select[Any]:
    if query.action == "rejected":
        named = func.coalesce(rejects.c.source_id, NO_ID)
        found = select(rejects.c.entity, named).distinct().where(rejects.c.run_id == query.run)
        return found.where(rejects.c.connection == pair, rejects.c.entity.in_(query.entities)).order_by(
            rejects.c.entity, named
        )
    number = outside_dagster(query.run)
    is_it = syncs.c.run_id == query.run if number is None else and_(syncs.c.id == number, syncs.c.run_id.is_(None))
    of_run = select(syncs.c.id).where(is_it)
    mine = [deliveries.c.sync_id.in_(of_run), deliveries.c.connection == pair, deliveries.c.phase == "outcome"]
    mine += [deliveries.c.entity.in_(query.entities)]
    if query.action in ACTIONS:
        mine += [deliveries.c.kind.in_(ACTIONS[query.action]), deliveries.c.outcome == "delivered"]
    key = (deliveries.c.entity, deliveries.c.source_id)
    return select(*key).distinct().where(*mine).order_by(*key)


def _rows(store: Store, pair: str, entity: str, ids: Sequence[str]) -> list[RecordRow]:
    mine = [records.c.connection == pair, records.c.entity == entity, records.c.source_id.in_(ids)]
    why: dict[str, list[Any]] = {}
    with store.reading() as tx:
        stored = {row.source_id: row for row in map(known, tx.execute(select(*KNOWN_COLUMNS).where(*mine)))}
        for row in tx.execute(_rejects_of(pair, entity, ids)):
            why.setdefault(row.source_id, []).append(row)
        nameless = [one for one in ids if (record := stored.get(one)) is None or record.label is None]
        names = {row[0]: row[1] for row in tx.execute(_names(pair, entity, nameless))} if nameless else {}
    return [_row(entity, source_id, stored.get(source_id), why.get(source_id, []), names) for source_id in ids]


def _rejects_of(pair: str, entity: str, ids: Collection[str]) -> Select[Any]:
    named = func.coalesce(rejects.c.source_id, NO_ID).label("source_id")
    is_one: ColumnElement[bool] = rejects.c.source_id.in_(ids)
    if NO_ID in ids:
        is_one = or_(is_one, rejects.c.source_id.is_(None))
    columns = (named, rejects.c.rule, rejects.c.reason, rejects.c.ignored_at, rejects.c.at, rejects.c.run_id)
    mine = (rejects.c.connection == pair, rejects.c.entity == entity, is_one)
    return select(*columns).where(*mine).order_by(rejects.c.id)


def _names(pair: str, entity: str, ids: Collection[str]) -> Select[Any]:
    """Names from the facts, for records that are rejected and therefore stored nowhere else."""
    parts = [
        select(table.c.source_id, table.c.name).where(
            table.c.connection == pair, table.c.entity == entity, table.c.source_id.in_(ids), table.c.name.isnot(None)
        )
        for table in (person_facts, project_facts)
    ]
    return parts[0].union_all(parts[1])  # type: ignore[return-value]  # a compound select is executed alike


def _row(entity: str, source_id: str, record: Known | None, why: Sequence[Any], names: Mapping[str, str]) -> RecordRow:
    label = (record.label if record is not None else None) or names.get(source_id)
    reasons = " ".join(one.reason for one in why)
    return RecordRow(
        entity,
        source_id,
        label,
        state_of(record, why),
        reasons or (record.excluded_rule if record is not None else None) or "",
        record.target_id if record is not None else None,
        record.observed_at if record is not None else why[0].at if why else None,
        why[0].run_id if why else None,
    )
