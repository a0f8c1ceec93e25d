"""The request budget, and what 429 looks like."""

from __future__ import annotations

from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from sync_pipeline.sandbox.limits import RequestBudget
from sync_pipeline.sandbox.world import Options
from sync_pipeline_tests.sandbox.clockify.conftest import Api
from sync_pipeline_tests.sandbox.running import running_sandbox


def test_free_workspaces_get_thirty_requests_an_hour(tmp_path: Path) -> None:
    """The 31st request of an hour is 429, on either host and for every key; an hour later all is well."""
    with running_sandbox(tmp_path, plan="free", requests_per_second=None, requests_per_hour=None) as sandbox:
        api = Api(sandbox)
        sandbox.world.clock.set(sandbox.world.clock.now(), frozen=True)
        statuses = []
        for _ in range(31):
            statuses.append(api.call("GET", "/user").status_code)
            sandbox.world.clock.advance(1)
        assert statuses == [200] * 30 + [429]
        assert api.call("GET", "/user", key="sandbox-clockify-member-key").status_code == 429
        answer = api.report(**api.span(7))
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) == 3600 - 31
        assert sandbox.world.stats.rate_limited == 3
        sandbox.world.clock.advance(timedelta(hours=1))
        assert api.call("GET", "/user").status_code == 200
        api.http.close()


def test_free_workspaces_have_no_custom_fields(api: Api) -> None:
    """Listing custom fields is 403 on Free, and entries carry none."""
    api.sandbox.world.options.plan = "free"
    assert api.refused("GET", "custom-fields")[0] == 403
    entry = api.send("POST", "time-entries", expect=201)
    assert entry["customFieldValues"] == []


@pytest.mark.parametrize(("headers", "body"), [("none", False), ("seconds", True), ("date", False)])
def test_too_many_requests_come_in_several_shapes(api: Api, headers: str, body: bool) -> None:
    """429 with and without Retry-After (seconds or date) and with and without a body."""
    world = api.sandbox.world
    world.options.requests_per_hour, world.options.limit_body = 1, body
    world.options.limit_headers = headers  # type: ignore[assignment]
    api.call("GET", "/user")
    answer = api.call("GET", "/user")
    assert (answer.status_code, bool(answer.content)) == (429, body)
    value = answer.headers.get("retry-after")
    if headers == "none":
        assert value is None
    elif headers == "seconds":
        assert 3590 < int(value or 0) <= 3600
    else:
        assert parsedate_to_datetime(value or "") > world.clock.now()


def test_paid_workspaces_get_fifty_requests_a_second() -> None:
    """The budget is a sliding window: the 51st request waits until the first is a second old."""
    budget, options = RequestBudget(), Options(plan="paid")
    assert [budget.take(100 + n / 100, options) for n in range(50)] == [0.0] * 50
    assert budget.take(100.5, options) == pytest.approx(0.5)
    assert budget.take(101.0, options) == 0.0
    assert budget.take(101.0, options) == pytest.approx(0.01)
