"""The detailed and the summary report."""

from __future__ import annotations

from typing import Any

import pytest

from sync_pipeline_tests.sandbox.clockify.conftest import Api

MARCH = {"dateRangeStart": "2025-03-01T00:00:00.000Z", "dateRangeEnd": "2025-03-31T23:59:59.999Z"}


def rows(api: Api, **body: Any) -> list[dict[str, Any]]:
    """The rows of a detailed report."""
    answer = api.report(**body)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["timeentries"]
    return found


def test_rows_have_their_own_spelling(api: Api) -> None:
    """Ids are ``_id``, durations whole seconds, names are next to ids."""
    project, tag = api.get("projects", archived="false")[0], api.get("tags", archived="false")[0]
    body = {"start": "2025-03-03T08:00:00Z", "end": "2025-03-03T09:00:30Z", "projectId": project["id"]}
    entry = api.send("POST", "time-entries", body | {"tagIds": [tag["id"]], "billable": True}, expect=201)
    [row] = rows(api, **MARCH)
    assert row["_id"] == entry["id"]
    assert row["timeInterval"] == {"start": body["start"], "end": body["end"], "duration": 3630}
    assert (row["projectName"], row["clientName"] or "") == (project["name"], project["clientName"])
    assert row["tags"] == [{"_id": tag["id"], "name": tag["name"]}]
    assert (row["userId"], row["userEmail"]) == (api.me, api.get("/user")["email"])


def test_report_and_lists_hold_the_same_finished_entries(shared: Api) -> None:
    """Over everything, the report has exactly the entries of all users' lists that have an end."""
    listed = [
        entry
        for user in shared.get("users", status="ALL", page_size=100)
        for entry in shared.get(f"user/{user['id']}/time-entries", page_size=5000)
        if entry["timeInterval"]["end"]
    ]
    reported = rows(shared, detailedFilter={"page": 1, "pageSize": 1000})
    assert {row["_id"] for row in reported} == {entry["id"] for entry in listed}
    by_id = {row["_id"]: row for row in reported}
    for entry in listed:
        row = by_id[entry["id"]]
        assert row["timeInterval"]["start"] == entry["timeInterval"]["start"]
        assert (row["taskId"], row["description"]) == (entry["taskId"], entry["description"])
        assert row["customFields"] == entry["customFieldValues"]


def test_ranges_are_wall_clock_in_the_zone_of_the_report(api: Api) -> None:
    """The range is read in ``timeZone``, timestamps come back in its offset; without one the profile's zone counts."""
    api.send("POST", "time-entries", {"start": "2025-02-28T23:30:00Z", "end": "2025-02-28T23:45:00Z"}, expect=201)
    assert rows(api, **MARCH) == []
    for zone in ("Europe/Belgrade", None):
        [row] = rows(api, **MARCH, timeZone=zone)
        assert row["timeInterval"]["start"] == "2025-03-01T00:30:00+01:00"


def test_both_ends_of_the_range_belong_to_it(api: Api) -> None:
    """An entry that starts in the last second of the range is reported."""
    api.send("POST", "time-entries", {"start": "2025-03-31T23:59:59Z", "end": "2025-04-01T00:10:00Z"}, expect=201)
    assert len(rows(api, **MARCH)) == 1
    assert len(rows(api, **MARCH | {"dateRangeEnd": "2025-03-31T23:59:59"})) == 1
    assert rows(api, **MARCH | {"dateRangeEnd": "2025-03-31T23:59:58"}) == []


def test_running_entries_are_not_reported(shared: Api) -> None:
    """A timer appears in the report once it is stopped."""
    timer = shared.send("POST", "time-entries", {"description": "ticking"}, expect=201)
    assert timer["id"] not in {row["_id"] for row in rows(shared)}


def test_free_plans_report_31_days_at_most(api: Api) -> None:
    """On Free a longer range is 400/501; exactly 31 days are allowed."""
    api.sandbox.world.options.plan = "free"
    answer = api.report(**api.span(40))
    assert (answer.status_code, answer.json()["code"]) == (400, 501)
    assert api.report(**api.span(30)).status_code == 200


