"""Figures of each project and month as an asset behind the entities, computed again when entries have changed."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg

from sync_pipeline.alerts.current import open_alerts
from sync_pipeline.alerts.evaluation import refresh_figures
from sync_pipeline.clock import has_passed
from sync_pipeline.defs.metadata import console_link, job_owners, job_tags, run_summary
from sync_pipeline.defs.resources import SyncResource
from sync_pipeline.errors import SyncError
from sync_pipeline.hosting.liveness import close_orphans
from sync_pipeline.hosting.queue import under_way
from sync_pipeline.hosting.run_tags import requested
from sync_pipeline.hosting.steps import as_failure
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.reporting.reports import month_figures, up_to_date
from sync_pipeline.reporting.revenue import is_old, refresh_revenue
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.settings import Settings
from sync_pipeline.store.alerts import FIGURE
from sync_pipeline.store.project_months import ReportSettings, differences, is_empty, is_stale, mixed_currencies
from sync_pipeline.store.revenue import last_read

NAME = "reports"
"""Of the job and of its sensor."""
KEY = dg.AssetKey("project_performance")
EVERY_SECONDS = 60
AGAIN = timedelta(hours=1)
"""After so long revenue that could not be read is asked for again."""
SHOWN = 20
CHECKS = {
    "sums_equal_entries": "Hours and entries of each month are those of its time entries.",
    "no_month_lost": "Each month with finished time entries has figures.",
    "currencies_consistent": "No project has entries in several currencies in one month.",
    "within_rules": "No figure has passed a threshold of your rules (docs/figure-alerts.md); the alerts say which.",
}


def performance_asset(specs: Iterable[EntitySpec], settings: Settings) -> dg.AssetSpec:
    """What the entities add up to."""
    return dg.AssetSpec(
        KEY,
        deps=[dg.AssetKey(spec.entity) for spec in specs],
        description="Hours, people, billed amount and cost of each project and month, computed in the database: the table "
        "`project_months`, the views `mart_...` and `sync-pipeline report`. A month is materialized when its figures were computed again.",
        group_name="reports",
        kinds={"sql"},
        partitions_def=_monthly(settings),
        metadata={"dagster/table_name": "mart_project_months", **console_link(settings.console_url)},
    )


def _monthly(settings: Settings) -> dg.MonthlyPartitionsDefinition:
    """From the month before the first day on, which may begin in it elsewhere."""
    first: date = settings.start_date.replace(day=1) - timedelta(days=1)
    return dg.MonthlyPartitionsDefinition(f"{first:%Y-%m}", fmt="%Y-%m", end_offset=2)


def performance_checks(settings: Settings) -> dg.AssetChecksDefinition:
    """The op that computes what has changed, and compares the figures with the entries."""
    months = _monthly(settings)

    @dg.multi_asset_check(
        name="compute_reports",
        specs=[dg.AssetCheckSpec(name, asset=KEY, description=text) for name, text in CHECKS.items()],
        description="Compute what has changed since the last time; a month that was computed again is materialized.",
    )
    def compute(context: dg.AssetCheckExecutionContext, sync: SyncResource) -> Iterator[dg.AssetCheckResult]:
        with as_failure():
            session = sync.session
            context.log.info("%s", refresh_revenue(session))
            found = up_to_date(session)
            context.log.info("Computed: %d projects and months, in %d months.", found.keys, len(found.months))
            for month in found.months:
                if months.has_partition_key(month):
                    shown = _metadata(session, month, context.run.run_id)
                    context.op_execution_context.log_event(
                        dg.AssetMaterialization(KEY, partition=month, metadata=shown)
                    )
            results = list(_results(session))
        yield from results

    return compute


def _metadata(session: Session, month: str, run_id: str) -> dict[str, Any]:
    text = f"The figures of {month} were computed again."
    return run_summary(text, run_id, session.settings.console_url) | month_figures(session, month)


def _results(session: Session) -> Iterator[dg.AssetCheckResult]:
    wrong = differences(session.store, session.pair)
    lost = [each.month or "unknown" for each in wrong if not each.is_stored]
    mixed = [f"{project} in {month}" for project, month in mixed_currencies(session.store, session.pair)]
    found = {
        "sums_equal_entries": [f"{each.month}: {each.entries} entries, {each.seconds} s" for each in wrong],
        "no_month_lost": lost,
        "currencies_consistent": mixed,
    }
    for name, lines in found.items():
        yield dg.AssetCheckResult(
            asset_key=KEY,
            check_name=name,
            passed=not lines,
            severity=dg.AssetCheckSeverity.WARN if name == "currencies_consistent" else dg.AssetCheckSeverity.ERROR,
            metadata={"found": len(lines), **({"first": "; ".join(lines[:SHOWN])} if lines else {})},
        )
    yield _within_rules(session)


def _within_rules(session: Session) -> dg.AssetCheckResult:
    """An evaluation of the rules; it names them, and no project or person."""
    refresh_figures(session, every=timedelta())
    alerts = [alert for alert in open_alerts(session) if alert.key.kind == FIGURE]
    is_critical = any(alert.severity == "critical" for alert in alerts)
    counts = Counter(alert.key.entity for alert in alerts)
    shown = {"rules": ", ".join(f"{rule}: {count}" for rule, count in sorted(counts.items()))} if alerts else {}
    return dg.AssetCheckResult(
        asset_key=KEY,
        check_name="within_rules",
        passed=not alerts,
        severity=dg.AssetCheckSeverity.ERROR if is_critical else dg.AssetCheckSeverity.WARN,
        metadata={"found": len(alerts), **shown},
    )


def reports_job(specs: Iterable[EntitySpec]) -> "dg.UnresolvedAssetJobDefinition":
    """The job that computes what has changed."""
    return dg.define_asset_job(
        NAME,
        selection=dg.AssetSelection.checks(*(dg.AssetCheckKey(KEY, name) for name in CHECKS)),
        description="Recompute the figures of projects and months with changed time entries; everything when settings of reports "
        "have. The revenue of projects is read from the Snapshots API at most every six hours, where it has analytics.",
        tags=job_tags(NAME),
        owners=job_owners(specs),
        executor_def=dg.in_process_executor,
    )


def _asks_for_revenue(context: dg.SensorEvaluationContext, session: Session) -> bool:
    """Whether revenue is to be read again; the cursor says when it was last asked for, so that an outage costs a run an hour."""
    asked, now = context.cursor, session.now()
    is_due = is_old(last_read(session.store, session.pair), now)
    if not is_due or not has_passed(datetime.fromisoformat(asked) if asked else None, AGAIN, now):
        return False
    context.update_cursor(now.isoformat())
    return True


def reports_sensor(job: "dg.UnresolvedAssetJobDefinition") -> dg.SensorDefinition:
    """Each minute it looks whether entries have changed, or revenue is old."""

    def evaluate(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        close_orphans(context.instance)
        try:
            with open_session(SyncResource.settings()) as session:
                store, pair = session.store, session.pair
                if is_empty(store, pair):
                    return dg.SkipReason("there is no time entry yet")
                has_changed = is_stale(store, pair, ReportSettings.of(session.settings))
                if not has_changed and not _asks_for_revenue(context, session):
                    return dg.SkipReason("no time entry has changed")
        except SyncError as error:
            return dg.SkipReason(str(error))
        run = under_way(context.instance, [NAME])
        return dg.SkipReason(f"run {run} computes") if run is not None else dg.RunRequest(tags=requested("change"))

    return dg.SensorDefinition(
        name=NAME,
        evaluation_fn=evaluate,
        job=job,
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Watches for time entries that have changed, and computes the figures of their projects and months again; revenue is "
        "read every six hours. The sensor itself sends no request, and works whether live syncing is on or not.",
    )
