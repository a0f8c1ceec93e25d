"""What is remembered of writes: that they are about to be sent, and what the target answered."""

from __future__ import annotations

from collections.abc import Sequence

from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.progress import Progress
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Counts
from sync_pipeline.store.deliveries import Delivered, Refused, Sending
from sync_pipeline.store.planned import Pending
from sync_pipeline.store.records import Known


def note_sending(
    session: Session, spec: EntitySpec, rows: Sequence[Pending | Known], places: Sequence[str | None]
) -> None:
    """Before a write: should its answer never come, the target must not be believed to be as it was before."""
    sending = [Sending(row.source_id, place, row.delivered_hash) for row, place in zip(rows, places, strict=True)]
    session.ledger(spec).mark_sending(sending)


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
        session.ledger(spec).mark_delivered(done, sync_id, session.now())
    if refused:
        session.ledger(spec).mark_refused(refused, sync_id, session.now())
    counts.created += sum(row.kind == "create" for row in done)
    counts.adopted += sum(row.kind == "adopt" for row in done)
    counts.updated += sum(row.kind in {"update", "restore"} for row in done)
    counts.rejected += len(refused)
    session.report(Progress(spec.entity, "load", counts.created + counts.adopted + counts.updated))
