"""Answers in which the sandbox once differed from Clockify.

Each docstring names its source:

- document: Clockify's OpenAPI document (https://docs.clockify.me);
- samples: the webhook bodies that Clockify publishes (https://dev-docs.marketplace.cake.com);
- recorded: an answer of the real API that a public repository keeps;
- reported: how live workspaces answer, as people who use them report; no public record of it is known to us.
"""

from __future__ import annotations

from typing import Any

import pytest

from sync_pipeline_tests.sandbox.clockify.conftest import Api
from sync_pipeline_tests.sandbox.clockify.test_webhooks import hook
from sync_pipeline_tests.sandbox.receiving import Receiver, running_receiver

MEMBER = "sandbox-clockify-member-key"
HOUR = {"start": "2025-03-03T08:00:00Z", "end": "2025-03-03T09:00:00Z"}
MARCH = {"dateRangeStart": "2025-03-01T00:00:00.000Z", "dateRangeEnd": "2025-03-31T23:59:59.999Z"}
UNKNOWN = "65ffffff0000000000000000"
BOTH: dict[str, Any] = {"amounts": ["EARNED", "COST"]}


def make(api: Api, **body: Any) -> Any:
    """An entry of the owner: one hour on 3 March 2025 unless given otherwise."""
    return api.send("POST", "time-entries", HOUR | {"billable": True} | body, expect=201)


def row_of(api: Api, entry: Any, key: str | None = None, **body: Any) -> Any:
    """The entry's row in the report of March."""
    answer = api.report(key=key, **MARCH | body)
    assert answer.status_code == 200, answer.text
    return next(row for row in answer.json()["timeentries"] if row["_id"] == entry["id"])


def test_a_project_without_a_rate_has_a_rate_of_zero(api: Api) -> None:
    """`hourlyRate` is an object even then (reported).

    It sets no rate: entries of the project keep the person's.
    """
    project = api.send("POST", "projects", {"name": "Unpriced"}, expect=201)

    assert project["hourlyRate"] == {"amount": 0, "currency": "USD"}
    assert api.get(f"projects/{project['id']}") == project
    assert project in api.get("projects", name="Unpriced")
    api.send("PUT", f"projects/{project['id']}", project)  # read, change, write back: as clients do
    own = api.get(f"time-entries/{make(api)['id']}")["hourlyRate"]
    assert own["amount"] > 0
    assert api.get(f"time-entries/{make(api, projectId=project['id'])['id']}")["hourlyRate"] == own


def test_totals_of_a_report_carry_sums(shared: Api) -> None:
    """`totalAmount`, and `amounts` by kind (recorded: apet97/clockify-ts-sdk, spec/evidence/fixtures/shared-report.data.json)."""
    found = shared.report(**BOTH, detailedFilter={"page": 1, "pageSize": 1000}).json()
    [total], rows = found["totals"], found["timeentries"]

    earned, spent = (sum(row[name] for row in rows) for name in ("earnedAmount", "costAmount"))
    assert earned > 0 < spent
    assert total["totalAmount"] == pytest.approx(earned, abs=0.01 * len(rows))
    assert [one["type"] for one in total["amounts"]] == ["EARNED", "COST"]
    assert [one["value"] for one in total["amounts"]] == pytest.approx([earned, spent], abs=0.01 * len(rows))
    assert total["totalAmountByCurrency"] == [{"currency": "USD", "amount": total["totalAmount"]}]


@pytest.mark.parametrize("kind", ["detailed", "summary"])
def test_totals_hold_no_sums_that_are_not_asked_for(shared: Api, kind: str) -> None:
    """`HIDE_AMOUNT` hides amounts, and an unknown value is refused (document: DetailedReportFilterV1.amountShown)."""
    summary: dict[str, Any] = {"summaryFilter": {"groups": ["PROJECT"]}}
    [total] = shared.report(kind, amountShown="HIDE_AMOUNT", **summary).json()["totals"]

    assert (total["totalAmount"], total["amounts"]) == (None, [])
    assert [one["type"] for one in shared.report(kind, **summary).json()["totals"][0]["amounts"]] == ["EARNED"]
    assert shared.report(kind, amounts=["MINE"], **summary).status_code == 400


def test_groups_of_the_summary_carry_amounts(shared: Api) -> None:
    """`amounts` in each group, and `groupTotals` (recorded: apet97/clockify-ts-sdk, shared-report.data.json)."""
    found = shared.report("summary", **BOTH, summaryFilter={"groups": ["PROJECT", "USER"]}).json()
    groups = found["groupOne"]

    assert found["groupTotals"] == {"groupOneTotalCount": len(groups)}
    for one in (*groups, *groups[0]["children"]):
        assert [amount["type"] for amount in one["amounts"]] == ["EARNED", "COST"]
        assert one["amount"] == one["amounts"][0]["value"]
    earned = sum(one["amount"] for one in groups)
    assert found["totals"][0]["totalAmount"] == pytest.approx(earned, abs=0.01 * len(groups))


