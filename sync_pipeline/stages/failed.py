"""A read that fails is remembered as a failed sync, so that `status` tells of it and its requests are counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pandas as pd

from sync_pipeline.errors import StoreError, SyncError
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import Batch, Days
from sync_pipeline.stages.session import Session
from sync_pipeline.store.syncs import begin, finish


def remembering_failure(session: Session, spec: EntitySpec, batch: Batch, days: Days | None, *, run_id: str) -> Batch:
    """The same batch; when walking it fails, the store says so."""
    return Batch(_parts(session, spec, batch, days, run_id), batch.notes)


def _parts(session: Session, spec: EntitySpec, batch: Batch, days: Days | None, run_id: str) -> Iterator[pd.DataFrame]:
    before = session.requests
    try:
        yield from batch.parts
    except SyncError:
        with suppress(StoreError):  # the store may be what failed; the first error is the one to tell
            _remember(session, spec, batch, days, run_id, session.requests - before)
        raise


def _remember(session: Session, spec: EntitySpec, batch: Batch, days: Days | None, run_id: str, requests: int) -> None:
    sync_id = begin(
        session.store,
        session.connection,
        spec.entity,
        partitions=days.keys if days else None,
        run_id=run_id,
        observed_at=batch.observed_at,
        fingerprint=spec.fingerprint,
        at=session.now(),
    )
    finish(session.store, sync_id, "failed", {}, requests, at=session.now())
