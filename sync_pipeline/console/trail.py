"""Audit trail: who changed what, and when."""

from __future__ import annotations

from starlette.responses import Response

from sync_pipeline.console.visit import Visit
from sync_pipeline.store.audit import changes


def show(visit: Visit) -> Response:
    """GET /trail."""
    with visit.desk.store() as store:
        return visit.page("trail.html", "Audit trail", changes=changes(store))
