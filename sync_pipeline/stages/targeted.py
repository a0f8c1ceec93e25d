"""Targeted sync: a few records by id, without any conclusion about what else exists."""

from __future__ import annotations

from collections.abc import Iterable

from sync_pipeline.connectors.paging import Record
from sync_pipeline.mapping.apply import map_frame
from sync_pipeline.mapping.checks import check_frame
from sync_pipeline.mapping.frames import raw_frame
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import Counts
from sync_pipeline.stages.deliver import deliver_pending
from sync_pipeline.stages.references import References, find
from sync_pipeline.stages.seal import seal, staged_rows
from sync_pipeline.stages.session import Session
from sync_pipeline.store.locks import loader_lock
from sync_pipeline.store.records import lookup
from sync_pipeline.store.staging import StagedRow, stage


def sync_by_id(session: Session, spec: EntitySpec, ids: list[str]) -> set[str]:
    """Fetch, map, check and deliver these records; returns the ids that are at the target afterwards."""
    observed_at = session.now()
    rows = judged_rows(session, spec, find(session, spec, ids).values())
    with (
        loader_lock(session.store, session.connection, spec.entity),
        stage(session.store, session.connection, spec.entity, None) as staging,
    ):
        staging.add(rows)
        staging.merge(observed_at)
        deliver_pending(session, spec, staging, Counts(), sync_id=None)
    known = lookup(session.store, session.connection, spec.entity, ids)
    return {source_id for source_id, record in known.items() if record.delivered_hash is not None}


def judged_rows(session: Session, spec: EntitySpec, records: Iterable[Record]) -> list[StagedRow]:
    """Records as rows to stage: mapped, checked one by one and sealed."""
    mapped = map_frame(spec, raw_frame(spec, list(records)))
    frame = check_frame(spec, mapped, start_date=session.settings.start_date)
    return staged_rows(seal(spec, References(session, spec).mark(frame)))
