"""Prepare, after step 2: what has to exist before the first record, made at the press of a button, and what is measured."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.errors import SyncError
from sync_pipeline.setup import prepare as preparing

HERE = "/setup/prepare"


def show(context: RequestContext) -> Response:
    """GET /setup/prepare."""
    settings = context.settings()
    if not preparing.is_needed(settings):
        return context.go("/mapping", preparing.NOT_NEEDED.format(profile=settings.snapshots_profile))
    found = _progress(context)
    compared = None
    if not found["under_way"] and not settings.missing:
        if settings.sandbox:
            context.console.keep_sandbox(settings)
        try:
            compared = preparing.compare(context.setup)
        except SyncError as error:
            context.went_wrong(error)
    return context.page(
        "prepare.html",
        f"Step 2: Prepare {found['system']}",
        step="snapshots",
        compared=compared,
        is_set_up=not settings.missing,
        **found,
    )


def begin(context: RequestContext) -> Response:
    """POST /setup/prepare."""
    settings = context.settings()
    if settings.sandbox:
        context.console.keep_sandbox(settings)
    context.console.work.begin_preparation(context.setup)
    return context.go(HERE)


def progress(context: RequestContext) -> Response:
    """GET /setup/prepare/progress: the part of the page that changes by itself."""
    found = _progress(context)
    return context.part("_preparing.html", is_under_way=found["under_way"], **found)


def _progress(context: RequestContext) -> dict[str, Any]:
    work = context.console.work.preparing
    under_way = work is not None and not work.is_done
    return {
        "system": load_profile(context.settings().snapshots_profile).title,
        "work": work,
        "under_way": under_way,
        "measured": [] if under_way else preparing.measured(context.setup),
    }
