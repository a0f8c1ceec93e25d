"""Absence: what was known and is missing from a complete read, and when that may become a delete.

A delete is only believed after a second, independent read: by id where the source offers that, with a record known to
live read successfully in the same run (an id of a foreign workspace answers like a deleted one); otherwise by a second
complete list. What the budget cannot confirm stays unconfirmed: shown, not deleted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime

from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.window import Window
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import Counts
from sync_pipeline.stages.check import Options
from sync_pipeline.stages.guards import deletes, guard_volume
from sync_pipeline.stages.references import listed
from sync_pipeline.stages.session import Progress, Session
from sync_pipeline.store.records import Known, mark_deleted, mark_unconfirmed, scan
from sync_pipeline.store.staging import Staging


@dataclass(frozen=True, slots=True)
class Absence:
    """What became of the records a read did not meet."""

    gone: list[str] = field(default_factory=list)
    moved: dict[str, Record] = field(default_factory=dict)
    """Those that live elsewhere, by id, as they are there."""
    unconfirmed: list[str] = field(default_factory=list)


def settle_absent(
    session: Session, spec: EntitySpec, staging: Staging, observed_at: datetime, options: Options, counts: Counts
) -> Absence:
    """Look up what is missing, and mark what is confirmed gone as deleted.

    Only that may be deleted at the target by this run: what an earlier one proved may have come back.
    """
    absence = look_up_absent(session, spec, staging, options)
    mark_deleted(session.store, session.connection, spec.entity, absence.gone, observed_at)
    mark_unconfirmed(session.store, session.connection, spec.entity, absence.unconfirmed, session.now())
    counts.unconfirmed += len(absence.unconfirmed)
    return absence


def look_up_absent(session: Session, spec: EntitySpec, staging: Staging, options: Options) -> Absence:
    """Read again what is missing from the staged read, as far as the guard and the budget allow; nothing is written."""
    absent = staging.absent(again=deletes(spec))
    if not absent:
        return Absence()
    guard = guard_volume(session, spec, staging)
    if guard.too_many_absent(session.settings) and not options.allow_deletes:
        return Absence(unconfirmed=[known.source_id for known in absent])
    budget = session.settings.max_confirmations
    if spec.source.system == "clockify":
        session.call(session.clockify.prove_admin)
    session.report(Progress(spec.entity, "confirm", min(len(absent), budget), "looking up what vanished"))
    absence = Absence(*_confirm(session, spec, staging, absent, budget))
    if absence.unconfirmed and absence.gone and options.allow_deletes:
        # Somebody said that this much is right, so the rest need not wait for more runs: one more list proves it.
        gone, moved = _confirm_by_list(session, spec, staging, absence.unconfirmed)
        return Absence([*absence.gone, *gone], absence.moved | moved)
    return absence


def _confirm(
    session: Session, spec: EntitySpec, staging: Staging, absent: list[Known], budget: int
) -> tuple[list[str], dict[str, Record], list[str]]:
    """Split the absent ids into gone, records that still live, and unconfirmed ids."""
    ids = [known.source_id for known in absent]
    if not session.can_fetch(spec):
        return *_confirm_by_list(session, spec, staging, ids), []
    witness = _witness(session, spec, staging, absent)
    if witness is not None and session.fetch(spec, witness) is None:
        return [], {}, ids  # a record that lives reads as gone: believe nothing
    asked, unconfirmed = ids[:budget], ids[budget:]
    records = {source_id: session.fetch(spec, source_id) for source_id in asked}
    moved = {source_id: record for source_id, record in records.items() if record is not None}
    if witness is None and not moved:  # nothing is known to live, so that all reads as gone may be the key's fault
        return *_confirm_by_list(session, spec, staging, asked), unconfirmed
    return sorted(records.keys() - moved.keys()), moved, unconfirmed


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
    session: Session, spec: EntitySpec, staging: Staging, ids: list[str]
) -> tuple[list[str], dict[str, Record]]:
    """Gone and still living by a second complete list: for sources without a read by id, or without a witness."""
    window = Window.of_days(*(date.fromisoformat(day) for day in staging.scope)) if staging.scope else None
    found = listed(session, spec, ids, window)
    return sorted(set(ids) - found.keys()), found
