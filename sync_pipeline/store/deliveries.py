"""The audit of every write, and the intents that make a create safe that must not happen twice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from sync_pipeline.store.engine import Store
from sync_pipeline.store.outcomes import Delivered, Kind, Outcome, Refused, plain, set_delivered, set_refused
from sync_pipeline.store.schema import deliveries, syncs


@dataclass(frozen=True, slots=True)
class Intent:
    """A write that was about to be sent, whose answer nobody has seen."""

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


def intend(
    store: Store,
    connection: str,
    entity: str,
    source_id: str,
    kind: Kind,
    attempted: dict[str, Any],
    at: datetime,
    sync_id: int | None = None,
) -> int:
    """Write down what is about to be sent; it is committed when this returns."""
    row = {
        "connection": connection,
        "entity": entity,
        "source_id": source_id,
        "kind": kind,
        "phase": "intent",
        "attempted": json.dumps(attempted, ensure_ascii=True),
        "sync_id": sync_id,
        "at": at,
    }
    with store.writing() as own:
        return int(own.execute(insert(deliveries).returning(deliveries.c.id), row).scalar_one())


def conclude(
    store: Store,
    intent_id: int,
    outcome: Outcome,
    at: datetime,
    *,
    target_id: str | None = None,
    fields_hash: str | None = None,
    reason: str | None = None,
    run_id: str | None = None,
) -> None:
    """Write down how an intent ended and what that means for its record, in one transaction.

    ``delivered`` links the record to ``target_id`` with ``fields_hash`` delivered; ``refused`` sets it
    aside; ``failed`` only closes the intent. Concluding twice changes nothing.
    """
    with store.writing() as own:
        intent = own.execute(select(deliveries).where(deliveries.c.id == intent_id).with_for_update()).one()
        if own.scalar(select(deliveries.c.id).where(deliveries.c.intent_id == intent_id)):
            return
        key = (intent.connection, intent.entity)
        if outcome == "delivered" and target_id is not None and fields_hash is not None:
            set_delivered(own, *key, [Delivered(intent.source_id, target_id, fields_hash, intent.kind)], at)
        elif outcome == "refused" and fields_hash is not None:
            refused = Refused(intent.source_id, fields_hash, intent.kind, reason or "refused")
            set_refused(own, *key, [refused], run_id, at)
        _append_conclusion(own, intent, outcome, at, target_id, fields_hash, reason)


def open_intents(store: Store, connection: str, entity: str) -> list[Intent]:
    """Intents without an outcome, oldest first: each is to be looked up before anything else is sent."""
    outcome = deliveries.alias("outcome")
    statement = (
        select(*(deliveries.c[name] for name in Intent.__slots__))
        .where(
            deliveries.c.connection == connection,
            deliveries.c.entity == entity,
            deliveries.c.phase == "intent",
            ~select(outcome.c.id).where(outcome.c.intent_id == deliveries.c.id).exists(),
        )
        .order_by(deliveries.c.id)
    )
    with store.reading() as own:
        rows = own.execute(statement).all()
    return [Intent(row.id, row.source_id, row.kind, json.loads(row.attempted), row.at) for row in rows]


def attempts(store: Store, connection: str, entity: str, source_id: str) -> list[Intent]:
    """Every intent ever written for a record, newest first: the names it may exist under."""
    statement = (
        select(*(deliveries.c[name] for name in Intent.__slots__))
        .where(
            deliveries.c.connection == connection,
            deliveries.c.entity == entity,
            deliveries.c.phase == "intent",
            deliveries.c.source_id == source_id,
        )
        .order_by(deliveries.c.id.desc())
    )
    with store.reading() as own:
        rows = own.execute(statement).all()
    return [Intent(row.id, row.source_id, row.kind, json.loads(row.attempted), row.at) for row in rows]


def recent(
    store: Store,
    connection: str,
    *,
    entity: str | None = None,
    source_id: str | None = None,
    run_id: str | None = None,
    limit: int | None = 100,
) -> list[Delivery]:
    """The newest lines of the audit first; all of them when ``limit`` is None."""
    statement = select(*(deliveries.c[name] for name in Delivery.__slots__))
    statement = statement.where(deliveries.c.connection == connection)
    if entity is not None:
        statement = statement.where(deliveries.c.entity == entity)
    if source_id is not None:
        statement = statement.where(deliveries.c.source_id == source_id)
    if run_id is not None:
        of_run = select(syncs.c.id).where(syncs.c.run_id == run_id)
        statement = statement.where(deliveries.c.sync_id.in_(of_run))
    with store.reading() as own:
        rows = own.execute(statement.order_by(deliveries.c.id.desc()).limit(limit))
        return [Delivery(*row) for row in rows]


def _append_conclusion(
    own: Connection,
    intent: Any,
    outcome: Outcome,
    at: datetime,
    target_id: str | None,
    fields_hash: str | None,
    reason: str | None,
) -> None:
    row = {
        "connection": intent.connection,
        "entity": intent.entity,
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
    own.execute(insert(deliveries), row)
