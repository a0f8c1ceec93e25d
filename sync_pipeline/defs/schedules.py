"""Schedules: what polling and webhooks missed is found by reading again - days often, lists nightly, both sides weekly.

Staggered, so that no two begin together; each skips its turn while a run of the same job has not ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from sync_pipeline.connectors.registry import pace_of
from sync_pipeline.defs.housekeeping import FORGET_EVENTS
from sync_pipeline.defs.resources import SyncResource
from sync_pipeline.defs.verify import VerifyConfig, check_op
from sync_pipeline.errors import SyncError
from sync_pipeline.hosting.launch import RANGE_END, RANGE_START, spans_of, sync_job_name, verify_job_name
from sync_pipeline.hosting.liveness import close_orphans
from sync_pipeline.hosting.queue import BULK, under_way
from sync_pipeline.hosting.run_tags import requested
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.mapping.systems import SYSTEMS
from sync_pipeline.session.session import open_session
from sync_pipeline.settings import Settings
from sync_pipeline.setup.overview import turns
from sync_pipeline.stages.batch import DAYS_AHEAD, Days

Evaluation = Callable[[dg.ScheduleEvaluationContext], Iterator[dg.RunRequest | dg.SkipReason]]
REQUESTED = requested("schedule")
FOR_BULK = BULK | REQUESTED


def schedules(specs: list[EntitySpec], settings: Settings) -> list[dg.ScheduleDefinition]:
    """All schedules of these entities."""
    crons = turns(specs, settings)
    found = [_rescan(spec, settings, crons[spec.entity]) for spec in specs if spec.partitioned]
    found += [_nightly(spec, settings, crons[spec.entity]) for spec in specs if not spec.partitioned]
    found += [_weekly(spec, settings, number) for number, spec in enumerate(specs)]
    return [*found, _forgetting()]


def freshness(spec: EntitySpec, settings: Settings) -> dg.FreshnessPolicy:
    """When an asset counts as stale: two turns of its schedule were missed; one is a warning."""
    rescan = timedelta(hours=pace_of(spec.source.system, settings).rescan_hours)
    every = rescan if spec.partitioned and settings.always_live else timedelta(days=1)
    spare = timedelta(hours=1)
    return dg.FreshnessPolicy.time_window(fail_window=2 * every + spare, warn_window=every + spare)


def fresh(asset: dg.AssetsDefinition, policy: dg.FreshnessPolicy) -> dg.AssetsDefinition:
    """The asset with a freshness policy, which the daemon evaluates: it adds no check to any job."""
    return asset.map_asset_specs(lambda spec: dg.apply_freshness_policy(spec, policy))


def _rescan(spec: EntitySpec, settings: Settings, cron: str) -> dg.ScheduleDefinition:
    job, days = sync_job_name(spec.entity), settings.rescan_days
    cost = _in_words(spec.source.system, pace_of(spec.source.system, settings).days_cost)

    def evaluate(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        settings = SyncResource.settings()
        if (skipped := _busy(context, job)) is not None:
            yield skipped
            return
        at = context.scheduled_execution_time.astimezone(UTC)
        for span in spans_of(recent_days(settings, at.date()), settings.days_per_run):
            first, last = span.keys
            yield dg.RunRequest(run_key=f"{_key(at)}:{first}", tags={**FOR_BULK, RANGE_START: first, RANGE_END: last})

    return _schedule(
        f"rescan_{spec.entity}",
        job,
        cron,
        evaluate,
        [
            f"Reads the last {days} days of {spec.entity} again, and the days ahead. Cost: {cost}.",
            *_notes(spec, settings),
        ],
    )


def recent_days(settings: Settings, today: date) -> Days:
    """The days the rolling re-scan reads, the days ahead included: entries can be planned."""
    first = max(settings.start_date, today - timedelta(days=settings.rescan_days - 1))
    return Days(first, max(first, today + timedelta(days=DAYS_AHEAD)))


def _nightly(spec: EntitySpec, settings: Settings, cron: str) -> dg.ScheduleDefinition:
    job = sync_job_name(spec.entity)

    def evaluate(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        yield _busy(context, job) or dg.RunRequest(run_key=_key(context.scheduled_execution_time), tags=FOR_BULK)

    cost = _in_words(spec.source.system, pace_of(spec.source.system, settings).list_cost)
    text = [f"Reads all {spec.entity}. Cost: {cost}.", *_notes(spec, settings)]
    return _schedule(f"nightly_{spec.entity}", job, cron, evaluate, text)


def _weekly(spec: EntitySpec, settings: Settings, number: int) -> dg.ScheduleDefinition:
    job = verify_job_name(spec.entity)

    def evaluate(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        at = context.scheduled_execution_time.astimezone(UTC)
        wanted = VerifyConfig(repair=True, last_day=recent_days(settings, at.date()).keys[1])
        config = dg.RunConfig(ops={check_op(spec): wanted})
        yield _busy(context, job) or dg.RunRequest(run_key=_key(at), run_config=config, tags=REQUESTED)

    costs = "; ".join(_in_words(system, pace_of(system, settings).full_cost) for system in _systems(spec))
    text = [
        f"Reads {spec.entity} on both sides in full and delivers every difference. Cost: {costs}; and 1 request for each difference.",
        *_notes(spec, settings),
    ]
    return _schedule(f"weekly_verify_{spec.entity}", job, f"37 {3 + number % 20} * * 0", evaluate, text)


def _systems(spec: EntitySpec) -> list[str]:
    return list(dict.fromkeys((spec.source.system, spec.target.system)))


def _in_words(system: str, cost: str) -> str:
    return cost.format(system=SYSTEMS[system].label)


def _notes(spec: EntitySpec, settings: Settings) -> list[str]:
    """What the systems of an entity say about their limits."""
    return list(filter(None, (pace_of(system, settings).note for system in _systems(spec))))


def _forgetting() -> dg.ScheduleDefinition:
    def evaluate(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        yield _busy(context, FORGET_EVENTS) or dg.RunRequest(
            run_key=_key(context.scheduled_execution_time), tags=REQUESTED
        )

    text = ["Deletes what is older than the SYNC_KEEP_... settings: events, history, runs, batches. Cost: no request."]
    return _schedule(f"nightly_{FORGET_EVENTS}", FORGET_EVENTS, "47 1 * * *", evaluate, text)


def _schedule(
    name: str, job: str, cron: str, evaluate: Evaluation, description: Iterable[str]
) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=name,
        job_name=job,
        cron_schedule=cron,
        execution_timezone="UTC",
        execution_fn=_when_live(evaluate),
        # Its turns always come, and do something when live syncing is on: the switch needs no restart.
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=" ".join(description),
    )


def _when_live(evaluate: Evaluation) -> Evaluation:
    def evaluate_when_live(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        try:
            with open_session(SyncResource.settings()) as session:
                mode = session.mode
        except SyncError as error:
            yield dg.SkipReason(str(error))
            return
        if mode.automatic:
            yield from evaluate(context)
        else:
            yield dg.SkipReason(mode.why)

    return evaluate_when_live


def _busy(context: dg.ScheduleEvaluationContext, job: str) -> dg.SkipReason | None:
    close_orphans(context.instance)
    run = under_way(context.instance, [job])
    return None if run is None else dg.SkipReason(f"run {run} of {job} has not ended: its turn is skipped")


def _key(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="minutes")
