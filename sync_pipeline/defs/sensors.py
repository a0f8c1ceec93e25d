"""Sensors: one per entity, named for it. Each turns what changed into few runs, and leaves the rest to the next tick."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import dagster as dg
from dagster import DagsterInstance

from sync_pipeline.defs.changes import changes_job_name
from sync_pipeline.defs.jobs import sync_job_name
from sync_pipeline.defs.launch import RANGE_END, RANGE_START
from sync_pipeline.defs.orphans import close_orphans
from sync_pipeline.defs.partitions import DAYS_AHEAD
from sync_pipeline.defs.queue import EVENTS_TAG, attempts, pause, under_way
from sync_pipeline.defs.resources import SyncResource
from sync_pipeline.errors import SyncError
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.settings import Settings
from sync_pipeline.stages.session import open_session
from sync_pipeline.stages.watch import Dirty, Watched, watch

SHOWN_EVENTS = 50

Evaluation = Callable[[dg.SensorEvaluationContext], dg.SensorResult | dg.SkipReason]


def entity_sensor(spec: EntitySpec, settings: Settings, jobs: Sequence[dg.ExecutableDefinition]) -> dg.SensorDefinition:
    """The sensor of one entity; ``jobs`` are the ones it may ask for."""
    return dg.SensorDefinition(
        name=spec.entity,
        evaluation_fn=_evaluation(spec),
        jobs=jobs,
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if settings.live else dg.DefaultSensorStatus.STOPPED,
        description=(
            f"Looks into the webhook inbox and asks Clockify for changes of {spec.entity} within the plan's request "
            "budget. Few changes are read by id, many as their days or as the whole list. Its cursor is the time of the "
            "last poll."
        ),
    )


def _evaluation(spec: EntitySpec) -> Evaluation:
    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        instance, jobs = context.instance, (changes_job_name(spec.entity), sync_job_name(spec.entity))
        close_orphans(instance)
        if (busy := under_way(instance, jobs)) is not None:
            return dg.SkipReason(f"run {busy} is queued or running: what has come in since waits for it")
        settings = SyncResource.settings()
        again = pause(instance, jobs, settings.sensor_seconds)
        try:
            # No patience here: the next tick is the next try.
            with open_session(replace(settings, max_attempts=1)) as session:
                if again is not None and session.now() < again.until:
                    return dg.SkipReason(
                        f"{again.failures} runs failed in a row: next try at {again.until:%H:%M:%S %Z}"
                    )
                watched = watch(session, spec, context.cursor, days_ahead=DAYS_AHEAD)
        except SyncError as error:
            return dg.SkipReason(str(error))
        return _result(instance, spec, watched)

    return evaluate


def _result(instance: DagsterInstance, spec: EntitySpec, watched: Watched) -> dg.SensorResult:
    requests = [run_request(instance, spec, dirty) for dirty in watched.runs]
    said = ". ".join(filter(None, (watched.trouble, watched.note)))
    reason = None if requests else dg.SkipReason(said or "nothing new")
    return dg.SensorResult(run_requests=requests or None, skip_reason=reason, cursor=watched.cursor)


def run_request(instance: DagsterInstance, spec: EntitySpec, dirty: Dirty) -> dg.RunRequest:
    """The run that answers these events. Its key is the same at a repeated tick and another one after a failed run."""
    asked = [*map(str, sorted(dirty.events)), str(dirty.days or "")]
    digest = hashlib.blake2b(" ".join([spec.entity, *asked]).encode(), digest_size=10).hexdigest()
    tags = {EVENTS_TAG: digest, "sync_pipeline/event_ids": _shown(dirty.events)}
    if dirty.days is not None:
        tags |= {RANGE_START: dirty.days.keys[0], RANGE_END: dirty.days.keys[1]}
    config = {"ops": {f"{spec.entity}_changed": {"config": {"ids": list(dirty.ids)}}}} if dirty.ids else None
    return dg.RunRequest(
        run_key=f"{spec.entity}:{digest}:{attempts(instance, digest)}",
        job_name=changes_job_name(spec.entity) if dirty.ids else sync_job_name(spec.entity),
        run_config=config,
        tags=tags,
    )


def _shown(events: Sequence[int]) -> str:
    shown = ",".join(map(str, events[:SHOWN_EVENTS]))
    return f"{shown},..." if len(events) > SHOWN_EVENTS else shown or "none: polled"
