"""Rejected records, with every reason: found by our checks, or refused by the target."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    delete,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    update,
)

from sync_pipeline.store.bulk import chunks
from sync_pipeline.store.engine import Store, insert_into, plain
from sync_pipeline.store.loads import Loads
from sync_pipeline.store.locks import take_turn
from sync_pipeline.store.references import DELETED, NOT_DELIVERED, NOT_THERE, WAITS
from sync_pipeline.store.schema import KEY, REMOVAL, Instant, events, records, rejects
from sync_pipeline.store.scope import EntityRows, Scope, lock_in_order, within

Origin = Literal["check", "target"]

VALUE_LENGTH = 200
"""So much of a value is kept."""

UNKNOWN_OUTCOME = "unknown_outcome"
"""The rule of a record that may or may not have been created, until a person decides."""
NO_ID = "(no id)"
"""Shown and accepted in place of the id of a record that has none."""


@dataclass(frozen=True, slots=True)
class Reject:
    """One reason why one record is rejected."""

    source_id: str | None
    field: str | None
    rule: str
    reason: str
    value: object = None
    partition: str | None = None


@dataclass(frozen=True, slots=True)
class StoredReject:
    """A stored reject."""

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
    ignored_at: datetime | None = None
    ignored_by: str | None = None
    ignored_note: str | None = None


@dataclass(frozen=True, slots=True)
class RejectedRecords:
    """How many records of an entity are rejected, since when, and when one was last found."""

    count: int
    first_at: datetime
    newest_at: datetime


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


class Rejects(EntityRows):
    """The rejected records of one entity of a pair."""

    def replace(
        self,
        scope: Scope,
        found: Iterable[Reject],
        run_id: str | None,
        at: datetime,
        *,
        source_ids: Sequence[str] | None = None,
        read_no: int = 0,
    ) -> int:
        """Make ``found`` the check rejects of ``scope`` - or of exactly ``source_ids`` - and return how many there are.

        What was rejected before for the same reason keeps its row and its time; when nothing differs nothing
        is written. What the target refused is not touched, nor what a newer read than ``read_no`` has found: its rejects,
        its records, its days.
        """
        with self.store.holding() as held:
            with held.reading() as tx:
                _found.create(tx, checkfirst=False)
                total = sum(_take_in(tx, self.store, part) for part in chunks(_rows(found, scope), 5000))
            with held.reading() as tx:
                resolved = self._resolved(scope, source_ids, read_no)
                new = self._new(read_no)
                if not _to_delete(tx, resolved) and not _to_insert(tx, new):
                    return total
            with held.writing() as tx:
                # One run at a time: two that insert the same rows would fail, or deadlock when their order differs.
                take_turn(self.store, tx, f"rejects\n{self.pair}\n{self.entity}")
                tx.execute(delete(rejects).where(*resolved))
                tx.execute(self._insert_new(run_id, at, read_no, new))
        return total

    def show(self, source_id: str) -> list[StoredReject]:
        """Every reason why one record is rejected - or, for ``NO_ID``, all records without an id."""
        named = rejects.c.source_id.is_(None) if source_id == NO_ID else rejects.c.source_id == source_id
        conditions = [*self.of(rejects), named]
        return _select(self.store, conditions, None)

    def ids_of(self, reason: str, origin: Origin | None = None) -> list[str]:
        """The records that are rejected for just this reason, by a check or by the target; those without an id left out."""
        mine = [*self.of(rejects), rejects.c.reason == reason, rejects.c.source_id.isnot(None)]
        mine += [] if origin is None else [rejects.c.origin == origin]
        with self.store.reading() as tx:
            return list(tx.scalars(select(rejects.c.source_id).distinct().where(*mine).order_by(rejects.c.source_id)))

    def ignore(self, source_ids: Iterable[str], by: str, note: str, at: datetime) -> int:
        """Ignore why these records are rejected until it changes: another reason is a new reject. Returns how many reasons."""
        return self._mark(source_ids, {"ignored_at": at, "ignored_by": by, "ignored_note": plain(note)})

    def stop_ignoring(self, source_ids: Iterable[str]) -> int:
        """Ignore it no more."""
        return self._mark(source_ids, {"ignored_at": None, "ignored_by": None, "ignored_note": None})

    def _mark(self, source_ids: Iterable[str], values: dict[str, Any]) -> int:
        count = 0
        is_other = rejects.c.ignored_at.isnot(None) if values["ignored_at"] is None else rejects.c.ignored_at.is_(None)
        with self.store.writing() as tx:
            for some in chunks(source_ids):
                mine = [*self.of(rejects), rejects.c.source_id.in_(some), is_other]
                count += tx.execute(update(rejects).where(*mine).values(values)).rowcount
        return count

    def origins(self, source_ids: Iterable[str]) -> dict[str, set[str]]:
        """What rejected each of these records, by id: a check, the target, or both; the others are not rejected."""
        found: dict[str, set[str]] = {}
        with self.store.reading() as tx:
            for some in chunks(list(source_ids)):
                named = [*self.of(rejects), rejects.c.source_id.in_(some)]
                for source_id, origin in tx.execute(select(rejects.c.source_id, rejects.c.origin).where(*named)):
                    found.setdefault(source_id, set()).add(origin)
        return found

    def differing(self, source_ids: Sequence[str], found: Iterable[Reject], besides: Sequence[str]) -> set[str]:
        """Those of these records whose open rejects by checks are not just ``found``, apart from the rules ``besides``."""
        new = {(row["source_id"], row["digest"]) for row in _rows(found, None) if row["rule"] not in besides}
        stored: set[tuple[str, str]] = set()
        with self.store.reading() as tx:
            for some in chunks(source_ids):
                named = [*self._by_checks(), rejects.c.source_id.in_(some), rejects.c.rule.not_in(besides)]
                stored.update(
                    (row[0], row[1]) for row in tx.execute(select(rejects.c.source_id, rejects.c.digest).where(*named))
                )
        return {source_id for source_id, _ in new ^ stored}

    def rejected_by(self, rule: str) -> list[str]:
        """The records the target refused under this rule."""
        conditions = [*self.of(rejects), rejects.c.origin == "target", rejects.c.rule == rule]
        with self.store.reading() as tx:
            return list(tx.scalars(select(rejects.c.source_id).where(*conditions).order_by(rejects.c.source_id)))

    def to_check_again(self, references: Sequence[tuple[str, str]], limit: int) -> list[str]:
        """Rejected and waiting records whose reference is no longer what they wait for; none with an open event already.

        ``references`` are pairs of a field and the entity it refers to.
        """
        due = or_(*(self._is_due(field, other) for field, other in references))
        same = [getattr(events.c, name) == getattr(rejects.c, name) for name in ("connection", "entity", "source_id")]
        statement = (
            select(rejects.c.source_id)
            .distinct()
            .where(*self.of(rejects), rejects.c.origin == "check", due)
            .where(~exists().where(*same, events.c.closed_at.is_(None)))
            .order_by(rejects.c.source_id)
            .limit(limit)
        )
        with self.store.reading() as tx:
            return list(tx.scalars(statement))

    def drop_obsolete(self) -> None:
        """Delete the rejects about states that are no longer wanted."""
        with self.store.reading() as tx:
            if not self._any_obsolete(tx):
                return
        with self.store.writing() as tx:
            self._forget_obsolete(tx)

    def forget_of_target(self, tx: Connection, source_ids: Iterable[str]) -> None:
        """Delete what the target returned about these records: it no longer applies."""
        of_target = self._of_target()
        if not tx.scalar(select(exists().where(*of_target))):
            return  # nearly always: spares a lookup for each delivered record
        for some in chunks(source_ids):
            tx.execute(delete(rejects).where(*of_target, rejects.c.source_id.in_(some)))

    def _forget_obsolete(self, tx: Connection) -> None:
        """Drop the target's rejects of states that are no longer wanted: deleted, excluded, changed, or delivered by now.

        Their ``refused_hash`` is removed, too: should such a state be wanted again, it is offered again.
        """
        obsolete = select(rejects.c.source_id).where(*self._of_target(), ~_still_applies())
        if not (keys := list(tx.scalars(obsolete.distinct()))):
            return
        for some in chunks(sorted(keys)):
            mine = [*self.of(records), records.c.source_id.in_(some)]
            lock_in_order(tx, mine)
            tx.execute(update(records).where(*mine).values(refused_hash=None))
        self.forget_of_target(tx, keys)

    def _any_obsolete(self, tx: Connection) -> bool:
        """Whether ``_forget_obsolete`` has anything to do; a read, so that no lock is taken for nothing."""
        return bool(tx.scalar(select(exists().where(*self._of_target(), ~_still_applies()))))

    @property
    def _loads(self) -> Loads:
        return Loads(self.store, self.pair, self.entity)

    def _of_target(self) -> list[ColumnElement[bool]]:
        return [*self.of(rejects), rejects.c.origin == "target"]

    def _by_checks(self) -> list[ColumnElement[bool]]:
        return [*self.of(rejects), rejects.c.origin == "check"]

    def _resolved(self, scope: Scope, source_ids: Sequence[str] | None, read_no: int) -> list[ColumnElement[bool]]:
        again = select(_found.c.digest).where(_found.c.digest == rejects.c.digest).exists()
        checked = within(rejects.c.partition, scope) if source_ids is None else rejects.c.source_id.in_(source_ids)
        older = [rejects.c.read_no <= read_no, ~self._loads.loaded_later(rejects.c.partition, read_no)]
        return [*self._by_checks(), checked, *older, ~again]

    def _new(self, read_no: int) -> list[ColumnElement[bool]]:
        same = [*self._by_checks(), rejects.c.digest == _found.c.digest]
        record = [*self.of(records), records.c.source_id == _found.c.source_id]
        read_later = select(records.c.source_id).where(*record, records.c.read_no > read_no).exists()
        day_later = self._loads.loaded_later(_found.c.partition, read_no)
        return [~select(rejects.c.id).where(*same).exists(), ~read_later, ~day_later]

    def _insert_new(self, run_id: str | None, at: datetime, read_no: int, new: list[ColumnElement[bool]]) -> Any:
        source = (
            select(
                *(_found.c[name] for name in _COPIED),
                literal(self.pair),
                literal(self.entity),
                literal("check"),
                null() if run_id is None else literal(run_id),
                literal(at, Instant),
                literal(read_no),
            )
            .where(*new)
            .order_by(_found.c.nr)
        )
        columns = [*_COPIED, "connection", "entity", "origin", "run_id", "at", "read_no"]
        return insert(rejects).from_select(columns, source)

    def _is_due(self, field: str, other: str) -> ColumnElement[bool]:
        """Whether the reference is no longer rejected, or exists by now, or was rejected under the retired rule."""
        refused, live = rejects.alias(), records.alias()
        rejected = exists().where(
            refused.c.connection == self.pair, refused.c.entity == other, refused.c.source_id == rejects.c.value
        )
        there = exists().where(
            live.c.connection == self.pair,
            live.c.entity == other,
            live.c.source_id == rejects.c.value,
            live.c.deleted_at.is_(None),
        )
        whole = func.length(rejects.c.value) < VALUE_LENGTH  # of a longer one only the beginning is known
        waits = or_(and_(rejects.c.rule == NOT_DELIVERED, ~rejected), and_(rejects.c.rule == NOT_THERE, there))
        return and_(rejects.c.field == field, or_(rejects.c.rule == DELETED, and_(whole, waits)))


def list_rejects(
    store: Store,
    pair: str,
    *,
    entity: str | Collection[str] | None = None,
    origin: Origin | None = None,
    run_id: str | None = None,
    limit: int = 100,
    after: int = 0,
) -> list[StoredReject]:
    """Open rejects (of one entity, or of these), oldest first, from the id ``after`` on."""
    conditions = [rejects.c.connection == pair, rejects.c.id > after]
    if entity is not None:
        conditions.append(rejects.c.entity.in_([entity] if isinstance(entity, str) else entity))
    for column, wanted in ((rejects.c.origin, origin), (rejects.c.run_id, run_id)):
        if wanted is not None:
            conditions.append(column == wanted)
    return _select(store, conditions, limit)


class RejectGroup(NamedTuple):
    """The rejects of one entity with one reason."""

    entity: str
    origin: str
    rule: str
    field: str | None
    reason: str
    records: int
    """How many of them."""
    since: datetime
    """When the first of them was rejected."""


def is_in_state(state: str) -> list[ColumnElement[bool]]:
    """Rejects that are ``ignored``, those ``waiting`` for the record they refer to, or else all that are neither."""
    if state == "ignored":
        return [rejects.c.ignored_at.isnot(None)]
    waits = rejects.c.rule.in_(WAITS)
    return [rejects.c.ignored_at.is_(None), waits if state == "waiting" else ~waits]


def group_rejects(
    store: Store, pair: str, *, entities: Sequence[str], state: str = "rejected", limit: int = 100
) -> list[RejectGroup]:
    """The rejects of these entities in one of the states of ``is_in_state`` by reason, the most frequent first."""
    key = (rejects.c.entity, rejects.c.origin, rejects.c.rule, rejects.c.field, rejects.c.reason)
    figures = (func.count(), func.min(rejects.c.at, type_=Instant()))
    mine = (rejects.c.connection == pair, rejects.c.entity.in_(entities), *is_in_state(state))
    statement = select(*key, *figures).where(*mine).group_by(*key).order_by(figures[0].desc(), *key).limit(limit)
    with store.reading() as tx:
        return [RejectGroup(*row) for row in tx.execute(statement)]


def count_rejects(store: Store, pair: str, rules: Sequence[str] | None = None) -> dict[str, int]:
    """How many records of each entity are rejected (under these rules); a record counts once, whatever its reasons."""
    ids = func.count(rejects.c.source_id.distinct())
    nameless = func.count().filter(rejects.c.source_id.is_(None))
    mine = [rejects.c.connection == pair, *([] if rules is None else [rejects.c.rule.in_(rules)])]
    statement = select(rejects.c.entity, ids + nameless).where(*mine)
    with store.reading() as tx:
        return {row[0]: row[1] for row in tx.execute(statement.group_by(rejects.c.entity))}


def rejected_records(store: Store, pair: str, *, without: Sequence[str]) -> dict[str, RejectedRecords]:
    """The rejected records of each entity, except those ignored, or rejected only under the rules ``without``."""
    ids = func.count(rejects.c.source_id.distinct())
    nameless = func.count().filter(rejects.c.source_id.is_(None))
    mine = [rejects.c.connection == pair, rejects.c.rule.not_in(without), rejects.c.ignored_at.is_(None)]
    columns = (rejects.c.entity, ids + nameless, func.min(rejects.c.at), func.max(rejects.c.at))
    with store.reading() as tx:
        rows = tx.execute(select(*columns).where(*mine).group_by(rejects.c.entity))
        return {entity: RejectedRecords(*figures) for entity, *figures in rows}


def digest(*parts: object) -> str:
    """One short text that is equal when all parts are."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def shown(value: object) -> str | None:
    """A value as a person may read it: text, short, and storable everywhere."""
    if value is None:
        return None
    words = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return plain(words[:VALUE_LENGTH])


