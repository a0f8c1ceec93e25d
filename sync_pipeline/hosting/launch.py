"""Run jobs in this process as real Dagster runs: their history is there when the UI opens."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster import DagsterInstance
from filelock import FileLock
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sync_pipeline.errors import ConfigError, StoreError
from sync_pipeline.hosting.liveness import own_process, process_tags
from sync_pipeline.hosting.run_reports import Problem, RunReport, report_of
from sync_pipeline.hosting.run_storage import HOME_VARIABLE, home_of, write_events_in_batches
from sync_pipeline.hosting.run_tags import requested
from sync_pipeline.private_files import naming, require_trusted
from sync_pipeline.session.progress import WARNING, Progress, reporting, silent
from sync_pipeline.settings import Settings, environment, project_root
from sync_pipeline.stages.batch import Days, Options
from sync_pipeline.store.audit import system_user
from sync_pipeline.store.errors import explained

EVERYTHING, VERIFY = "sync_everything", "verify_everything"
CONFIG = "dagster.yaml"
OURS = (Path(__file__).parents[2], Path(__file__).parents[1])
"""Where this project's dagster.yaml is: in a checkout at its top, in a wheel with the package."""
STORAGE = "storage: {custom: {module: sync_pipeline.hosting.run_storage, class: History}}"
POOLED = "sync_pipeline.hosting.postgres_storage"
"""The module of Dagster's storage on PostgreSQL in a fleet; it is imported only where that is used."""
UNUSABLE = ("postgresql", "postgresql+psycopg")
"""SQLAlchemy 2.1 takes psycopg 3 for the first one, too."""
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def sync_job_name(entity: str) -> str:
    """The job that syncs one entity."""
    return f"sync_{entity}"


def verify_job_name(entity: str) -> str:
    """The job that compares one entity on both sides."""
    return f"verify_{entity}"


def open_instance(settings: Settings) -> DagsterInstance:
    """The Dagster instance of this project."""
    home = prepare_home(settings)
    # Dagster makes its tables on first use and fails when another process makes them at that moment.
    with FileLock(home / "opening.lock", mode=0o600, fallback_to_soft=False), _storage_errors(home / CONFIG):
        return DagsterInstance.get()


@contextmanager
def _storage_errors(config: Path) -> Iterator[None]:
    """Turn what Dagster raises when its database cannot be used into one StoreError; its lines about retries are dropped."""
    root = logging.getLogger()
    root.addFilter(_is_no_retry)
    try:
        yield
    except Exception as error:
        # dagster_postgres is imported only where PostgreSQL is used, so its errors are known by their module.
        if not isinstance(error, SQLAlchemyError) and not type(error).__module__.startswith("dagster_postgres"):
            raise
        cause = error if isinstance(error, SQLAlchemyError) else error.__cause__
        if isinstance(cause, DBAPIError) and isinstance(cause.orig, sqlite3.Error):
            # A file of our own: SQLite says whether it is full, locked or damaged.
            raise explained(cause, f"Dagster's history in {config.parent}") from error
        reason = str(cause.orig if isinstance(cause, DBAPIError) else cause or error).strip().partition("\n")[0]
        raise StoreError(
            f"Dagster's storage, named in {config}, cannot be used ({reason}).",
            fix="Check that its server runs and that the section `storage` names the right place.",
        ) from error
    finally:
        root.removeFilter(_is_no_retry)


