"""Deliver: send what is pending to the target and remember what was acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from concurrent.futures import Future
from typing import Any, NamedTuple, cast

import orjson

from sync_pipeline.connectors.ports import Outcome, UpsertTarget
from sync_pipeline.errors import RejectedRecord
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.progress import Progress
from sync_pipeline.session.session import Session, settled
from sync_pipeline.stages.assigned import deliver_assigned
from sync_pipeline.stages.batch import Counts
from sync_pipeline.stages.claims import remember, take_turns, writing_alone
from sync_pipeline.stages.plan import changes, claimed_pages, delete_action, deletes, removals
from sync_pipeline.store.deliveries import Delivered, Kind, Refused, Removed
from sync_pipeline.store.planned import Planned
from sync_pipeline.store.records import Known
from sync_pipeline.store.staging import Staging

IN_FLIGHT = 2
"""Batches in flight: while the target works on one, we mark the one before."""


class SentPage(NamedTuple):
    """A page on the wire, with what each write changes."""

    rows: list[Planned]
    changes: list[str | None]
    answer: Future[list[Outcome]]


def deliver_pending(
    session: Session,
    spec: EntitySpec,
    staging: Staging,
    counts: Counts,
    sync_id: int | None,
    only: Collection[str] | None = None,
) -> None:
    """Send every pending upsert of the staged batch; what the target refuses becomes a reject.

    What earlier runs have left unfinished is finished, too, but with ``only`` not that of any other record.
    """
    target = session.target(spec)
    if target.assigns_ids:
        deliver_assigned(session, spec, target, staging, counts, sync_id, only)
    else:
        _deliver_upserts(session, spec, target, staging, counts, sync_id)


def _deliver_upserts(
    session: Session, spec: EntitySpec, target: UpsertTarget, staging: Staging, counts: Counts, sync_id: int | None
) -> None:
    take_turns(session, spec, lambda: _send_pages(session, spec, target, staging, counts, sync_id), staging.is_left)


def _send_pages(
    session: Session, spec: EntitySpec, target: UpsertTarget, staging: Staging, counts: Counts, sync_id: int | None
) -> None:
    """Send what no other run is sending."""
    payload: dict[str, dict[str, Any]] = {}
    changed: dict[str, str | None] = {}

    def place(row: Planned) -> str:
        fields = orjson.loads(row.fields)
        payload[row.source_id] = outgoing(spec, row, fields)
        changed[row.source_id] = changes(spec, row, fields)
        return str(fields[spec.target.id])

    def settle() -> None:
        staging.put_back(_settle(session, spec, flying.popleft(), counts, sync_id))

    flying: deque[SentPage] = deque()
    try:
        for rows in claimed_pages(spec, staging, place):
            answer = session.begin(target.upsert, [payload.pop(row.source_id) for row in rows])
            flying.append(SentPage(rows, [changed.pop(row.source_id) for row in rows], answer))
            if len(flying) >= IN_FLIGHT:
                settle()
    except BaseException as error:
        # Ctrl-C waits for no answer: what was sent is still pending, and safe to repeat.
        if not isinstance(error, Exception):
            for sent in flying:
                sent.answer.cancel()
            flying.clear()
        raise
    finally:
        # What is on the wire is answered and remembered even when another batch failed.
        while flying:
            settle()


def outgoing(spec: EntitySpec, row: Planned, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields to send: all for a record the target does not have, else only those the source owns."""
    if row.action != "update":
        return {"archived": False, **fields} if row.action == "restore" else fields
    owned = {field.name for field in spec.owned_fields} | {spec.target.id}
    return {name: value for name, value in fields.items() if name in owned}


def _settle(session: Session, spec: EntitySpec, sent: SentPage, counts: Counts, sync_id: int | None) -> set[str]:
    """Note the answer; returns the records that another run has claimed since."""
    outcomes = settled(sent.answer)
    done: list[Delivered] = []
    refused: list[Refused] = []
    for row, changed, outcome in zip(sent.rows, sent.changes, outcomes, strict=True):
        kind = cast("Kind", row.action)
        if outcome.ok:
            done.append(Delivered(row.source_id, outcome.id, row.fields_hash, kind, changed))
        else:
            refused.append(_refused(row, kind, outcome))
    return remember(session, spec, done, refused, counts, sync_id)


def _refused(row: Planned, kind: Kind, outcome: Outcome) -> Refused:
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


def deliver_deletes(
    session: Session, spec: EntitySpec, deleted: Collection[str], counts: Counts, sync_id: int | None
) -> dict[str, str]:
    """Delete or archive what this run has proven to be deleted; anything else waits for a run that proves it again.

    Returns the records that another run is still writing, with their days.
    """
    deleted, ledger = set(deleted) if deletes(spec) else set[str](), session.ledger(spec)
    left: dict[str, str] = {}
    if not deleted:
        return left

    def is_left() -> bool:
        nonlocal left
        left = {known.source_id: known.partition or "" for known in removals(session, spec, deleted)}
        return bool(left)

    def send() -> None:
        with writing_alone(session, spec):
            for known in removals(session, spec, deleted):
                row = ledger.claims.take_delete(known.source_id)
                if row is not None and _send_delete(session, spec, row, counts, sync_id):
                    deleted.discard(row.source_id)

    take_turns(session, spec, send, is_left)
    return left


def _send_delete(session: Session, spec: EntitySpec, row: Known, counts: Counts, sync_id: int | None) -> bool:
    """Delete or archive one record that this run has claimed; False when another one has claimed it since."""
    policy, target = cast("Kind", delete_action(spec)), session.target(spec)
    try:
        session.call(target.remove, str(row.target_id))
    except RejectedRecord as error:
        refused = Refused(
            row.source_id,
            row.fields_hash,
            policy,
            str(error),
            partition=row.partition,
            delivered_hash=row.delivered_hash,
        )
        noted = session.ledger(spec).mark_refused([refused], sync_id, session.now())
    else:
        removed = Removed(row.source_id, row.target_id, policy)
        noted = session.ledger(spec).mark_removed([removed], sync_id, session.now())
        counts.deleted += len(noted)
    session.report(Progress(spec.entity, "delete", counts.deleted))
    return bool(noted)
