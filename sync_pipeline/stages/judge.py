"""Judge: a few records that were read by id, mapped and checked one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from sync_pipeline.connectors.paging import Record
from sync_pipeline.mapping.apply import map_frame
from sync_pipeline.mapping.checks import check_frame
from sync_pipeline.mapping.frames import raw_frame
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.problems import rejects_of
from sync_pipeline.stages.references import References
from sync_pipeline.stages.seal import seal, staged_rows
from sync_pipeline.stages.session import Session
from sync_pipeline.store.rejects import replace_rejects
from sync_pipeline.store.staging import StagedRow


def judged_rows(session: Session, spec: EntitySpec, records: Iterable[Record]) -> list[StagedRow]:
    """Records as rows to stage; nothing is written."""
    return staged_rows(seal(spec, _judged(session, spec, records)))


def judge(
    session: Session, spec: EntitySpec, records: Iterable[Record], ids: Sequence[str], *, run_id: str | None
) -> pd.DataFrame:
    """Records as a sealed frame; what is wrong with them becomes all that is set aside of ``ids``."""
    frame = _judged(session, spec, records)
    rejects = (found for _, found in rejects_of(frame))
    replace_rejects(
        session.store, session.connection, spec.entity, None, rejects, run_id, session.now(), source_ids=ids
    )
    return seal(spec, frame)


def _judged(session: Session, spec: EntitySpec, records: Iterable[Record]) -> pd.DataFrame:
    mapped = map_frame(spec, raw_frame(spec, list(records)))
    frame = check_frame(spec, mapped, start_date=session.settings.start_date)
    return References(session, spec).mark(frame)
