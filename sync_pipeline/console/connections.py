"""Connections: both systems as they answer, and a test that says what was found, what it means and what to do."""

from __future__ import annotations

from starlette.responses import Response

from sync_pipeline.console.request_context import RequestContext, render
from sync_pipeline.setup.connections import connections


def show(context: RequestContext) -> Response:
    """GET /connections."""
    test = context.console.work.test
    return context.page(
        "connections.html",
        "Connections",
        connections=connections(context.setup),
        test=test,
        under_way=test is not None and not test.is_done,
    )


def begin(context: RequestContext) -> Response:
    """POST /connections: test both."""
    context.settings()
    context.console.work.begin_test()
    return context.go("/connections")


def progress(context: RequestContext) -> Response:
    """GET /connections/progress: the part of the page that changes by itself."""
    test = context.console.work.test
    under_way = test is not None and not test.is_done
    answer = render("_checking.html", test=test, under_way=under_way, now=context.setup.now())
    answer.headers["X-Under-Way"] = "yes" if under_way else "no"
    return answer