def test_the_summary_groups_by_tag_and_by_user_group(api: Api) -> None:
    """TAG and USER_GROUP are accepted, too (reported; Clockify's own pages group by them, the document lists neither).

    An entry of two tags counts in both groups, once in the totals.
    """
    tags = [api.send("POST", "tags", {"name": name}, expect=201) for name in ("one", "two")]
    group = api.send("POST", "user-groups", {"name": "Crew"}, expect=201)
    api.send("POST", f"user-groups/{group['id']}/users", {"userId": api.me})
    make(api, tagIds=[tag["id"] for tag in tags])
    make(api)

    by_tag = api.report("summary", **MARCH, summaryFilter={"groups": ["TAG"]}).json()
    assert {one["name"]: one["duration"] for one in by_tag["groupOne"]} == {
        "one": 3600,
        "two": 3600,
        "(Without tag)": 3600,
    }
    assert by_tag["totals"][0]["totalTime"] == 7200
    by_group = api.report("summary", **MARCH, summaryFilter={"groups": ["USER_GROUP", "TAG"]}).json()["groupOne"]
    assert next(one["duration"] for one in by_group if one["_id"] == group["id"]) == 7200


@pytest.mark.parametrize("kind", ["detailed", "summary"])
@pytest.mark.parametrize("export", ["CSV", "XLSX", "PDF", "ZIP"])
def test_files_are_refused(shared: Api, kind: str, export: str) -> None:
    """A file that is asked for is never JSON under another name (document: DetailedReportFilterV1.exportType)."""
    answer = shared.report(kind, exportType=export, summaryFilter={"groups": ["PROJECT"]})

    assert (answer.status_code, answer.json()["code"]) == (400, 501)
    assert export in answer.json()["message"]
    assert shared.report(kind, exportType="JSON", summaryFilter={"groups": ["PROJECT"]}).status_code == 200


@pytest.mark.parametrize("bound", ["dateRangeStart", "dateRangeEnd"])
def test_a_range_of_dates_alone_is_refused(shared: Api, bound: str) -> None:
    """A date needs its time (document: DetailedReportFilterV1.dateRangeStart, YYYY-MM-DDTHH:MM:SS.ssssss)."""
    answer = shared.report(**MARCH | {bound: MARCH[bound][:10]})

    assert (answer.status_code, answer.json()["code"]) == (400, 501)
    assert bound in answer.json()["message"]


def test_rows_of_the_report_have_tag_ids_and_empty_clients(api: Api) -> None:
    """`tagIds` is null or a list (reported); no client is an empty text (recorded: shared-report.data.json)."""
    tag = api.send("POST", "tags", {"name": "here"}, expect=201)["id"]
    bare, tagged = row_of(api, make(api)), row_of(api, make(api, tagIds=[tag]))

    assert (bare["tagIds"], tagged["tagIds"]) == (None, [tag])
    assert (bare["clientId"], bare["clientName"]) == ("", "")


def test_rates_that_are_not_visible_are_null(api: Api) -> None:
    """In report rows and on reads alike: a member sees no rates (reported)."""
    theirs = api.send("POST", "time-entries", HOUR, expect=201, key=MEMBER)
    seen, hidden = row_of(api, theirs, **BOTH), row_of(api, theirs, key=MEMBER, **BOTH)

    assert seen["costRate"] > 0
    assert seen["currency"] == "USD"
    for name in ("rate", "amount", "earnedRate", "costRate", "costAmount", "currency"):
        assert (name, hidden[name]) == (name, None)
    assert row_of(api, theirs, amountShown="HIDE_AMOUNT")["rate"] is None
    user = theirs["userId"]
    for path in (f"time-entries/{theirs['id']}", f"user/{user}/time-entries?hydrated=true&page-size=1000"):
        found = api.call("GET", path, key=MEMBER).json()
        for one in found if isinstance(found, list) else [found]:
            assert (one["hourlyRate"], one["costRate"]) == (None, None)
    assert api.get(f"time-entries/{theirs['id']}")["costRate"]["amount"] == seen["costRate"]


def test_hydrated_entries_have_a_kiosk_and_a_user_in_lists_only(api: Api) -> None:
    """The list has the whole user, the read by id `user: null`, both have `kiosk` (reported)."""
    made = make(api)
    one = api.get(f"time-entries/{made['id']}", hydrated="true")
    listed = next(e for e in api.get(f"user/{api.me}/time-entries", hydrated="true") if e["id"] == made["id"])

    assert (one["user"], one["kiosk"]) == (None, None)
    [whole] = [user for user in api.get("users", status="ALL") if user["id"] == api.me]
    assert listed["user"] == whole
    assert listed | {"user": None} == one


