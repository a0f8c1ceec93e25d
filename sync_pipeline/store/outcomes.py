"""What one answer of the target changes in our tables, always inside the caller's transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, exists, insert, or_, select, update

from sync_pipeline.store.bulk import driver_time, execute_together
from sync_pipeline.store.chunks import chunks
from sync_pipeline.store.schema import records, rejects

Kind = Literal["create", "adopt", "update", "restore", "delete", "archive"]
Outcome = Literal["delivered", "refused", "failed"]

REMOVALS = ("delete", "archive")
REMOVAL = "removal"
"""Stands in ``refused_hash`` for a delete or archiving the target refused: no state of the record hashes to it."""
SENT, SENT_NEW = "sent", "sent:new"
"""Stand in ``delivered_hash`` while a write is under way, and for good when its answer never came: what is at the
target is unknown, so the record is pending whatever it is wanted to be, and it is deleted there when it is gone at the
source. ``SENT_NEW`` if nothing was known to be there before. No state of a record hashes to them."""
UNKNOWN = (SENT, SENT_NEW)
AS_IT_IS = "as it is"
"""Instead of a hash: leave what is believed of the target alone."""
VALUE_LENGTH = 200

_DELIVERED = """
    WITH sent (source_id, target_id, fields_hash) AS ({rows})
    UPDATE records
    SET target_id = sent.target_id, delivered_hash = sent.fields_hash, delivered_at = ?, refused_hash = NULL
    FROM sent
    WHERE connection = ? AND entity = ? AND records.source_id = sent.source_id
"""
_SENDING = """
    WITH sent (source_id, target_id, unknown) AS ({rows})
    UPDATE records
    SET delivered_hash = sent.unknown, target_id = sent.target_id
    FROM sent
    WHERE connection = ? AND entity = ? AND records.source_id = sent.source_id
"""
_APPEND = """
    WITH answered (source_id, kind, target_id, fields_hash, reason) AS ({rows})
    INSERT INTO deliveries
        (source_id, kind, target_id, fields_hash, reason, connection, entity, phase, outcome, sync_id, at)
    SELECT answered.*, ?, ?, 'outcome', ?, ?, ? FROM answered
