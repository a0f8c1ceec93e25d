"""Home: both connections, how every entity stands, what ran last, and the one big switch."""

from __future__ import annotations

from starlette.responses import Response

from sync_pipeline.console.visit import Visit
from sync_pipeline.errors import SyncError
from sync_pipeline.setup.accounts import connections
from sync_pipeline.setup.overview import Overview, overview
from sync_pipeline.setup.switching import standing


def show(visit: Visit) -> Response:
    """GET /."""
    settings = visit.settings()
    return visit.page(
        "home.html",
        "Home",
        connections=connections(visit.desk),
        standing=standing(visit.desk),
        overview=_overview(visit),
        dagster=visit.console.dagster,
        settings=settings,
    )


def _overview(visit: Visit) -> Overview:
    try:
        return overview(visit.desk)
    except SyncError:  # what is in the way is told by how the switch stands
        return Overview((), ())
