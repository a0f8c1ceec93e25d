"""Absence: what was known and is missing from a complete read, and when that may become a delete.

A delete is only believed after a second, independent read: by id where the source offers that, with a record known to
live read successfully in the same run (an id of a foreign workspace answers like a deleted one); otherwise by a second
complete list. What the budget cannot confirm stays unconfirmed: shown, not deleted.
"""

from __future__ import annotations

from datetime import date, datetime

from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.window import Window
from sync_pipeline.mapping.convert import id_or_none
from sync_pipeline.mapping.paths import value_at
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import Counts
from sync_pipeline.stages.check import Options
from sync_pipeline.stages.guards import guard_volume
from sync_pipeline.stages.session import Progress, Session
from sync_pipeline.store.records import Known, mark_deleted, mark_unconfirmed, scan
from sync_pipeline.store.staging import StagedRow, Staging


def settle_absent(
    session: Session, spec: EntitySpec, staging: Staging, observed_at: datetime, options: Options, counts: Counts
) -> list[StagedRow]:
    """Mark what is confirmed gone as deleted; return rows for records that turned out to live elsewhere (moved)."""
    from sync_pipeline.stages.targeted import judged_rows

    count = staging.count_absent()
    if not count:
        return []
    guard = guard_volume(session, spec, staging, {})
    if guard.too_many_absent(session.settings) and not options.allow_deletes:
        mark_unconfirmed(
            session.store, session.connection, spec.entity, [k.source_id for k in staging.absent()], session.now()
        )
        counts.unconfirmed += count
        return []
    budget = session.settings.max_confirmations
    if spec.source.system == "clockify":
        session.call(session.clockify.prove_admin)
    session.report(Progress(spec.entity, "confirm", min(count, budget), "looking up what vanished"))
    absent = staging.absent()
    gone, moved, unconfirmed = _confirm(session, spec, staging, absent, budget)
    mark_deleted(session.store, session.connection, spec.entity, gone, observed_at)
    mark_unconfirmed(session.store, session.connection, spec.entity, unconfirmed, session.now())
    counts.unconfirmed += len(unconfirmed)
    return judged_rows(session, spec, moved) if moved else []


def _confirm(
    session: Session, spec: EntitySpec, staging: Staging, absent: list[Known], budget: int
) -> tuple[list[str], list[Record], list[str]]:
    """Split the absent ids into gone, records that still live, and unconfirmed ids."""
    if not session.can_fetch(spec):
        return _confirm_by_list(session, spec, staging, absent)
    witness = _witness(session, spec, staging, absent)
    if witness is not None and session.fetch(spec, witness) is None:
        return [], [], [known.source_id for known in absent]  # a record that lives reads as gone: believe nothing
    asked, unconfirmed = absent[:budget], [known.source_id for known in absent[budget:]]
    records = {known.source_id: session.fetch(spec, known.source_id) for known in asked}
    moved = [record for record in records.values() if record is not None]
    if witness is None and not moved:  # nothing is known to live, so that all reads as gone may be the key's fault
        gone, moved, _ = _confirm_by_list(session, spec, staging, asked)
        return gone, moved, unconfirmed
    return [source_id for source_id, record in records.items() if record is None], moved, unconfirmed


def _witness(session: Session, spec: EntitySpec, staging: Staging, absent: list[Known]) -> str | None:
    """A record that must be readable if reads by id can be believed: one of this read, else any other known one."""
    if (met := staging.witness()) is not None:
        return met
    missing = {known.source_id for known in absent}
    for page in scan(session.store, session.connection, spec.entity):
        for record in page:
            if record.source_id not in missing and record.deleted_at is None:
                return record.source_id
    return None


def _confirm_by_list(
    session: Session, spec: EntitySpec, staging: Staging, absent: list[Known]
) -> tuple[list[str], list[Record], list[str]]:
    """A second complete list, for sources without a read by id - or when no record at all is known to live."""
    ids = {known.source_id for known in absent}
    window = Window.of_days(*(date.fromisoformat(day) for day in staging.scope)) if staging.scope else None
    rows = (row for page in session.read(spec, window) for row in page)
    keyed = ((id_or_none(value_at(row, spec.source.id_path)), row) for row in rows)
    found = {key: row for key, row in keyed if key is not None and key in ids}
    return sorted(ids - found.keys()), list(found.values()), []
