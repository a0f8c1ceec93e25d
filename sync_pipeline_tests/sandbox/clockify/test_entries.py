"""Time entries: every verb, every refusal, what a list shows."""

from __future__ import annotations

from typing import Any

import pytest

from sync_pipeline_tests.sandbox.clockify.conftest import Api

MEMBER = "sandbox-clockify-member-key"
HOUR = {"start": "2025-03-03T08:00:00Z", "end": "2025-03-03T09:00:00Z"}


def make(api: Api, expect: int = 201, **body: Any) -> Any:
    """An entry of the owner; one hour on 3 March 2025 unless given otherwise."""
    return api.send("POST", "time-entries", HOUR | body, expect=expect)


def test_an_entry_is_created_for_the_caller(shared: Api) -> None:
    """``userId`` in the body is ignored, durations are ISO, milliseconds are dropped, rates only show on reads."""
    entry = make(shared, userId="someone", start="2025-03-03T08:00:00.789Z", end="2025-03-03T09:30:05Z")
    assert entry["userId"] == shared.me
    assert entry["timeInterval"] == {
        "start": "2025-03-03T08:00:00Z",
        "end": "2025-03-03T09:30:05Z",
        "duration": "PT1H30M5S",
    }
    assert "hourlyRate" not in entry
    read = shared.get(f"time-entries/{entry['id']}")
    assert read.pop("hourlyRate") is not None
    assert read.pop("costRate") is not None
    assert read == entry


def test_posting_twice_makes_two(shared: Api) -> None:
    """Creation is not idempotent, whatever the headers are."""
    headers = {"Idempotency-Key": "same"}
    first, second = (shared.call("POST", "time-entries", json=HOUR, headers=headers).json() for _ in range(2))
    assert first["id"] != second["id"]


@pytest.mark.parametrize(
    "body",
    [
        {"start": None},
        {"end": "2025-03-03T07:00:00Z"},
        {"description": "<b>"},
        {"description": "x" * 3001},
        {"projectId": "65ffffff0000000000000000"},
        {"taskId": "65ffffff0000000000000000"},
        {"tagIds": ["65ffffff0000000000000000"]},
        {"customFields": [{"customFieldId": "65ffffff0000000000000000", "value": 1}]},
    ],
)
def test_invalid_entries_are_400_501(shared: Api, body: dict[str, Any]) -> None:
    """Every domain rule answers with the one overloaded code."""
    assert shared.refused("POST", "time-entries", HOUR | body) == (400, 501)


def test_archived_tags_are_refused_archived_projects_are_not(shared: Api) -> None:
    """An archived tag cannot be used; an archived project can."""
    tag = next(tag for tag in shared.get("tags", archived="true"))
    project = shared.send("POST", "projects", {"name": "Old one"}, expect=201)["id"]
    shared.send("PUT", f"projects/{project}", {"name": "Old one", "archived": True})
    assert shared.refused("POST", "time-entries", HOUR | {"tagIds": [tag["id"]]}) == (400, 501)
    assert make(shared, projectId=project)["projectId"] == project


def test_one_timer_runs_per_user(shared: Api) -> None:
    """Starting a timer stops the running one; stopping without one is 404/404."""
    first = shared.send("POST", "time-entries", expect=201)
    assert (first["timeInterval"]["end"], first["timeInterval"]["duration"]) == (None, None)
    second = shared.send("POST", "time-entries", {"description": "second"}, expect=201)
    assert shared.get(f"time-entries/{first['id']}")["timeInterval"]["end"] is not None
    running = [
        e["id"] for e in shared.get("time-entries/status/in-progress", page_size=100) if e["userId"] == shared.me
    ]
    assert running == [second["id"]]
    end = second["timeInterval"]["start"].replace("T", "T")
    stopped = shared.send("PATCH", f"user/{shared.me}/time-entries", {"end": end})
    assert stopped["timeInterval"]["duration"] == "PT0S"
    assert shared.refused("PATCH", f"user/{shared.me}/time-entries", {"end": end}) == (404, 404)


def test_put_replaces_everything(shared: Api) -> None:
    """Fields left out are reset, custom fields return to their default, ``start`` is required."""
    field = shared.get("custom-fields", entity_type="TIMEENTRY")[0]
    project = shared.get("projects", archived="false")[0]["id"]
    custom = [{"customFieldId": field["id"], "sourceType": "WORKSPACE", "value": "North"}]
    entry = make(shared, description="d", projectId=project, billable=True, customFields=custom)
    assert entry["customFieldValues"][0]["value"] == "North"
    path = f"time-entries/{entry['id']}"
    assert shared.refused("PUT", path, {"description": "x"}) == (400, 501)
    bare = shared.send("PUT", path, HOUR | {"customFieldValues": custom})
    assert (bare["description"], bare["projectId"], bare["billable"], bare["tagIds"]) == ("", None, False, None)
    assert bare["customFieldValues"][0]["value"] is None


