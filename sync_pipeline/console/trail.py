"""Audit trail: who changed what, and when."""

from __future__ import annotations

from starlette.responses import Response

from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.store.audit import changes


def show(visit: RequestContext) -> Response:
    """GET /trail."""
    with visit.setup.store() as store:
        return visit.page("trail.html", "Audit trail", changes=changes(store))