def _is_no_retry(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Retrying failed database")


def prepare_home(settings: Settings) -> Path:
    """Make sure DAGSTER_HOME exists and is configured by the project's dagster.yaml."""
    write_events_in_batches()
    home = home_of(settings)
    if environment().get(HOME_VARIABLE):
        os.environ[HOME_VARIABLE] = str(home)  # `.env` may have named it
        look_at(home / CONFIG)
        return home
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Also from outside of a project, as cron jobs start: Dagster's own defaults send usage statistics.
    config = next((place / CONFIG for place in (project_root(), *OURS) if (place / CONFIG).exists()), None)
    if config is not None:
        if config.parent not in OURS:
            require_trusted(config)  # it names code that Dagster runs
            look_at(config)
        with naming(home / CONFIG):
            (home / CONFIG).write_bytes(config.read_bytes())
    os.environ[HOME_VARIABLE] = str(home)
    return home


def look_at(config: Path) -> None:
    """Look at the storage in a dagster.yaml that the user may have written.

    Dagster's own SQLite storage works, and is named with what to add. Raises ConfigError for PostgreSQL by psycopg 3,
    which Dagster's statements do not work with, and for a variable without a value.
    """
    storage = _storage_in(config)
    for name in _variables(storage.get("postgres")):
        if not (value := environment().get(name)):
            raise ConfigError(
                f"{config}: the variable {name}, which the section `storage` names, is not set.",
                fix="Set it in the environment or in .env.",
            )
        os.environ.setdefault(name, value)  # Dagster looks for it there; `.env` may have named it
    if _scheme(storage.get("postgres")) in UNUSABLE:
        raise ConfigError(
            f"{config}: on this PostgreSQL URL no run of Dagster would start, since it names no driver or psycopg 3.",
            fix="Begin `postgres_url` with `postgresql+psycopg2://`, or give `postgres_db` the line `scheme: postgresql+psycopg2`.",
        )
    if not storage or "sqlite" in storage:
        text = (
            f"{config} uses Dagster's own SQLite storage, on which runs are several times slower. Add to it: {STORAGE}"
        )
        reporting.get(silent)(Progress("Dagster", WARNING, note=text))


def _variables(section: Any) -> Iterator[str]:
    """The variables that a section names with ``env``."""
    if isinstance(section, dict):
        for key, value in section.items():
            yield from [value] if key == "env" and isinstance(value, str) else _variables(value)


def _scheme(postgres: Any) -> str:
    """The scheme of the URL that a section `postgres` describes; "" where there is none."""
    if not isinstance(postgres, dict):
        return ""
    if url := postgres.get("postgres_url"):
        text = environment().get(str(url.get("env")), "") if isinstance(url, dict) else str(url)
        return text.partition(":")[0]
    database = postgres.get("postgres_db")
    return str(database.get("scheme", "postgresql")) if isinstance(database, dict) else ""


def _storage_in(config: Path) -> dict[str, Any]:
    """The section `storage`; what is no YAML is explained by Dagster."""
    try:
        found = yaml.safe_load(config.read_text()) if config.exists() else None
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    found = found if isinstance(found, dict) else {}
    storage = found.get("storage")
    custom = storage.get("custom") if isinstance(storage, dict) else None
    if isinstance(custom, dict) and custom.get("module") == POOLED:
        storage = {"postgres": custom.get("config")}
    if isinstance(
        history := found.get("run_storage"), dict
    ):  # one section for each kind, as Dagster's Helm chart writes it
        kind = "postgres" if str(history.get("module", "")).startswith("dagster_postgres") else "custom"
        storage = {kind: history.get("config")}
    return storage if isinstance(storage, dict) else {}


def run_sync(
    instance: DagsterInstance,
    defs: dg.Definitions,
    entities: Sequence[str],
    spans: Sequence[Days],
    options: Options,
) -> Iterator[RunReport]:
    """The main job - or its part for these entities, or one entity's - over the days, in bounded runs, one after the other.

    Every entity runs once, time entries once per span; later runs only hold the partitioned entities. In a dry run
    each entity has runs of its own: nothing is materialized, and a job would not start what depends on that.
    """
    for together in [[entity] for entity in entities] if options.dry_run else [entities]:
        skipped: set[str] = set()
        for report in _in_spans(instance, defs, together, spans, options):
            skipped |= report.skipped if not report.errors else set()
            yield report
        # An asset with held records is not materialized, and a job does not start what depends on it.
        for entity in [entity for entity in together if entity in skipped]:
            yield from _in_spans(instance, defs, [entity], spans, options)


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
    held: list[tuple[RunReport, str, Days]] = []
    for number, span in enumerate(spans):
        whole = everything and number == 0
        for chosen in [list(entities)] if whole else [[entity] for entity in waiting]:
            report = _run(instance, defs, EVERYTHING if whole else sync_job_name(chosen[0]), span, chosen, options)
            stopped = [entity for entity in waiting if entity in report.broken | report.skipped]
            if stopped and span != spans[-1]:
                report.warnings += [
                    _not_tried(entity, spans[number + 1].first) for entity in stopped if entity in report.broken
                ]
            # A broken connection or key would fail every later span, too, each after the full wait of its retries.
            waiting = [entity for entity in waiting if entity not in stopped]
            if len(spans) > 1:
                held += [(report, entity, span) for entity in waiting if report.held_deletes(entity)]
            yield report
    for report, entity, span in held:
        # What is missing there may have moved to days that have been read by now.
        again = _run(instance, defs, sync_job_name(entity), span, [entity], options)
        report.forget_held(entity)
        yield again


def _not_tried(entity: str, day: date) -> Problem:
    text = f"the days from {day} on were not tried after this error; the next sync continues there."
    return Problem(entity, text, f"{entity} not tried")


def spans_of(days: Days, size: int) -> list[Days]:
    """The days cut into spans of at most ``size`` days, in order."""
    starts = [days.first + timedelta(days=n) for n in range(0, (days.last - days.first).days + 1, size)]
    return [Days(start, min(start + timedelta(days=size - 1), days.last)) for start in starts]


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
    tags = process_tags(own_process()) | requested("terminal", system_user())
    if span:
        tags |= {RANGE_START: span.keys[0], RANGE_END: span.keys[1]}
    result = defs.resolve_job_def(job).execute_in_process(
        instance=instance,
        raise_on_error=False,
        tags=tags,
        asset_selection=[dg.AssetKey(entity) for entity in entities] if job == EVERYTHING else None,
        run_config={
            "ops": {entity: {"config": asdict(options)} for entity in entities},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
    )
    return report_of(result, span, entities)