def test_entries_for_others(shared: Api) -> None:
    """Admins create for others; members do not reach other people's entries at all."""
    other = next(user["id"] for user in shared.get("users", status="ACTIVE") if user["id"] != shared.me)
    entry = shared.send("POST", f"user/{other}/time-entries", HOUR, expect=201)
    assert entry["userId"] == other
    mine = make(shared)
    for method, path in (("GET", f"time-entries/{mine['id']}"), ("DELETE", f"time-entries/{mine['id']}")):
        assert shared.refused(method, path, key=MEMBER) == (403, 501)


def test_deleting_answers_204_and_bulk_the_rows(shared: Api) -> None:
    """A single delete has no body; the bulk one returns what it deleted, all or none."""
    first, second, third = (make(shared)["id"] for _ in range(3))
    assert shared.send("DELETE", f"time-entries/{first}", expect=204) is None
    bulk = f"user/{shared.me}/time-entries?time-entry-ids={second}&time-entry-ids="
    assert shared.refused("DELETE", bulk + first) == (400, 501)
    deleted = shared.send("DELETE", bulk + third)
    assert [entry["id"] for entry in deleted] == [second, third]
    assert shared.refused("GET", f"time-entries/{second}") == (400, 501)


def test_bulk_edit_duplicate_batch_and_invoiced(api: Api) -> None:
    """The remaining verbs: several edits together, a copy, many by id, the invoiced mark."""
    first, second = make(api, description="a"), make(api, description="b")
    asked = [{"id": entry["id"], "description": "both", **HOUR} for entry in (first, second)]
    edited = api.send("PUT", f"user/{api.me}/time-entries", asked)
    assert [entry["description"] for entry in edited] == ["both", "both"]
    copy = api.send("POST", f"user/{api.me}/time-entries/{first['id']}/duplicate", expect=201)
    assert copy["id"] != first["id"]
    assert copy["timeInterval"] == first["timeInterval"]
    fetched = api.send("POST", "time-entries/batch", {"ids": [first["id"], copy["id"]]})
    assert {entry["id"] for entry in fetched} == {first["id"], copy["id"]}
    api.send("PATCH", "time-entries/invoiced", {"timeEntryIds": [copy["id"]], "invoiced": True})
    invoiced = api.report(
        dateRangeStart="2025-03-01T00:00:00", dateRangeEnd="2025-03-31T23:59:59", invoicingState="INVOICED"
    )
    assert [row["_id"] for row in invoiced.json()["timeentries"]] == [copy["id"]]


def test_required_fields_spare_running_entries(api: Api) -> None:
    """With forceProjects a completed entry needs a project; a running one does not."""
    api.control("workspace", {"forceProjects": True})
    assert api.refused("POST", "time-entries", HOUR) == (400, 501)
    api.send("POST", "time-entries", {"description": "running"}, expect=201)


def test_locked_periods_stop_members_only(api: Api) -> None:
    """Entries before the lock are 403/1003 for members; admins pass; reads show isLocked."""
    api.control("workspace", {"lockTimeEntries": "2025-06-01T00:00:00Z"})
    assert api.refused("POST", "time-entries", HOUR, key=MEMBER) == (403, 1003)
    assert api.get(f"time-entries/{make(api)['id']}")["isLocked"] is True


def test_approved_entries_cannot_be_changed_by_anyone(api: Api) -> None:
    """Approved: 403/4005 for edit and delete, also for admins."""
    entry = make(api)["id"]
    assert api.control("time_entries/approval", {"ids": [entry]}) == {"changed": 1}
    assert api.refused("PUT", f"time-entries/{entry}", HOUR) == (403, 4005)
    assert api.refused("DELETE", f"time-entries/{entry}") == (403, 4005)
    api.control("time_entries/approval", {"ids": [entry], "approved": False})
    api.send("DELETE", f"time-entries/{entry}", expect=204)


def test_a_person_edits_an_entry_in_the_application(api: Api) -> None:
    """By a control: the last one that has ended, or another by its id; nothing else of it is changed."""
    entry = make(api)["id"]
    before = api.get(f"time-entries/{entry}")
    edited = api.control("time_entries/edit", {"id": entry, "description": "edited"})
    assert edited == {"id": entry, "description": "edited"}
    assert api.get(f"time-entries/{entry}") == before | {"description": "edited"}
    last = api.control("time_entries/edit", {"id": "newest", "description": "edited last"})["id"]
    assert api.get(f"time-entries/{last}")["description"] == "edited last"


