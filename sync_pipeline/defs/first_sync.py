"""What live syncing starts with: what was never synced, or not to the end, is synced, in dependency order and in bounded runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date

import dagster as dg
from dagster import DagsterInstance

from sync_pipeline.defs.resources import SyncResource
from sync_pipeline.errors import SyncError
from sync_pipeline.hosting.launch import RANGE_END, RANGE_START, spans_of, sync_job_name
from sync_pipeline.hosting.liveness import close_orphans
from sync_pipeline.hosting.queue import EVENTS_TAG, attempts, pause, under_way
from sync_pipeline.hosting.run_tags import requested
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.settings import Settings
from sync_pipeline.stages.batch import Days, whole_range
from sync_pipeline.stages.guards import waits_for_creates, waits_for_rewrite
from sync_pipeline.store.scope import Scope

NAME = "first_sync"
PAUSE_SECONDS = 30
"""After a failure; twice as long after each further one."""


def first_sync_sensor(
    specs: Iterable[EntitySpec], settings: Settings, jobs: Sequence[dg.ExecutableDefinition]
) -> dg.SensorDefinition:
    """The sensor that asks for the first sync of everything; ``jobs`` are the syncs of the entities."""
    names = ", ".join(spec.entity for spec in specs)

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        close_orphans(context.instance)
        try:
            with open_session(SyncResource.settings()) as session:
                if not session.mode.automatic:
                    return dg.SkipReason(session.mode.why)
                requests = list(first_requests(context.instance, session))
        except SyncError as error:
            return dg.SkipReason(str(error))
        return dg.SensorResult(run_requests=requests) if requests else dg.SkipReason("everything was synced before")

    return dg.SensorDefinition(
        name=NAME,
        evaluation_fn=evaluate,
        jobs=jobs,
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Watches for what was never synced of {names}, or not to the end, and starts its first sync when live "
        "syncing is on: one run at a time.",
    )


def first_requests(instance: DagsterInstance, session: Session) -> Iterator[dg.RunRequest]:
    """At most one run an entity; what depends on another waits until that was synced."""
    lacking = {name: _lacking(session, spec) for name, spec in session.specs.items()}
    for name, spans in lacking.items():
        ready = not any(lacking.get(other) for other in session.specs[name].depends_on)
        if not spans or not ready or _is_loading(instance, session, name, spans[0]):
            continue
        if under_way(instance, [sync_job_name(name)]) is None:
            request = _request(instance, session, name, spans[0])
            if request is not None:
                yield request


def _is_loading(instance: DagsterInstance, session: Session, entity: str, span: Days | None) -> bool:
    """Whether a run of any job is loading days of the span right now."""
    runs = session.ledger(entity).loads.loading_runs(span.keys if span else None)
    found = [instance.get_run_by_id(run_id) for run_id in runs]
    return any(run is not None and not run.is_finished for run in found)


def _lacking(session: Session, spec: EntitySpec) -> Sequence[Days | None]:
    # What waits for an approval would only be held once more.
    if waits_for_creates(session, spec):
        return []
    unless = spec.fingerprint if waits_for_rewrite(session, spec) else None
    if not spec.partitioned:
        return [None] if session.ledger(spec).loads.not_done(unless_not_of=unless) else []
    whole = whole_range(session.settings, session.now().astimezone(UTC).date(), 0)
    loads = session.ledger(spec).loads
    gaps = _newest_first(session, loads.not_done(whole.keys, unless_not_of=unless))
    if spec.facts is None:
        return gaps
    # Read once more for reports; nothing of them is written unless it has changed.
    return [*gaps, *_newest_first(session, loads.without_facts(whole.keys, unless_not_of=unless))]


def _newest_first(session: Session, gaps: Sequence[Scope]) -> list[Days]:
    """In runs of a bounded number of days; the newest are what people look at."""
    spans = [Days(date.fromisoformat(gap[0]), date.fromisoformat(gap[1])) for gap in gaps if gap]
    return [part for span in spans for part in spans_of(span, session.settings.days_per_run)][::-1]


def _request(instance: DagsterInstance, session: Session, entity: str, span: Days | None) -> dg.RunRequest | None:
    """The run of one span; none while a failed one waits for its next try."""
    asked = " ".join([session.pair, entity, str(span or "")])
    digest = hashlib.blake2b(asked.encode(), digest_size=10).hexdigest()
    again = pause(instance, digest, PAUSE_SECONDS)
    if again is not None and not again.is_over(session.now()):
        return None
    tags = {EVENTS_TAG: digest, **requested("first sync")} | (
        {RANGE_START: span.keys[0], RANGE_END: span.keys[1]} if span else {}
    )
    return dg.RunRequest(
        run_key=f"{NAME}:{digest}:{attempts(instance, digest)}", job_name=sync_job_name(entity), tags=tags
    )
