"""Test connection: what was found, what it means, and what to do, one line each."""

from __future__ import annotations

from starlette.responses import Response

from sync_pipeline.console.request_context import RequestContext, render


def show(context: RequestContext) -> Response:
    """GET /check."""
    test = context.console.work.test
    return context.page("check.html", "Test connection", test=test, under_way=test is not None and not test.is_done)


def begin(context: RequestContext) -> Response:
    """POST /check."""
    context.settings()
    context.console.work.begin_test()
    return context.go("/check")


def progress(context: RequestContext) -> Response:
    """GET /check/progress: the part of the page that changes by itself."""
    test = context.console.work.test
    under_way = test is not None and not test.is_done
    answer = render("_checking.html", test=test, under_way=under_way)
    answer.headers["X-Under-Way"] = "yes" if under_way else "no"
    return answer