def test_what_runs_is_never_hydrated(api: Api) -> None:
    """`hydrated` is no parameter there and changes nothing (document: getInProgressTimeEntries)."""
    make(api, end=None)
    path = "time-entries/status/in-progress"

    assert api.get(path, hydrated="true") == api.get(path)
    assert all("project" not in entry for entry in api.get(path))


def test_a_bulk_edit_requires_the_end_and_answers_with_rates(api: Api) -> None:
    """`hourlyRate` is in the answer, an entry without `end` is refused (reported; the document requires the id only)."""
    made = make(api)
    path = f"user/{api.me}/time-entries"

    assert api.refused("PUT", path, [{"id": made["id"], "start": HOUR["start"]}]) == (400, 501)
    [edited] = api.send("PUT", path, [{"id": made["id"], "end": HOUR["end"], "billable": True}])
    assert edited["hourlyRate"] == api.get(f"time-entries/{made['id']}")["hourlyRate"]
    assert "costRate" not in edited
    assert edited["timeInterval"] == made["timeInterval"]


def test_an_unknown_entry_to_copy_is_an_empty_404(api: Api) -> None:
    """`from-entry` is not refused like other unknown ids (reported)."""
    assert api.refused("POST", f"user/{api.me}/time-entries?from-entry={UNKNOWN}", HOUR) == (404, None)


@pytest.mark.parametrize("kind", ["clients", "tags"])
def test_clients_and_tags_count_what_there_is(api: Api, kind: str) -> None:
    """`Total-Count` next to `Last-Page`: of all pages, within the filters (reported)."""
    for name in ("aa 1", "aa 2", "bb 1"):
        api.send("POST", kind, {"name": name}, expect=201)
    every = len(api.get(kind, page_size=1000))

    answer = api.call("GET", kind, params={"page-size": 1})
    assert (answer.headers["Total-Count"], answer.headers["Last-Page"]) == (str(every), "false")
    assert api.call("GET", kind, params={"name": "aa"}).headers["Total-Count"] == "2"
    assert "Total-Count" not in api.call("GET", "projects").headers


@pytest.mark.parametrize(
    ("event", "path", "field"),
    [("BILLABLE_RATE_UPDATED", "hourly-rate", "hourlyRate"), ("COST_RATE_UPDATED", "cost-rate", "costRate")],
)
def test_rate_events_carry_objects(api: Api, event: str, path: str, field: str) -> None:
    """The changed membership and the currency are objects (samples: BILLABLE_RATE_UPDATED)."""
    with running_receiver() as receiver:
        listen(api, receiver, event)
        api.send("PUT", f"users/{api.me}/{path}", {"amount": 4321, "since": "2026-01-01T00:00:00Z"})
        [got] = receiver.wait(1)

    changed = got.body["modifiedEntity"]
    assert (changed["userId"], changed["membershipType"], changed[field]) == (api.me, "WORKSPACE", {"amount": 4321})
    assert changed.keys() == {"userId", "hourlyRate", "costRate", "targetId", "membershipType", "membershipStatus"}
    assert (got.body["currency"].keys(), got.body["currency"]["code"]) == ({"id", "code"}, "USD")
    assert got.body["amount"] == 4321


def listen(api: Api, receiver: Receiver, event: str, **changes: Any) -> Any:
    """A webhook at this receiver."""
    return api.send("POST", "webhooks", hook(url=receiver.url, webhookEvent=event, **changes), expect=201)


@pytest.mark.parametrize("event", ["USER_UPDATED", "USER_EMAIL_CHANGED"])
def test_changes_of_users_are_subscribed_user_by_user(api: Api, event: str) -> None:
    """Neither for a workspace nor without users (reported)."""
    for changes in (
        {},
        {"triggerSource": [api.sandbox.workspace]},
        {"triggerSourceType": "USER_ID"},
        {"triggerSourceType": "PROJECT_ID", "triggerSource": [api.me]},
    ):
        assert api.refused("POST", "webhooks", hook(webhookEvent=event) | changes) == (400, 501)
    named = {"triggerSourceType": "USER_ID", "triggerSource": [api.me]}
    with running_receiver() as receiver:
        made = listen(api, receiver, event, **named)
        assert api.refused("PUT", f"webhooks/{made['id']}", hook(webhookEvent=event)) == (400, 501)
        other = next(user["id"] for user in api.get("users", status="ACTIVE") if user["id"] != api.me)
        change = {"name": "Renamed"} if event == "USER_UPDATED" else {"email": "renamed@example.org"}
        api.control("users", {"id": api.me, **change})
        receiver.wait(1)
        api.control("users", {"id": other, **{key: f"x{value}" for key, value in change.items()}})
        api.send("PUT", f"webhooks/{made['id']}", hook(url=receiver.url, webhookEvent=event, **named))

    assert [one.body["id"] for one in receiver.received] == [api.me]
