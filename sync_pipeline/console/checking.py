"""Test connection: what was found, what it means, and what to do, one line each."""

from __future__ import annotations

from starlette.responses import Response

from sync_pipeline.console.request_context import RequestContext, render


def show(visit: RequestContext) -> Response:
    """GET /check."""
    test = visit.console.work.test
    return visit.page("check.html", "Test connection", test=test, under_way=test is not None and not test.is_done)


def begin(visit: RequestContext) -> Response:
    """POST /check."""
    visit.settings()
    visit.console.work.begin_test()
    return visit.go("/check")


def progress(visit: RequestContext) -> Response:
    """GET /check/progress: the part of the page that changes by itself."""
    test = visit.console.work.test
    under_way = test is not None and not test.is_done
    answer = render("_checking.html", test=test, under_way=under_way)
    answer.headers["X-Under-Way"] = "yes" if under_way else "no"
    return answer
