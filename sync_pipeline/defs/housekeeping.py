"""Housekeeping: each night it deletes the rows, Dagster runs, batches and copies that are older than their setting allows."""

from collections.abc import Sequence
from datetime import timedelta

import dagster as dg

from sync_pipeline.defs.metadata import job_tags
from sync_pipeline.defs.resources import SyncResource
from sync_pipeline.hosting.run_retention import prune_runs
from sync_pipeline.hosting.steps import as_failure
from sync_pipeline.settings import Settings
from sync_pipeline.stages.batch_files import discard_older
from sync_pipeline.store.retention import Ages, discard_copies, prune

FORGET_EVENTS = "forget_events"
"""The job's name from when it did only that; schedules and scripts use it."""


def housekeeping_job(checks: Sequence[dg.AssetCheckKey], owners: Sequence[str] = ()) -> dg.JobDefinition:
    """The job that deletes what is old; ``checks`` are all asset checks there are."""

    @dg.op(
        name="forget_closed_events",
        out=dg.Out(dg.Nothing),
        description="Delete rows, Dagster runs, batches and copies that are older than the SYNC_KEEP_... settings.",
    )
    def delete_what_is_old(context: dg.OpExecutionContext, sync: SyncResource) -> None:
        with as_failure():
            store, settings, now = sync.session.store, sync.session.settings, sync.session.now()
            deleted = prune(store, ages(settings), now)
            deleted["runs"] = prune_runs(context.instance, checks, now - timedelta(days=settings.keep_runs_days))
            discard_older(settings.batches, settings.keep_batches_days)
            if store.path is not None:
                deleted["copies"] = discard_copies(store.path, now - timedelta(days=settings.keep_copies_days))
        found = [f"{count} {name}" for name, count in deleted.items() if count]
        context.log.info("Deleted: %s.", ", ".join(found) or "nothing")

    @dg.job(
        name=FORGET_EVENTS,
        description="Delete what is older than the SYNC_KEEP_... settings: events, history, Dagster runs, batches.",
        tags=job_tags("housekeeping"),
        owners=owners,
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        delete_what_is_old()

    return job


def ages(settings: Settings) -> Ages:
    """How long each kind of row is kept."""
    return Ages(
        deliveries=timedelta(days=settings.keep_deliveries_days),
        syncs=timedelta(days=settings.keep_syncs_days),
        audit=timedelta(days=settings.keep_audit_days),
        trials=timedelta(days=settings.keep_previews_days),
        approvals=timedelta(days=settings.keep_approvals_days),
        events=timedelta(days=settings.keep_events_days),
        alerts=timedelta(days=settings.keep_alerts_days),
        tombstones=timedelta(days=settings.keep_tombstones_days),
    )