def test_stopwatch_only_depends_on_route_and_role(api: Api) -> None:
    """403/4030 for everyone on the plain route; on the per-user route admins pass."""
    api.control("workspace", {"timeTrackingMode": "STOPWATCH_ONLY"})
    member = api.call("GET", "/user", key=MEMBER).json()["id"]
    assert api.refused("POST", "time-entries", HOUR) == (403, 4030)
    api.send("POST", f"user/{api.me}/time-entries", HOUR, expect=201)
    assert api.refused("POST", f"user/{member}/time-entries", HOUR, key=MEMBER) == (403, 4030)


def test_members_cannot_change_billable_when_only_admins_may(api: Api) -> None:
    """The member's value is overridden silently by the project's default."""
    api.control("workspace", {"onlyAdminsCanChangeBillableStatus": True, "defaultBillableProjects": False})
    entry = api.send("POST", "time-entries", HOUR | {"billable": True}, expect=201, key=MEMBER)
    assert entry["billable"] is False


def test_the_list_is_newest_first_and_holds_running_entries(api: Api) -> None:
    """Order is by start, newest first, with the timer among the rest; in-progress filters."""
    api.send("POST", "time-entries", {"description": "now"}, expect=201)
    entries = api.get(f"user/{api.me}/time-entries", page_size=500)
    starts = [entry["timeInterval"]["start"] for entry in entries]
    assert starts == sorted(starts, reverse=True)
    assert entries[0]["timeInterval"]["end"] is None
    [running] = api.get(f"user/{api.me}/time-entries", in_progress="true")
    assert running["description"] == "now"


def test_windows_are_read_as_wall_clock_in_the_account_zone(api: Api) -> None:
    """The owner lives at UTC+1 in winter: a Z window begins an hour early; the switch turns that off."""
    early = make(api, start="2025-01-09T23:30:00Z", end="2025-01-09T23:45:00Z")["id"]
    window = {"start": "2025-01-10T00:00:00Z", "end": "2025-01-11T00:00:00Z"}
    assert [e["id"] for e in api.get(f"user/{api.me}/time-entries", **window)] == [early]
    api.sandbox.world.options.wall_clock_windows = False
    assert api.get(f"user/{api.me}/time-entries", **window) == []


def test_fresh_entries_can_lag_in_windows(api: Api) -> None:
    """With the lag switched on, a new entry is missing from windowed lists but not from the plain one."""
    api.sandbox.world.options.windowed_list_lag = 45
    entry = make(api)["id"]
    path, window = f"user/{api.me}/time-entries", {"start": "2025-03-01T00:00:00Z", "end": "2025-04-01T00:00:00Z"}
    assert api.get(path, **window) == []
    assert entry in {e["id"] for e in api.get(path, page_size=500)}
    api.sandbox.world.clock.advance(60)
    assert [e["id"] for e in api.get(path, **window)] == [entry]


def test_list_filters_and_hydration(shared: Api) -> None:
    """Description, project and tags narrow the list; hydration nests what the ids name."""
    project, tag = shared.get("projects", archived="false")[0], shared.get("tags", archived="false")[0]
    entry = make(shared, description="Needle 針", projectId=project["id"], tagIds=[tag["id"]])
    path = f"user/{shared.me}/time-entries"
    for query in (
        {"description": "needle"},
        {"project": project["id"], "tags": tag["id"], "start": "2025-03-02T00:00:00Z", "end": "2025-03-05T00:00:00Z"},
    ):
        assert [e["id"] for e in shared.get(path, **query)] == [entry["id"]]
    [hydrated] = shared.get(path, description="Needle", hydrated="true")
    assert (hydrated["project"]["name"], hydrated["tags"][0]["name"]) == (project["name"], tag["name"])
    assert hydrated["user"]["id"] == shared.me


def test_projects_know_how_long_they_were_worked_on(shared: Api) -> None:
    """A project's duration follows its entries through create, edit and delete."""
    project = shared.send("POST", "projects", {"name": "Counted"}, expect=201)["id"]
    entry = make(shared, projectId=project)["id"]
    assert shared.get(f"projects/{project}")["duration"] == "PT1H"
    shared.send("PUT", f"time-entries/{entry}", HOUR | {"end": "2025-03-03T10:00:00Z", "projectId": project})
    assert shared.get(f"projects/{project}")["duration"] == "PT2H"
    shared.send("DELETE", f"time-entries/{entry}", expect=204)
    assert shared.get(f"projects/{project}")["duration"] == "PT0S"
