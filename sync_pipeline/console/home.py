"""Home: both connections, the state of every entity, what ran last, and the one big switch; and the audit trail."""

from __future__ import annotations

from starlette.responses import Response

from sync_pipeline.console.approvals import undecided
from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.errors import SyncError
from sync_pipeline.setup.connections import connections
from sync_pipeline.setup.overview import Overview, overview
from sync_pipeline.setup.switching import read_live_status
from sync_pipeline.store.audit import changes


def show(visit: RequestContext) -> Response:
    """GET /."""
    settings = visit.settings()
    return visit.page(
        "home.html",
        "Home",
        connections=connections(visit.setup),
        standing=read_live_status(visit.setup),
        overview=_overview(visit),
        dagster=visit.console.dagster,
        settings=settings,
        undecided=undecided(visit),
    )


def _overview(visit: RequestContext) -> Overview:
    try:
        return overview(visit.setup)
    except SyncError:  # the state of the switch says what is in the way
        return Overview((), ())


def trail(visit: RequestContext) -> Response:
    """GET /trail."""
    with visit.setup.store() as store:
        return visit.page("trail.html", "Audit trail", changes=changes(store))