"""


class Delivered(NamedTuple):
    """The target has the record in the state ``fields_hash``."""

    source_id: str
    target_id: str
    fields_hash: str
    kind: Kind


class Sending(NamedTuple):
    """A write that is about to be sent; ``target_id`` where the record will stand, or stands."""

    source_id: str
    target_id: str | None
    delivered_hash: str | None


class Removed(NamedTuple):
    """The target has deleted or archived the record. An archived one keeps its link, to be restored."""

    source_id: str
    target_id: str | None
    kind: Kind


class Refused(NamedTuple):
    """The target will not take the record as it is."""

    source_id: str
    fields_hash: str
    kind: Kind
    reason: str
    field: str | None = None
    rule: str = "refused_by_target"
    value: object = None
    partition: str | None = None
    delivered_hash: str | None = AS_IT_IS
    """What stands there still: the hash that was known before the write was sent."""


def set_sending(own: Connection, connection: str, entity: str, rows: Sequence[Sending]) -> None:
    """Forget what stands there until the target has answered."""
    marks = [(row.source_id, row.target_id, sending(row.delivered_hash)) for row in rows]
    execute_together(own, _SENDING, marks, (connection, entity))


def sending(delivered_hash: str | None) -> str:
    """What stands for ``delivered_hash`` while its record is being written."""
    return SENT_NEW if delivered_hash in (None, SENT_NEW) else SENT


def set_delivered(own: Connection, connection: str, entity: str, rows: Sequence[Delivered], at: datetime) -> None:
    """Note the hash that was sent, which need not be the one that stands there by now."""
    when = driver_time(own, at)
    execute_together(own, _DELIVERED, [row[:3] for row in rows], (when, connection, entity))
    forget_target_rejects(own, connection, entity, [row[0] for row in rows])


def set_removed(own: Connection, connection: str, entity: str, rows: Sequence[Removed], at: datetime) -> None:
    """Note that nothing of the record is live at the target."""
    gone = update(records).where(*_one(connection, entity))
    gone = gone.values(delivered_hash=None, delivered_at=at, refused_hash=None)
    for statement, kinds in ((gone, ("archive",)), (gone.values(target_id=None), ("delete",))):
        if keys := [{"key": row[0]} for row in rows if row[2] in kinds]:
            own.execute(statement, keys)
    forget_target_rejects(own, connection, entity, [row[0] for row in rows])


def set_refused(
    own: Connection, connection: str, entity: str, rows: Sequence[Refused], run_id: str | None, at: datetime
) -> None:
    """Set records aside until they change; one that could not be removed waits until it is back, or for a retry."""
    forget_target_rejects(own, connection, entity, [row.source_id for row in rows])
    own.execute(insert(rejects), [_reject_row(connection, entity, row, run_id, at) for row in rows])
    mine = update(records).where(*_one(connection, entity))
    sent = [REMOVAL if row.kind in REMOVALS else row.fields_hash for row in rows]
    marks = [{"key": row.source_id, "sent": what} for row, what in zip(rows, sent, strict=True)]
    own.execute(mine.values(refused_hash=bindparam("sent")), marks)
    standing = [{"key": row[0], "standing": row.delivered_hash} for row in rows if row.delivered_hash != AS_IT_IS]
    if standing:
        own.execute(mine.values(delivered_hash=bindparam("standing")), standing)


def append_outcomes(
    own: Connection,
    connection: str,
    entity: str,
    outcome: Outcome,
    rows: Sequence[Delivered] | Sequence[Removed] | Sequence[Refused],
    sync_id: int | None,
    at: datetime,
) -> None:
    """Add one line to the audit for each write that was answered."""
    when = driver_time(own, at)
    execute_together(own, _APPEND, [_line(row) for row in rows], (connection, entity, outcome, sync_id, when))


def forget_target_rejects(own: Connection, connection: str, entity: str, source_ids: Iterable[str]) -> None:
    """What the target said about these records no longer holds."""
    of_target = _of_target(connection, entity)
    if not own.scalar(select(exists().where(*of_target))):
        return  # nearly always: spares a lookup for each delivered record
    for some in chunks(source_ids):
        own.execute(delete(rejects).where(*of_target, rejects.c.source_id.in_(some)))


def forget_outlived(own: Connection, connection: str, entity: str) -> None:
    """Drop what the target said about states that are no longer wanted: deleted, excluded, changed, or there by now.

    Their ``refused_hash`` goes too: should such a state be wanted again, it is offered again.
    """
    gone = select(rejects.c.source_id).where(*_of_target(connection, entity), ~_stands())
    if not (keys := list(own.scalars(gone.distinct()))):
        return
    for some in chunks(keys):
        mine = [records.c.connection == connection, records.c.entity == entity, records.c.source_id.in_(some)]
        own.execute(update(records).where(*mine).values(refused_hash=None))
    forget_target_rejects(own, connection, entity, keys)


def outlived(own: Connection, connection: str, entity: str) -> bool:
    """Whether ``forget_outlived`` has anything to do; a read, so that nobody is locked out for nothing."""
    return bool(own.scalar(select(exists().where(*_of_target(connection, entity), ~_stands()))))


def _stands() -> ColumnElement[bool]:
    """Whether the record of a reject is still wanted in the state - or not wanted, in the way - the target refused."""
    wanted = and_(
        records.c.deleted_at.is_(None),
        records.c.excluded_rule.is_(None),
        records.c.refused_hash == records.c.fields_hash,
        records.c.delivered_hash.is_distinct_from(records.c.fields_hash),
    )
    unwanted = and_(
        records.c.deleted_at.isnot(None), records.c.refused_hash == REMOVAL, records.c.delivered_hash.isnot(None)
    )
    same = [getattr(records.c, name) == getattr(rejects.c, name) for name in ("connection", "entity", "source_id")]
    return select(records.c.source_id).where(*same, or_(wanted, unwanted)).correlate(rejects).exists()


def digest(*parts: object) -> str:
    """One short text that is equal when all parts are."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def shown(value: object) -> str | None:
    """A value as a person may read it: text, short, and storable everywhere."""
    if value is None:
        return None
    words = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return plain(words[:VALUE_LENGTH])


def plain(words: str) -> str:
    """Without NUL and lone surrogates, which PostgreSQL and UTF-8 cannot hold."""
    return words.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _of_target(connection: str, entity: str) -> list[ColumnElement[bool]]:
    return [rejects.c.connection == connection, rejects.c.entity == entity, rejects.c.origin == "target"]


def _one(connection: str, entity: str) -> list[ColumnElement[bool]]:
    return [
        records.c.connection == connection,
        records.c.entity == entity,
        records.c.source_id == bindparam("key"),
    ]


def _line(row: Delivered | Removed | Refused) -> tuple[str | None, ...]:
    if isinstance(row, Delivered):
        return row.source_id, row.kind, row.target_id, row.fields_hash, None
    if isinstance(row, Removed):
        return row.source_id, row.kind, row.target_id, None, None
    return row.source_id, row.kind, None, row.fields_hash, plain(row.reason)


def _reject_row(connection: str, entity: str, row: Refused, run_id: str | None, at: datetime) -> dict[str, Any]:
    visible = {
        "source_id": row.source_id,
        "partition": row.partition,
        "field": row.field,
        "rule": row.rule,
        "reason": plain(row.reason),
        "value": shown(row.value),
    }
    keys = {"connection": connection, "entity": entity, "origin": "target"}
    return {**keys, **visible, "digest": digest(*visible.values()), "run_id": run_id, "at": at}
