"""What was sent and how it was answered: the state of each record, the audit of every write, and open intents.

An intent makes a create safe that must not happen twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, Connection, bindparam, func, insert, select, update

from sync_pipeline.store.approvals import Approvals
from sync_pipeline.store.bulk import chunks, driver_time, execute_together
from sync_pipeline.store.claims import Claims, Sending, taken_over
from sync_pipeline.store.engine import Store, plain
from sync_pipeline.store.rejects import Rejects, digest, shown
from sync_pipeline.store.schema import REMOVAL, WIDENED, deliveries, records, rejects, syncs
from sync_pipeline.store.scope import EntityRows, draw_in, lock_in_order

Kind = Literal["create", "adopt", "update", "restore", "delete", "archive"]
Outcome = Literal["delivered", "refused", "failed"]

REMOVALS = ("delete", "archive")
AS_IT_IS = "as it is"
"""Instead of a hash: leave the stored hash of the target unchanged."""

_DELIVERED = """
    WITH sent (source_id, target_id, fields_hash) AS ({rows})
    UPDATE records
    SET {link}delivered_hash = sent.fields_hash, delivered_at = ?, delivered_no = ?,
        refused_hash = NULL, claimed_by = NULL, delivered_fields = NULL,
        moved_from = CASE WHEN records.fields_hash <> sent.fields_hash THEN {widened} END
    FROM sent
    WHERE connection = ? AND entity = ? AND records.source_id = sent.source_id AND {own}
"""
# A column that is set costs its index a write for each row, also where the value is the same.
_LINKED = {"{link}": "", "{linked}": "THEN 1 ELSE 0"}
_NEWLY_LINKED = {"{link}": "target_id = sent.target_id, ", "{linked}": "THEN 0 ELSE 1"}
_OURS = "COALESCE(claimed_by, '') = ?", "CASE WHEN records.target_id = sent.target_id {linked} END = 1"
_OWN = {
    # Or SQLite would, for each condition more, walk all records of the entity.
    "sqlite": " AND ".join(f"likelihood({condition}, 1.0)" for condition in _OURS),
    "postgresql": " AND ".join(_OURS),
}
_APPEND = """
    WITH answered (source_id, kind, target_id, fields_hash, reason, changes) AS ({rows})
    INSERT INTO deliveries
        (source_id, kind, target_id, fields_hash, reason, changes, connection, entity, phase, outcome, sync_id, at)
    SELECT answered.*, ?, ?, 'outcome', ?, ?, ? FROM answered
