"""Work that people request: the buttons, what is under way with its progress, and the outcomes."""

from __future__ import annotations

from starlette.responses import Response

from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.errors import NotFound, SyncError
from sync_pipeline.setup.requests import (
    ShownRequest,
    WorkPanel,
    ask_for,
    shown_request,
    shown_requests,
    work_panel,
)
from sync_pipeline.setup.requests import cancel as ask_cancel
from sync_pipeline.setup.requests import pause as set_paused
from sync_pipeline.store.requests import WorkScope

LONGEST_NUMBER = 15
SAME = "The same request is already in progress."
LATE = "It had already ended."
PAUSED, RESUMED = "It had already ended, or is paused already.", "It is not paused."


def panel(context: RequestContext) -> WorkPanel | None:
    """What pages with such buttons show; None while nothing is connected."""
    try:
        return work_panel(context.setup)
    except SyncError:
        return None


def overview(context: RequestContext) -> Response:
    """GET /requests."""
    context.settings()
    found, has_more = shown_requests(context.setup, _number(context.query("before")) or None)
    return context.page("requests.html", "Requests", found=found, has_more=has_more, work=panel(context))


def show(context: RequestContext) -> Response:
    """GET /requests/{number}."""
    found = _found(context)
    return context.page("request.html", found.title, shown=found, dagster=context.console.dagster)


def progress(context: RequestContext) -> Response:
    """GET /requests/{number}/progress: the part of the page that changes by itself."""
    found = _found(context)
    is_open = found.request.is_open
    return context.part("_working.html", is_under_way=is_open, shown=found, dagster=context.console.dagster)


def begin(context: RequestContext) -> Response:
    """POST /requests."""
    form = context.form
    context.settings()
    ids = tuple(one for one in form.all("source_id") if one)
    scope = WorkScope(form.text("entity"), form.text("first"), form.text("last"), ids)
    request, is_new = ask_for(context.setup, form.text("kind"), scope)
    return context.go(f"/requests/{request.id}", "" if is_new else SAME)


def cancel(context: RequestContext) -> Response:
    """POST /requests/{number}/cancel."""
    number = _found(context).request.id
    return context.go(f"/requests/{number}", "" if ask_cancel(context.setup, number) else LATE)


def pause(context: RequestContext) -> Response:
    """POST /requests/{number}/pause."""
    number = _found(context).request.id
    return context.go(f"/requests/{number}", "" if set_paused(context.setup, number, is_on=True) else PAUSED)


def resume(context: RequestContext) -> Response:
    """POST /requests/{number}/resume."""
    number = _found(context).request.id
    return context.go(f"/requests/{number}", "" if set_paused(context.setup, number, is_on=False) else RESUMED)


def _found(context: RequestContext) -> ShownRequest:
    found = shown_request(context.setup, _number(context.param("number")))
    if found is None:
        raise NotFound("There is no such request; old ones are deleted.")
    return found


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= LONGEST_NUMBER else 0
