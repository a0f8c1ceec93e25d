"""Home: both connections, the state of every entity, what ran last, and the one big switch."""

from __future__ import annotations

from starlette.responses import Response

from sync_pipeline.console.approvals import undecided
from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.errors import SyncError
from sync_pipeline.setup.connections import connections
from sync_pipeline.setup.overview import Overview, overview
from sync_pipeline.setup.switching import read_live_status


def show(context: RequestContext) -> Response:
    """GET /."""
    settings = context.settings()
    return context.page(
        "home.html",
        "Home",
        connections=connections(context.setup),
        standing=read_live_status(context.setup),
        overview=_overview(context),
        dagster=context.console.dagster,
        settings=settings,
        undecided=undecided(context),
    )


def _overview(context: RequestContext) -> Overview:
    try:
        return overview(context.setup)
    except SyncError:  # the state of the switch says what is in the way
        return Overview((), ())
