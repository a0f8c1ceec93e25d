"""Run jobs in this process as real Dagster runs: their history is there when the UI opens."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
from dagster import DagsterInstance
from filelock import FileLock

from sync_pipeline.defs.history import write_events_in_batches
from sync_pipeline.defs.jobs import EVERYTHING, sync_job_name
from sync_pipeline.defs.orphans import PROCESS_TAG, own_process
from sync_pipeline.defs.reports import Problem, RunReport, report_of
from sync_pipeline.settings import Settings, project_root
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.check import Options

CONFIG = "dagster.yaml"
OURS = Path(__file__).parents[2]
"""Where this code was cloned to."""
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def open_instance(settings: Settings) -> DagsterInstance:
    """The Dagster instance of this project: ``$DAGSTER_HOME`` if set, else a directory in SYNC_HOME."""
    home = prepare_home(settings)
    # Dagster makes its tables on first use and fails when another process makes them at that moment.
    with FileLock(home / "opening.lock", mode=0o600, fallback_to_soft=False):
        return DagsterInstance.get()


def prepare_home(settings: Settings) -> Path:
    """Make sure DAGSTER_HOME exists and is configured by the project's dagster.yaml."""
    write_events_in_batches()
    chosen = os.environ.get("DAGSTER_HOME")
    if chosen:
        return Path(chosen)
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Also from outside of a project, as cron jobs start: Dagster's own defaults send usage statistics.
    config = next((place / CONFIG for place in (project_root(), OURS) if (place / CONFIG).exists()), None)
    if config is not None:
        shutil.copyfile(config, home / CONFIG)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def run_sync(
    instance: DagsterInstance,
    defs: dg.Definitions,
    entities: Sequence[str],
    spans: Sequence[Days],
    options: Options,
) -> Iterator[RunReport]:
    """The main job - or one entity's - over the days, in bounded runs, one after the other.

    Every entity runs once, time entries once per span; later runs only hold the partitioned entities. In a dry run
    each entity has runs of its own: nothing is materialized, and a job would not start what depends on that.
    """
    for together in [[entity] for entity in entities] if options.dry_run else [entities]:
        yield from _in_spans(instance, defs, together, spans, options)


def _in_spans(
    instance: DagsterInstance,
    defs: dg.Definitions,
    entities: Sequence[str],
    spans: Sequence[Days],
    options: Options,
) -> Iterator[RunReport]:
    waiting = [entity for entity in partitioned(defs) if entity in entities]
    everything = len(entities) > 1
    first = EVERYTHING if everything else sync_job_name(entities[0])
    if not waiting:
        yield _run(instance, defs, first, None, entities, options)
        return
    blocked: list[tuple[RunReport, str, Days]] = []
    for number, span in enumerate(spans):
        whole = everything and number == 0
        for chosen in [list(entities)] if whole else [[entity] for entity in waiting]:
            report = _run(instance, defs, EVERYTHING if whole else sync_job_name(chosen[0]), span, chosen, options)
            stopped = [entity for entity in waiting if entity in report.broken | report.skipped]
            if stopped and span != spans[-1]:
                report.warnings += [
                    _not_tried(entity, spans[number + 1].first) for entity in stopped if entity in report.broken
                ]
            # A broken connection or key would meet every later span too, each after the full wait of its retries.
            waiting = [entity for entity in waiting if entity not in stopped]
            if len(spans) > 1:
                blocked += [(report, entity, span) for entity in waiting if (entity, "volume") in report.blocked]
            yield report
    for report, entity, span in blocked:
        # What is missing there may have moved to days that have been read by now.
        again = _run(instance, defs, sync_job_name(entity), span, [entity], options)
        report.forgive(entity, "volume")
        yield again


def _not_tried(entity: str, day: date) -> Problem:
    text = f"the days from {day} on were not tried after this error; the next sync goes on there."
    return Problem(entity, text, f"{entity} not tried")


def spans_of(days: Days, size: int) -> list[Days]:
    """The days cut into spans of at most ``size`` days, in order."""
    starts = [days.first + timedelta(days=n) for n in range(0, (days.last - days.first).days + 1, size)]
    return [Days(start, min(start + timedelta(days=size - 1), days.last)) for start in starts]


def whole_range(settings: Settings, today: date, ahead: int) -> Days:
    """From the start date to as far ahead as there are partitions."""
    return Days(min(settings.start_date, today), today + timedelta(days=ahead))


def partitioned(defs: dg.Definitions) -> list[str]:
    """The entities that are synced day by day."""
    graph = defs.resolve_asset_graph()
    return [key.to_user_string() for key in graph.materializable_asset_keys if graph.get(key).partitions_def]


def _run(
    instance: DagsterInstance,
    defs: dg.Definitions,
    job: str,
    span: Days | None,
    entities: Sequence[str],
    options: Options,
) -> RunReport:
    tags = {PROCESS_TAG: own_process()}
    if span:
        tags |= {RANGE_START: span.keys[0], RANGE_END: span.keys[1]}
    result = defs.resolve_job_def(job).execute_in_process(
        instance=instance,
        raise_on_error=False,
        tags=tags,
        run_config={
            "ops": {entity: {"config": asdict(options)} for entity in entities},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
    )
    return report_of(result, span, entities)
