"""The journal: one row in ``syncs`` for each attempt to sync an entity, however it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Batch, Days
from sync_pipeline.store.syncs import SyncOutcome


def begin_sync(session: Session, spec: EntitySpec, batch: Batch, days: Days | None, *, run_id: str) -> int:
    """Open the row of a sync of this batch; returns its id."""
    return session.ledger(spec).syncs.begin(
        partitions=days.keys if days else None,
        run_id=run_id,
        read_no=batch.read_no,
        observed_at=batch.observed_at,
        fingerprint=spec.fingerprint,
        at=session.now(),
    )


def note_sync(
    session: Session,
    spec: EntitySpec,
    batch: Batch,
    days: Days | None,
    outcome: SyncOutcome,
    counts: Mapping[str, Any],
    requests: int,
    *,
    run_id: str,
    reason: str = "",
) -> None:
    """Write down a sync that was over before anything was loaded, and why."""
    sync_id = begin_sync(session, spec, batch, days, run_id=run_id)
    session.ledger(spec).syncs.finish(sync_id, outcome, counts, requests, at=session.now(), reason=reason)
