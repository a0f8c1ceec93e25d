"""Deliver: send what is pending to the target and remember what was acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import orjson

from sync_pipeline.connectors.ports import Outcome
from sync_pipeline.errors import RejectedRecord
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import Counts
from sync_pipeline.stages.session import Progress, Session, settled
from sync_pipeline.store.outcomes import SENT_NEW
from sync_pipeline.store.records import (
    Delivered,
    Kind,
    Known,
    Refused,
    Removed,
    Sending,
    mark_delivered,
    mark_refused,
    mark_removed,
    mark_sending,
    pending_deletes,
)
from sync_pipeline.store.staging import Pending, Staging

PAGE = 500
IN_FLIGHT = 2
"""Batches on the wire at once: while the target works on one, we mark the one before."""

Sent = tuple[list[Pending], "Future[list[Outcome]]"]


def deliver_pending(session: Session, spec: EntitySpec, staging: Staging, counts: Counts, sync_id: int | None) -> None:
    """Send every pending upsert of the staged batch; what the target refuses becomes a reject."""
    if spec.target.system == "snapshots":
        _deliver_upserts(session, spec, staging, counts, sync_id)
    else:
        from sync_pipeline.stages.link import deliver_linked

        deliver_linked(session, spec, staging, counts, sync_id)


def _deliver_upserts(session: Session, spec: EntitySpec, staging: Staging, counts: Counts, sync_id: int | None) -> None:
    flying: deque[Sent] = deque()
    try:
        for rows in pages(staging, PAGE):
            payload = [outgoing(spec, row) for row in rows]
            places = [str(fields[spec.target.id]) for fields in payload]
            note_sending(session, spec, rows, places)
            flying.append((rows, session.begin(session.snapshots.upsert, spec.entity, payload)))
            if len(flying) >= IN_FLIGHT:
                _settle(session, spec, flying.popleft(), counts, sync_id)
    except BaseException as error:
        # Ctrl-C waits for no answer: what was sent is still pending, and safe to repeat.
        if not isinstance(error, Exception):
            for _, future in flying:
                future.cancel()
            flying.clear()
        raise
    finally:
        # What is on the wire is answered and remembered even when another batch failed.
        while flying:
            _settle(session, spec, flying.popleft(), counts, sync_id)


def note_sending(
    session: Session, spec: EntitySpec, rows: Sequence[Pending | Known], places: Sequence[str | None]
) -> None:
    """Before a write: should its answer never come, nobody may believe that the target is as it was before."""
    sending = [Sending(row.source_id, place, row.delivered_hash) for row, place in zip(rows, places, strict=True)]
    mark_sending(session.store, session.connection, spec.entity, sending)


def pages(staging: Staging, size: int) -> Iterator[list[Pending]]:
    """Pending rows in pages, in the order of their ids."""
    after = ""
    while rows := staging.pending(size, after):
        yield rows
        after = rows[-1].source_id


def outgoing(spec: EntitySpec, row: Pending) -> dict[str, Any]:
    """The fields to send: all for a record the target does not have, else only those the source owns."""
    fields: dict[str, Any] = orjson.loads(row.fields)
    if not _may_stand(row):
        return {"archived": False, **fields} if kind_of(spec, row) == "restore" else fields
    owned = {field.name for field in spec.owned_fields} | {spec.target.id}
    return {name: value for name, value in fields.items() if name in owned}


def kind_of(spec: EntitySpec, row: Pending) -> Kind:
    """What writing a row to an upsert target is; one that was archived there and is wanted again has its old link."""
    if _may_stand(row):
        return "update"
    return "restore" if spec.target.delete == "archive" and row.target_id is not None else "create"


def _may_stand(row: Pending) -> bool:
    return row.delivered_hash not in (None, SENT_NEW)


def _settle(session: Session, spec: EntitySpec, sent: Sent, counts: Counts, sync_id: int | None) -> None:
    rows, future = sent
    outcomes = settled(future)
    done: list[Delivered] = []
    refused: list[Refused] = []
    for row, outcome in zip(rows, outcomes, strict=True):
        kind = kind_of(spec, row)
        if outcome.ok:
            done.append(Delivered(row.source_id, outcome.id, row.fields_hash, kind))
        else:
            refused.append(_refused(row, kind, outcome))
    remember(session, spec, done, refused, counts, sync_id)


def _refused(row: Pending, kind: Kind, outcome: Outcome) -> Refused:
    rule = f"target:{outcome.code}" if outcome.code else "refused_by_target"
    return Refused(
        row.source_id,
        row.fields_hash,
        kind,
        outcome.reason,
        outcome.field or None,
        rule,
        None,
        row.partition,
        row.delivered_hash,
    )


def remember(
    session: Session,
    spec: EntitySpec,
    done: Sequence[Delivered],
    refused: Sequence[Refused],
    counts: Counts,
    sync_id: int | None,
) -> None:
    """Write down what the target acknowledged and refused, in one go, and count it."""
    if done:
        mark_delivered(session.store, session.connection, spec.entity, done, sync_id, session.now())
    if refused:
        mark_refused(session.store, session.connection, spec.entity, refused, sync_id, session.now())
    counts.created += sum(row.kind == "create" for row in done)
    counts.adopted += sum(row.kind == "adopt" for row in done)
    counts.updated += sum(row.kind in {"update", "restore"} for row in done)
    counts.rejected += len(refused)
    session.report(Progress(spec.entity, "load", counts.created + counts.adopted + counts.updated))


def deliver_deletes(
    session: Session, spec: EntitySpec, gone: Collection[str], counts: Counts, sync_id: int | None
) -> None:
    """Delete or archive what this run has proven gone; anything else waits for a run that proves it anew."""
    policy = spec.target.delete
    if policy == "keep":
        return
    for row in pending_deletes(session.store, session.connection, spec.entity, gone):
        note_sending(session, spec, [row], [row.target_id])
        try:
            _remove(session, spec, str(row.target_id))
        except RejectedRecord as error:
            refused = Refused(
                row.source_id,
                row.fields_hash,
                policy,
                str(error),
                partition=row.partition,
                delivered_hash=row.delivered_hash,
            )
            mark_refused(session.store, session.connection, spec.entity, [refused], sync_id, session.now())
        else:
            removed = Removed(row.source_id, row.target_id, policy)
            mark_removed(session.store, session.connection, spec.entity, [removed], sync_id, session.now())
            counts.deleted += 1
        session.report(Progress(spec.entity, "delete", counts.deleted))


def _remove(session: Session, spec: EntitySpec, target_id: str) -> None:
    """Delete or archive one record at the target; one that is gone already is no error."""
    archive = spec.target.delete == "archive"
    if spec.target.system == "clockify":
        if archive:
            session.call(session.clockify.update_client, target_id, {"archived": True})
        else:
            session.call(session.clockify.delete_client, target_id)
    elif archive:
        session.call(session.snapshots.upsert, spec.entity, [{spec.target.id: target_id, "archived": True}])
    else:
        session.call(session.snapshots.delete, spec.entity, target_id)