@pytest.mark.parametrize(
    "column", ["ID", "DESCRIPTION", "USER", "DURATION", "DATE", "ZONED_DATE", "NATURAL", "USER_DATE"]
)
def test_every_order_pages_without_gaps(shared: Api, column: str) -> None:
    """Walking small pages in any order gives every row once."""
    whole = [row["_id"] for row in rows(shared, detailedFilter={"page": 1, "pageSize": 1000, "sortColumn": column})]
    walked: list[str] = []
    while len(walked) < len(whole):
        page = {"page": len(walked) // 90 + 1, "pageSize": 90, "sortColumn": column}
        walked += [row["_id"] for row in rows(shared, detailedFilter=page)]
    assert walked == whole
    assert len(set(whole)) == len(whole)


def test_reports_see_what_was_written_a_moment_ago(api: Api) -> None:
    """Kept orders and names are dropped when anything changes, past the API too."""
    entry = api.send(
        "POST", "time-entries", {"start": "2025-03-03T08:00:00Z", "end": "2025-03-03T09:00:00Z"}, expect=201
    )
    assert [row["_id"] for row in rows(api, **MARCH)] == [entry["id"]]
    api.sandbox.world.db.execute("UPDATE users SET name = 'Renamed' WHERE id = ?", (api.me,))
    assert rows(api, **MARCH)[0]["userName"] == "Renamed"
    api.send("DELETE", f"time-entries/{entry['id']}", expect=204)
    assert rows(api, **MARCH) == []


def test_report_filters(shared: Api) -> None:
    """Users, projects, clients, tags, billable and description narrow the report."""
    everything = rows(shared, detailedFilter={"page": 1, "pageSize": 1000})
    one = next(row for row in everything if row["clientId"] and row["tags"])
    for filters, keep in (
        ({"users": {"ids": [one["userId"]], "contains": "CONTAINS"}}, lambda r: r["userId"] == one["userId"]),
        ({"projects": {"ids": [one["projectId"]]}}, lambda r: r["projectId"] == one["projectId"]),
        ({"clients": {"ids": [one["clientId"]]}}, lambda r: r["clientId"] == one["clientId"]),
        ({"tags": {"ids": [one["tags"][0]["_id"]]}}, lambda r: one["tags"][0] in r["tags"]),
        ({"billable": False}, lambda r: not r["billable"]),
        ({"withoutDescription": True}, lambda r: r["description"] == ""),
    ):
        found = rows(shared, detailedFilter={"page": 1, "pageSize": 1000}, **filters)
        assert [row["_id"] for row in found] == [row["_id"] for row in everything if keep(row)]


def test_totals_add_up_and_can_be_left_out(shared: Api) -> None:
    """Totals count what all pages hold together; EXCLUDE leaves them empty."""
    everything = rows(shared, detailedFilter={"page": 1, "pageSize": 1000})
    [total] = shared.report(detailedFilter={"page": 1, "pageSize": 1}).json()["totals"]
    assert total["entriesCount"] == len(everything)
    assert total["totalTime"] == sum(row["timeInterval"]["duration"] for row in everything)
    excluded = shared.report(detailedFilter={"page": 1, "pageSize": 1, "options": {"totals": "EXCLUDE"}})
    assert excluded.json()["totals"] == []


def test_the_summary_groups_the_same_time(shared: Api) -> None:
    """Groups add up to the totals, nested as asked, and at most three deep."""
    answer = shared.report("summary", summaryFilter={"groups": ["PROJECT", "TASK", "MONTH"]}).json()
    assert sum(group["duration"] for group in answer["groupOne"]) == answer["totals"][0]["totalTime"]
    assert sum(child["duration"] for child in answer["groupOne"][0]["children"]) == answer["groupOne"][0]["duration"]
    assert shared.report("summary", summaryFilter={"groups": ["DATE"] * 4}).status_code == 400


@pytest.mark.parametrize(
    "body",
    [{"dateRangeStart": None}, {"dateRangeStart": "yesterday"}, {"timeZone": "Mars/North"}, {"detailedFilter": None}],
)
def test_reports_that_make_no_sense_are_refused(shared: Api, body: dict[str, Any]) -> None:
    """Missing or unreadable dates, zones and filters are 400/501."""
    answer = shared.report(**MARCH | body)
    assert (answer.status_code, answer.json()["code"]) == (400, 501)
