"""The journal: one row in ``syncs`` for each attempt to sync an entity, however it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Batch, Days
from sync_pipeline.stages.inbox import leave_open
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


class Ended(NamedTuple):
    """How a sync ended before anything was loaded."""

    outcome: SyncOutcome
    counts: Mapping[str, Any]
    requests: int
    reason: str
    category: str = ""
    """The category of the API error, if one ended it."""


def note_sync(
    session: Session, spec: EntitySpec, batch: Batch, days: Days | None, ended: Ended, *, run_id: str
) -> None:
    """Write down a sync that ended before anything was loaded; events that its batch answers stay open."""
    syncs, at = session.ledger(spec).syncs, session.now()
    sync_id = begin_sync(session, spec, batch, days, run_id=run_id)
    outcome, counts, requests, reason, category = ended
    syncs.finish(sync_id, outcome, counts, requests, at=at, reason=reason, category=category)
    leave_open(session, batch, ended.reason)