"""


class Delivered(NamedTuple):
    """The target has the record in the state ``fields_hash``."""

    source_id: str
    target_id: str
    fields_hash: str
    kind: Kind
    changes: str | None = None
    """JSON of the changed fields, each with its values before and after; None where that is unknown."""


class Removed(NamedTuple):
    """The target has deleted or archived the record. An archived one keeps its link, to be restored."""

    source_id: str
    target_id: str | None
    kind: Kind


class Refused(NamedTuple):
    """A record that the target rejects."""

    source_id: str
    fields_hash: str
    kind: Kind
    reason: str
    field: str | None = None
    rule: str = "refused_by_target"
    value: object = None
    partition: str | None = None
    delivered_hash: str | None = AS_IT_IS
    """What the target still has: the hash known before the write was sent."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A write that was about to be sent and has no recorded answer."""

    id: int
    source_id: str
    kind: str
    attempted: dict[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """One line of the audit."""

    id: int
    entity: str
    source_id: str
    target_id: str | None
    kind: str
    phase: str
    intent_id: int | None
    outcome: str | None
    fields_hash: str | None
    reason: str | None
    sync_id: int | None
    at: datetime


class Deliveries(EntityRows):
    """Writes to the target, noted before they are sent and when they are answered."""

    @property
    def rejects(self) -> Rejects:
        """The reasons why records are rejected."""
        return Rejects(self.store, self.pair, self.entity)

    @property
    def approvals(self) -> Approvals:
        """What a person was asked about."""
        return Approvals(self.store, self.pair, self.entity)

    @property
    def claims(self) -> Claims:
        """Which run is writing which records."""
        return Claims(self.store, self.pair, self.entity)

    def mark_sending(self, rows: Sequence[Sending]) -> set[str]:
        """Note what is about to be sent, before it is: what is at the target is unknown until it has answered.

        Returns the records that may be sent now; those that another run is writing are left unchanged.
        """
        with self.store.writing(durable=True) as tx:
            free = self.claims.owned(tx, [row.source_id for row in rows], or_free=True)
            self.claims.mark(tx, [row for row in rows if row.source_id in free])
        return free

    def mark_delivered(self, rows: Sequence[Delivered], sync_id: int | None, at: datetime) -> set[str]:
        """Note acknowledged writes, and each in the audit, in one transaction.

        Returns the noted records: a record that another run has claimed since is for that run to note.
        """
        if not rows:
            return set()
        with self.store.writing() as tx:
            noted = self._set_delivered(tx, rows, at)
            self._append_outcomes(tx, "delivered", [row for row in rows if row.source_id in noted], sync_id, at)
        return noted

    def mark_removed(self, rows: Sequence[Removed], sync_id: int | None, at: datetime) -> set[str]:
        """Note acknowledged deletes and archivings like ``mark_delivered``."""
        if not rows:
            return set()
        with self.store.writing() as tx:
            owned = self.claims.owned(tx, [row.source_id for row in rows])
            rows = [row for row in rows if row.source_id in owned]
            removed = update(records).where(*self._one())
            removed = removed.values(
                delivered_hash=None,
                delivered_at=at,
                delivered_no=draw_in(tx),
                refused_hash=None,
                moved_from=None,
                claimed_by=None,
                delivered_fields=None,
            )
            for statement, kinds in ((removed, ("archive",)), (removed.values(target_id=None), ("delete",))):
                if keys := [{"key": row.source_id} for row in rows if row.kind in kinds]:
                    tx.execute(statement, keys)
            self.rejects.forget_of_target(tx, [row.source_id for row in rows])
            self.approvals.use_lines(tx, [row.source_id for row in rows], at)
            self._append_outcomes(tx, "delivered", rows, sync_id, at)
        return owned

    def mark_refused(
        self, rows: Sequence[Refused], sync_id: int | None, at: datetime, run_id: str | None = None
    ) -> set[str]:
        """Reject refused records with the target's reason, and note each in the audit, like ``mark_delivered``."""
        if not rows:
            return set()
        with self.store.writing() as tx:
            owned = self.claims.owned(tx, [row.source_id for row in rows])
            rows = [row for row in rows if row.source_id in owned]
            if rows:
                self._set_refused(tx, rows, run_id, at)
                self._append_outcomes(tx, "refused", rows, sync_id, at)
        return owned

    def intend(
        self, source_id: str, kind: Kind, attempted: dict[str, Any], at: datetime, sync_id: int | None = None
    ) -> int:
        """Write down what is about to be sent; it is committed when this returns.

        Raises LockLost when another run is writing the record.
        """
        row = {
            "connection": self.pair,
            "entity": self.entity,
            "source_id": source_id,
            "kind": kind,
            "phase": "intent",
            "attempted": json.dumps(attempted, ensure_ascii=True),
            "sync_id": sync_id,
            "at": at,
        }
        with self.store.writing(durable=True) as tx:
            if not self._is_ours(tx, source_id):
                raise taken_over(self.entity, source_id)
            return int(tx.execute(insert(deliveries).returning(deliveries.c.id), row).scalar_one())

    def conclude(
        self,
        intent_id: int,
        outcome: Outcome,
        at: datetime,
        *,
        target_id: str | None = None,
        fields_hash: str | None = None,
        reason: str | None = None,
        run_id: str | None = None,
    ) -> bool:
        """Write down how an intent ended and what that means for its record, in one transaction; returns whether that was done.

        ``delivered`` links the record to ``target_id`` with ``fields_hash`` delivered; ``refused`` rejects it;
        ``failed`` only closes the intent. Concluding twice changes nothing, and once this run has lost its claim to
        the record, the intent is for the next one to conclude.
        """
        with self.store.writing() as tx:
            intent = tx.execute(
                select(deliveries).where(*self.of(deliveries), deliveries.c.id == intent_id).with_for_update()
            ).one()
            if tx.scalar(select(deliveries.c.id).where(deliveries.c.intent_id == intent_id)):
                return False
            if not self._is_ours(tx, intent.source_id):
                return False
            if outcome == "delivered" and target_id is not None and fields_hash is not None:
                done = Delivered(intent.source_id, target_id, fields_hash, intent.kind)
                if not self._set_delivered(tx, [done], at) and self._is_stored(tx, intent.source_id):
                    return False
            elif outcome == "refused" and fields_hash is not None:
                refused = Refused(intent.source_id, fields_hash, intent.kind, reason or "refused")
                self._set_refused(tx, [refused], run_id, at)
            self._append_conclusion(tx, intent, outcome, at, target_id, fields_hash, reason)
            return True

    def open_intents(self) -> list[Intent]:
        """Intents without an outcome, oldest first: each is to be looked up before anything else is sent."""
        outcome = deliveries.alias("outcome")
        statement = (
            select(*(deliveries.c[name] for name in Intent.__slots__))
            .where(
                *self.of(deliveries),
                deliveries.c.phase == "intent",
                ~select(outcome.c.id).where(outcome.c.intent_id == deliveries.c.id).exists(),
            )
            .order_by(deliveries.c.id)
        )
        with self.store.reading() as tx:
            rows = tx.execute(statement).all()
        return [Intent(row.id, row.source_id, row.kind, json.loads(row.attempted), row.at) for row in rows]

    def attempts(self, source_id: str) -> list[Intent]:
        """Every intent ever written for a record, newest first: the names it may exist under."""
        statement = (
            select(*(deliveries.c[name] for name in Intent.__slots__))
            .where(
                *self.of(deliveries),
                deliveries.c.phase == "intent",
                deliveries.c.source_id == source_id,
            )
            .order_by(deliveries.c.id.desc())
        )
        with self.store.reading() as tx:
            rows = tx.execute(statement).all()
        return [Intent(row.id, row.source_id, row.kind, json.loads(row.attempted), row.at) for row in rows]

    def _is_ours(self, tx: Connection, source_id: str) -> bool:
        """Whether no other run is writing the record, which need not be stored."""
        mine = [*self.of(records), records.c.source_id == source_id]
        return tx.scalar(select(records.c.source_id).where(*mine, ~self.claims.is_free())) is None

    def _is_stored(self, tx: Connection, source_id: str) -> bool:
        mine = [*self.of(records), records.c.source_id == source_id]
        return tx.scalar(select(records.c.source_id).where(*mine)) is not None

    def _set_delivered(self, tx: Connection, rows: Sequence[Delivered], at: datetime) -> set[str]:
        """Note the hash that was sent, which need not be the one at the target by now."""
        if self.store.dialect == "postgresql":  # before a number is drawn, as by all who do both
            for some in chunks(sorted(row.source_id for row in rows)):
                lock_in_order(tx, [*self.of(records), records.c.source_id.in_(some)])
        number = draw_in(tx)
        fixed = (driver_time(tx, at), number, self.pair, self.entity, self.claims.own)
        noted = set()
        for part in chunks(rows):
            noted |= self._set_delivered_of(tx, part, fixed, number)
        self.rejects.forget_of_target(tx, sorted(noted))
        return noted

    def _set_delivered_of(
        self, tx: Connection, rows: Sequence[Delivered], fixed: tuple[Any, ...], number: int
    ) -> set[str]:
        """Of some records; those that were noted are the ones that carry the number, which no other transaction has."""
        sent, left = [row[:3] for row in rows], len(rows)
        for words in (_LINKED, _NEWLY_LINKED):
            statement = _DELIVERED.replace("{own}", _OWN[self.store.dialect]).replace("{widened}", WIDENED)
            for name, sql in words.items():
                statement = statement.replace(name, sql)
            left -= execute_together(tx, statement, sent, fixed)
            if not left:
                return {row.source_id for row in rows}
        mine = [*self.of(records), records.c.source_id.in_([row.source_id for row in rows])]
        return set(tx.scalars(select(records.c.source_id).where(*mine, records.c.delivered_no == number)))

    def _set_refused(self, tx: Connection, rows: Sequence[Refused], run_id: str | None, at: datetime) -> None:
        """Reject records until they change; one that could not be removed waits until it is back, or for a retry."""
        self.rejects.forget_of_target(tx, [row.source_id for row in rows])
        tx.execute(insert(rejects), [self._reject_row(row, run_id, at) for row in rows])
        mine = update(records).where(*self._one())
        sent = [REMOVAL if row.kind in REMOVALS else row.fields_hash for row in rows]
        marks = [{"key": row.source_id, "sent": what} for row, what in zip(rows, sent, strict=True)]
        tx.execute(mine.values(refused_hash=bindparam("sent"), claimed_by=None), marks)
        target_hash = [
            {"key": row.source_id, "target_hash": row.delivered_hash} for row in rows if row.delivered_hash != AS_IT_IS
        ]
        if target_hash:
            tx.execute(mine.values(delivered_hash=bindparam("target_hash")), target_hash)
        if removals := [row.source_id for row in rows if row.kind in REMOVALS]:
            self.approvals.use_lines(tx, removals, at)

    def _append_outcomes(
        self,
        tx: Connection,
        outcome: Outcome,
        rows: Sequence[Delivered] | Sequence[Removed] | Sequence[Refused],
        sync_id: int | None,
        at: datetime,
    ) -> None:
        """Add one line to the audit for each write that was answered."""
        when = driver_time(tx, at)
        execute_together(tx, _APPEND, [_line(row) for row in rows], (self.pair, self.entity, outcome, sync_id, when))

    def _append_conclusion(
        self,
        tx: Connection,
        intent: Any,
        outcome: Outcome,
        at: datetime,
        target_id: str | None,
        fields_hash: str | None,
        reason: str | None,
    ) -> None:
        row = {
            "connection": self.pair,
            "entity": self.entity,
            "source_id": intent.source_id,
            "target_id": target_id,
            "kind": intent.kind,
            "phase": "outcome",
            "intent_id": intent.id,
            "outcome": outcome,
            "fields_hash": fields_hash,
            "reason": plain(reason) if reason else None,
            "sync_id": intent.sync_id,
            "at": at,
        }
        tx.execute(insert(deliveries), row)

    def _reject_row(self, row: Refused, run_id: str | None, at: datetime) -> dict[str, Any]:
        visible = {
            "source_id": row.source_id,
            "partition": row.partition,
            "field": row.field,
            "rule": row.rule,
            "reason": plain(row.reason),
            "value": shown(row.value),
        }
        keys = {"connection": self.pair, "entity": self.entity, "origin": "target"}
        return {**keys, **visible, "digest": digest(*visible.values()), "run_id": run_id, "at": at}

    def _one(self) -> list[ColumnElement[bool]]:
        return [*self.of(records), records.c.source_id == bindparam("key")]


def recent(
    store: Store,
    pair: str,
    *,
    entity: str | None = None,
    source_id: str | None = None,
    run_id: str | None = None,
    limit: int | None = 100,
) -> list[Delivery]:
    """The newest lines of the audit first; all of them when ``limit`` is None."""
    statement = select(*(deliveries.c[name] for name in Delivery.__slots__))
    statement = statement.where(deliveries.c.connection == pair)
    if entity is not None:
        statement = statement.where(deliveries.c.entity == entity)
    if source_id is not None:
        statement = statement.where(deliveries.c.source_id == source_id)
    if run_id is not None:
        of_run = select(syncs.c.id).where(syncs.c.run_id == run_id)
        statement = statement.where(deliveries.c.sync_id.in_(of_run))
    with store.reading() as tx:
        rows = tx.execute(statement.order_by(deliveries.c.id.desc()).limit(limit))
        return [Delivery(*row) for row in rows]


def made_since(store: Store, pair: str, since: datetime) -> dict[str, int]:
    """How many records of each entity were created or adopted since then."""
    done = [deliveries.c.connection == pair, deliveries.c.phase == "outcome", deliveries.c.outcome == "delivered"]
    made = [deliveries.c.kind.in_(["create", "adopt"]), deliveries.c.at >= since]
    statement = select(deliveries.c.entity, func.count()).where(*done, *made).group_by(deliveries.c.entity)
    with store.reading() as tx:
        return {row[0]: row[1] for row in tx.execute(statement)}


def _line(row: Delivered | Removed | Refused) -> tuple[str | None, ...]:
    if isinstance(row, Delivered):
        return row.source_id, row.kind, row.target_id, row.fields_hash, None, row.changes
    if isinstance(row, Removed):
        return row.source_id, row.kind, row.target_id, None, None, None
    return row.source_id, row.kind, None, row.fields_hash, plain(row.reason), None
