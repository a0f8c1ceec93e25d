"""Housekeeping: what was processed long ago is forgotten, since bodies hold names and e-mail addresses."""

from datetime import timedelta

import dagster as dg

from sync_pipeline.defs.failures import as_failure
from sync_pipeline.defs.resources import SyncResource
from sync_pipeline.store.events import forget

FORGET_EVENTS = "forget_events"
KEPT = timedelta(days=30)
"""As long as Dagster keeps what its schedules did: until then a run's events can be looked up."""


def housekeeping_job() -> dg.JobDefinition:
    """The job that empties the inbox of what is closed."""

    @dg.op(
        name="forget_closed_events", out=dg.Out(dg.Nothing), description=f"Delete events closed {KEPT.days} days ago."
    )
    def forget_closed_events(context: dg.OpExecutionContext, sync: SyncResource) -> None:
        with as_failure():
            gone = forget(sync.session.store, sync.session.connection, sync.session.now() - KEPT)
        context.log.info("%d events were deleted.", gone)

    @dg.job(
        name=FORGET_EVENTS,
        description=f"Delete the webhook events that were closed more than {KEPT.days} days ago.",
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        forget_closed_events()

    return job
