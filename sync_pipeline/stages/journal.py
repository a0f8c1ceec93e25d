"""The journal: one row in ``syncs`` for each attempt to sync an entity, however it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import pandas as pd

from sync_pipeline.errors import StoreError, SyncError
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import Batch, Days
from sync_pipeline.stages.inbox import leave_open
from sync_pipeline.stages.session import Session
from sync_pipeline.store.syncs import SyncOutcome, begin, finish


def begin_sync(session: Session, spec: EntitySpec, batch: Batch, days: Days | None, *, run_id: str) -> int:
    """Open the row of a sync of this batch; returns its id."""
    return begin(
        session.store,
        session.connection,
        spec.entity,
        partitions=days.keys if days else None,
        run_id=run_id,
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
) -> None:
    """Write down a sync that was over before anything was loaded."""
    sync_id = begin_sync(session, spec, batch, days, run_id=run_id)
    finish(session.store, sync_id, outcome, counts, requests, at=session.now())


def remembering_failure(session: Session, spec: EntitySpec, batch: Batch, days: Days | None, *, run_id: str) -> Batch:
    """The same batch; when walking it fails, the store says so: `status` tells of it and its requests are counted."""
    return Batch(_parts(session, spec, batch, days, run_id), batch.notes)


def _parts(session: Session, spec: EntitySpec, batch: Batch, days: Days | None, run_id: str) -> Iterator[pd.DataFrame]:
    before = session.requests
    try:
        yield from batch.parts
    except SyncError as error:
        with suppress(StoreError):  # the store may be what failed; the first error is the one to tell
            note_sync(session, spec, batch, days, "failed", {}, session.requests - before, run_id=run_id)
            leave_open(session, batch, str(error))
        raise