def _rows(found: Iterable[Reject], scope: Scope) -> Iterator[dict[str, Any]]:
    """Records without an id cannot be distinguished, so equal ones are numbered."""
    nameless: Counter[str] = Counter()
    for nr, reject in enumerate(found):
        # A record without a day belongs to the read that found it: the first day's next read checks it again.
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


def _take_in(tx: Connection, store: Store, rows: list[dict[str, Any]]) -> int:
    tx.execute(insert_into(store, _found).on_conflict_do_nothing(), rows)
    return len(rows)


def _to_delete(tx: Connection, resolved: list[ColumnElement[bool]]) -> bool:
    some = select(rejects.c.id).where(*resolved).limit(1)
    return tx.scalar(some) is not None


def _to_insert(tx: Connection, new: list[ColumnElement[bool]]) -> bool:
    some = select(_found.c.digest).where(*new).limit(1)
    return tx.scalar(some) is not None


def _still_applies() -> ColumnElement[bool]:
    """Whether the state, or the removal, that the target refused is still the wanted one.

    What may have been created is for a person to settle, even if its source was deleted since: it may come back.
    """
    wanted = and_(
        records.c.deleted_at.is_(None),
        records.c.excluded_rule.is_(None),
        records.c.refused_hash == records.c.fields_hash,
        records.c.delivered_hash.is_distinct_from(records.c.fields_hash),
    )
    unwanted = and_(
        records.c.deleted_at.isnot(None), records.c.refused_hash == REMOVAL, records.c.delivered_hash.isnot(None)
    )
    unsettled = and_(
        rejects.c.rule == UNKNOWN_OUTCOME, records.c.refused_hash.isnot(None), records.c.target_id.is_(None)
    )
    same = [getattr(records.c, name) == getattr(rejects.c, name) for name in ("connection", "entity", "source_id")]
    return select(records.c.source_id).where(*same, or_(wanted, unwanted, unsettled)).correlate(rejects).exists()


def _select(store: Store, conditions: list[ColumnElement[bool]], limit: int | None) -> list[StoredReject]:
    columns: list[ColumnElement[Any]] = [rejects.c[name] for name in StoredReject.__slots__]
    columns[_ID] = func.coalesce(rejects.c.source_id, NO_ID).label("source_id")
    with store.reading() as tx:
        rows = tx.execute(select(*columns).where(*conditions).order_by(rejects.c.id).limit(limit))
        return [StoredReject(*row) for row in rows]
