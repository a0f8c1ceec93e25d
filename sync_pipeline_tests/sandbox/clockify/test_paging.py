"""Pages: parameter names, defaults, caps, and the header that ends a walk."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipeline_tests.sandbox.clockify.conftest import Api
from sync_pipeline_tests.sandbox.running import running_sandbox


@pytest.mark.parametrize("path", ["users", "projects", "clients", "tags", "user-groups"])
def test_a_walk_sees_every_record_once(shared: Api, path: str) -> None:
    """Small pages, walked until Last-Page is true, hold the same records as one big page."""
    whole = [record["id"] for record in shared.get(path, page_size=5000)]
    walked, number, last = [], 1, "false"
    while last == "false":
        answer = shared.call("GET", path, params={"page": number, "page-size": 2})
        walked += [record["id"] for record in answer.json()]
        number, last = number + 1, answer.headers["last-page"]
    assert walked == whole
    assert len(set(whole)) == len(whole) > 0


def test_a_page_past_the_end_is_empty_and_last(shared: Api) -> None:
    """Beyond the end there is 200, an empty list and Last-Page: true."""
    answer = shared.call("GET", "tags", params={"page": 99})
    assert (answer.status_code, answer.json(), answer.headers["last-page"]) == (200, [], "true")


def test_page_size_is_kebab_case_and_defaults_to_50(shared: Api) -> None:
    """``page-size`` works, ``pageSize`` is ignored, and without either there are 50."""
    assert len(shared.get(f"user/{shared.me}/time-entries", page_size=3)) == 3
    api_default = shared.call("GET", f"user/{shared.me}/time-entries", params={"pageSize": 3}).json()
    assert len(api_default) == min(50, len(shared.get(f"user/{shared.me}/time-entries", page_size=5000)))


def test_pages_below_one_are_refused(shared: Api) -> None:
    """Page and page size start at 1."""
    assert shared.refused("GET", "tags?page=0") == (400, 501)
    assert shared.refused("GET", "tags?page-size=0") == (400, 501)


def test_caps_shorten_pages_silently(api: Api) -> None:
    """More rows than the cap are never given, and the walk still ends properly."""
    api.sandbox.world.options.list_page_cap = 4
    answer = api.call("GET", "tags", params={"page-size": 5000})
    assert (len(answer.json()), answer.headers["last-page"]) == (4, "false")


def test_in_progress_defaults_to_ten(api: Api) -> None:
    """The running entries have their own default of 10 rows a page."""
    for user in api.get("users", page_size=50, status="ACTIVE")[:12]:
        api.send("POST", f"user/{user['id']}/time-entries", {"description": "running"}, expect=201)
    assert len(api.get("time-entries/status/in-progress")) <= 10
    assert len(api.get("time-entries/status/in-progress", page_size=1)) == 1


def test_custom_fields_ignore_paging(shared: Api) -> None:
    """Every page of the custom fields is the whole list, and no header ends the walk."""
    answer = shared.call("GET", "custom-fields", params={"page": 7, "page-size": 1})
    assert len(answer.json()) == 2
    assert "last-page" not in answer.headers


def test_report_pages_are_in_the_body(tmp_path: Path) -> None:
    """The detailed report pages by its body, caps at 1,000 rows and states when it is complete."""
    with running_sandbox(tmp_path, entries=1500, days=20) as sandbox:
        api, last = Api(sandbox), "false"
        sizes: list[int] = []
        seen: set[str] = set()
        while last == "false":
            answer = api.report(detailedFilter={"page": len(sizes) + 1, "pageSize": 9999})
            rows = answer.json()["timeentries"]
            sizes.append(len(rows))
            seen |= {row["_id"] for row in rows}
            last = answer.headers["last-page"]
        api.http.close()
    assert sizes[0] == 1000
    assert len(seen) == sum(sizes) == answer.json()["totals"][0]["entriesCount"]
