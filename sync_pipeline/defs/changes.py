"""Targeted runs: what a sensor asks for when few records changed - each is read by id and delivered."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg

from sync_pipeline.defs.metadata import counts_metadata, job_owners, job_tags, run_summary, target_key
from sync_pipeline.defs.resources import SyncResource
from sync_pipeline.errors import Incomplete, SyncError
from sync_pipeline.hosting.steps import as_failure
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.printable import printable
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Counts
from sync_pipeline.stages.inbox import UNANSWERED, fresh_events, waiting_about
from sync_pipeline.stages.targeted import TargetedResult, sync_ids
from sync_pipeline.store.deliveries import recent
from sync_pipeline.store.events import close, mark_attempt, mark_failed

SHOWN_DELIVERIES = 20


class ChangesConfig(dg.Config):
    """Which records to read again."""

    ids: list[str]


def changes_job_name(entity: str) -> str:
    """The job that syncs a few records of one entity."""
    return f"changes_{entity}"


def changes_job(spec: EntitySpec) -> dg.JobDefinition:
    """One op: read, check, deliver, and close the events that asked for it."""

    @dg.op(
        name=f"{spec.entity}_changed", out=dg.Out(dg.Nothing), description=f"Read these {spec.entity} by id; deliver."
    )
    def changed(context: dg.OpExecutionContext, config: ChangesConfig, sync: SyncResource) -> Iterator[Any]:
        answered, events = answer(sync.session, spec, config.ids, context.run_id)
        for reason in sorted(set(answered.left.values())):
            context.log.warning("left for another try: %s", printable(reason))
        sync.note(spec.entity, asdict(answered.counts) | {"held": len(answered.held)})
        sync.note_writes(answered.counts.writes)
        metadata = changes_metadata(sync.session, spec, answered.counts, events, config.ids, context.run_id)
        # An observation: the partition is not complete because one of its records was read.
        yield dg.AssetObservation(spec.entity, metadata=metadata)
        if len(answered.left) < len(set(config.ids)):
            yield dg.AssetMaterialization(target_key(spec), metadata=metadata)
        if answered.problem:
            with as_failure():
                raise Incomplete(answered.problem, fix="Nothing is lost: the events about them stay open.")
        yield dg.Output(None)

    @dg.job(
        name=changes_job_name(spec.entity),
        description=f"Sync a few {spec.entity} by id, as the sensor asks for.",
        tags=job_tags("changes", spec),
        owners=job_owners([spec]),
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        changed()

    return job


def answer(session: Session, spec: EntitySpec, ids: Sequence[str], run_id: str) -> tuple[TargetedResult, list[int]]:
    """Sync the records and close the events about them; those of records that fail stay open, with the reason.

    Returns what was done, and the events it closed.
    """
    about = waiting_about(session, spec, ids)
    events = [event.id for event in about]
    mark_attempt(
        session.store, events, session.now()
    )  # from here on a repeat is news: it may be about what is read too early
    fresh = set() if session.can_fetch(spec) else set(fresh_events(session, about))
    before = _stored(session, spec, ids)
    with as_failure():
        try:
            answered = sync_ids(session, spec, ids, run_id=run_id)
        except SyncError as error:
            mark_failed(session.store, events, str(error))
            raise
    after = _stored(session, spec, ids)
    unchanged = {key for key in ids if before.get(key) == after.get(key)}
    unanswered = [event for event in about if event.id in fresh and event.source_id in unchanged - answered.left.keys()]
    mark_failed(session.store, [event.id for event in unanswered], UNANSWERED)
    closed = [event.id for event in about if event.source_id not in answered.left and event not in unanswered]
    close(session.store, closed, run_id, session.now())
    for source_id, reason in answered.left.items():
        mark_failed(session.store, [event.id for event in about if event.source_id == source_id], reason)
    return answered, closed


def _stored(session: Session, spec: EntitySpec, ids: Sequence[str]) -> dict[str, tuple[object, ...]]:
    """The values by which to see whether a read has found something new about these records."""
    known = session.ledger(spec).lookup(ids)
    return {key: (one.fields_hash, one.deleted_at is None, one.excluded_rule) for key, one in known.items()}


def changes_metadata(
    session: Session, spec: EntitySpec, counts: Counts, events: Sequence[int], ids: Sequence[str], run_id: str
) -> dict[str, Any]:
    """Which events asked for the run, which records it read, and what it wrote."""
    shown = recent(session.store, session.pair, run_id=run_id, entity=spec.entity, limit=SHOWN_DELIVERIES)
    return {
        **run_summary(counts.sentence, run_id, session.settings.console_url),
        **counts_metadata(spec, counts, None, shown, run_id, whole=False),
        "records": ", ".join(ids),
        "events": ", ".join(map(str, events)) or "none was open",
    }
