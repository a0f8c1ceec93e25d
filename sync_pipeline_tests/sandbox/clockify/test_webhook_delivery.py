"""Webhooks reach a real receiver, as Clockify's do."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sync_pipeline.sandbox.server import open_world
from sync_pipeline.sandbox.world import Options
from sync_pipeline_tests.sandbox.clockify.conftest import Api
from sync_pipeline_tests.sandbox.receiving import PATIENCE, Receiver, eventually, running_receiver
from sync_pipeline_tests.sandbox.running import running_sandbox

ENTRY_FIELDS = {
    "id", "description", "userId", "workspaceId", "projectId", "billable", "isLocked", "type", "kioskId",
    "currentlyRunning", "approvalStatus", "detailedApprovalStatus", "projectCurrency", "hourlyRate", "costRate",
    "timeInterval", "customFieldValues", "project", "task", "user", "tags",
}  # fmt: skip
SPAN_FIELDS = {
    "start", "end", "duration", "timeZone", "offsetStart", "offsetEnd", "zonedStart", "zonedEnd",
}  # fmt: skip
PROJECT_FIELDS = {
    "id", "name", "clientId", "clientName", "workspaceId", "billable", "color", "archived", "note", "public", "template",
    "estimate", "duration", "hourlyRate", "tasks", "client",
}  # fmt: skip


@pytest.fixture(scope="module")
def listening() -> Iterator[Receiver]:
    """One receiver for this module; every sandbox that delivered to it has stopped before the next test."""
    with running_receiver() as started:
        yield started


@pytest.fixture
def receiver(listening: Receiver) -> Receiver:
    """The receiver, which has received nothing yet."""
    listening.forget()
    return listening


def subscribe(api: Api, receiver: Receiver, *events: str, **changes: Any) -> dict[str, Any]:
    """A webhook for each event, and the last one made."""
    made: dict[str, Any] = {}
    for event in events:
        body = {"name": "hook", "url": receiver.url, "webhookEvent": event, "triggerSourceType": "WORKSPACE_ID"}
        made = api.send("POST", "webhooks", body | {"triggerSource": []} | changes, expect=201)
    return made


def settled(api: Api) -> Any:
    """The counters once nothing is on its way any more."""
    return eventually(lambda: (figures := api.control("webhooks"))["queued"] == 0 and figures, "nothing is queued")


def entry(api: Api, **changes: Any) -> dict[str, Any]:
    """A finished time entry, just made."""
    times = {"start": "2026-03-02T08:00:00Z", "end": "2026-03-02T09:30:00Z"}
    found: dict[str, Any] = api.send("POST", "time-entries", times | {"description": "work"} | changes, expect=201)
    return found


def some_client(api: Api) -> dict[str, Any]:
    """A new client."""
    found: dict[str, Any] = api.send(
        "POST", "clients", {"name": "Depot 9", "address": "Quay 1", "note": "n"}, expect=201
    )
    return found


def test_an_entry_travels_flat_with_todays_fields(api: Api, receiver: Receiver) -> None:
    """The record itself, no envelope; the event and the hook's own token are in the headers."""
    hook = subscribe(api, receiver, "NEW_TIME_ENTRY")
    project = api.get("projects", archived=False)[0]
    task = api.send("POST", f"projects/{project['id']}/tasks", {"name": "Wiring"}, expect=201)
    tag = api.send("POST", "tags", {"name": "urgent!"}, expect=201)
    made = entry(api, projectId=project["id"], taskId=task["id"], tagIds=[tag["id"]])
    [got] = receiver.wait(1)
    assert got.headers["clockify-signature"] == hook["authToken"]
    assert got.headers["clockify-webhook-event-type"] == "NEW_TIME_ENTRY"
    assert (got.headers["content-type"], got.path) == ("application/json", "/hook")
    body = got.body
    assert body.keys() == ENTRY_FIELDS
    assert (body["id"], body["description"], body["currentlyRunning"]) == (made["id"], "work", False)
    assert (body["project"]["id"], body["task"]["id"]) == (project["id"], task["id"])
    assert isinstance(body["project"]["auditMetadata"]["updatedAt"], int)
    assert body["tags"] == [tag]
    assert body["user"].keys() == {"id", "name", "status", "hourlyRate", "costRate"}
    assert all("type" not in value for value in body["customFieldValues"])
    assert (body["hourlyRate"], body["costRate"]) == (None, None)


def test_the_interval_holds_the_owners_wall_clock(api: Api, receiver: Receiver) -> None:
    """UTC instants, and next to them what the owner's clock showed, summer time included."""
    api.sandbox.world.db.execute(
        "UPDATE users SET body = json_set(body, '$.settings.timeZone', 'Europe/Belgrade') WHERE id = ?", (api.me,)
    )
    subscribe(api, receiver, "NEW_TIME_ENTRY", "NEW_TIMER_STARTED")
    entry(api, start="2026-07-01T22:30:00Z", end="2026-07-01T23:00:00Z")
    api.send("POST", "time-entries", {"start": "2026-01-05T08:00:00Z"}, expect=201)
    done, running = (one.body["timeInterval"] for one in receiver.wait(2))
    assert done == {
        "start": "2026-07-01T22:30:00Z",
        "end": "2026-07-01T23:00:00Z",
        "duration": "PT30M",
        "timeZone": "Europe/Belgrade",
        "offsetStart": 7200,
        "offsetEnd": 7200,
        "zonedStart": "2026-07-02T00:30:00",
        "zonedEnd": "2026-07-02T01:00:00",
    }
    assert running.keys() == SPAN_FIELDS
    assert (running["end"], running["duration"], running["offsetEnd"], running["zonedEnd"]) == (None,) * 4
    assert running["offsetStart"] == 3600


def test_every_write_of_an_entry_has_its_event(api: Api, receiver: Receiver) -> None:
    """Create, start, stop, stop by starting another, replace, bulk edit, duplicate, delete, bulk delete, restore."""
    me, stop = api.me, {"end": "2099-01-01T00:00:00Z"}
    # The seeded owner may have a timer running, which the first one started here would stop.
    api.call("PATCH", f"user/{me}/time-entries", json=stop)
    timers = ("NEW_TIMER_STARTED", "TIMER_STOPPED")
    entries = ("NEW_TIME_ENTRY", "TIME_ENTRY_UPDATED", "TIME_ENTRY_DELETED", "TIME_ENTRY_RESTORED")
    subscribe(api, receiver, *timers, *entries)
    made = entry(api)
    api.send("POST", "time-entries", {}, expect=201)
    second = api.send("POST", "time-entries", {}, expect=201)
    api.send("PATCH", f"user/{me}/time-entries", stop)
    api.send("PUT", f"time-entries/{made['id']}", made["timeInterval"] | {"description": "changed"})
    api.send(
        "PUT",
        f"user/{me}/time-entries",
        [{"id": made["id"], "description": "again", "end": made["timeInterval"]["end"]}],
    )
    copy = api.send("POST", f"user/{me}/time-entries/{made['id']}/duplicate", expect=201)
    api.send("DELETE", f"time-entries/{second['id']}", expect=204)
    api.send("DELETE", f"user/{me}/time-entries?time-entry-ids={made['id']},{copy['id']}")
    api.control("time_entries/restore", {"ids": [made["id"]]})
    receiver.wait(12)
    assert receiver.events() == [
        "NEW_TIME_ENTRY",
        "NEW_TIMER_STARTED",
        "TIMER_STOPPED",
        "NEW_TIMER_STARTED",
        "TIMER_STOPPED",
        "TIME_ENTRY_UPDATED",
        "TIME_ENTRY_UPDATED",
        "NEW_TIME_ENTRY",
        "TIME_ENTRY_DELETED",
        "TIME_ENTRY_DELETED",
        "TIME_ENTRY_DELETED",
        "TIME_ENTRY_RESTORED",
    ]
    assert api.get(f"time-entries/{made['id']}")["description"] == "again"


def test_a_deletion_carries_the_last_state(api: Api, receiver: Receiver) -> None:
    """Everything the entry was, also of one that still ran."""
    subscribe(api, receiver, "TIME_ENTRY_DELETED")
    running = api.send("POST", "time-entries", {"description": "so far"}, expect=201)
    api.send("DELETE", f"time-entries/{running['id']}", expect=204)
    [got] = receiver.wait(1)
    assert got.body.keys() == ENTRY_FIELDS
    assert (got.body["description"], got.body["currentlyRunning"]) == ("so far", True)
    assert got.body["timeInterval"]["start"] == running["timeInterval"]["start"]


def test_small_records_are_sent_with_few_fields(api: Api, receiver: Receiver) -> None:
    """Clients and tags: id, name, workspace, archived - never an address or a note."""
    subscribe(api, receiver, "NEW_CLIENT", "CLIENT_UPDATED", "CLIENT_DELETED", "TAG_UPDATED")
    made = some_client(api)
    api.send("PUT", f"clients/{made['id']}", {"name": "Depot 10", "archived": True})
    api.send("DELETE", f"clients/{made['id']}")
    tag = api.get("tags")[0]
    api.send("PUT", f"tags/{tag['id']}", {"name": "renamed"})
    receiver.wait(4)
    workspace = api.sandbox.workspace
    identity = {"id": made["id"], "workspaceId": workspace}
    assert [(one.event, one.body) for one in receiver.received] == [
        ("NEW_CLIENT", identity | {"name": "Depot 9", "archived": False}),
        ("CLIENT_UPDATED", identity | {"name": "Depot 10", "archived": True}),
        ("CLIENT_DELETED", identity | {"name": "Depot 10", "archived": True}),
        ("TAG_UPDATED", {"id": tag["id"], "name": "renamed", "workspaceId": workspace, "archived": False}),
    ]


def test_projects_and_tasks_are_sent_in_full(api: Api, receiver: Receiver) -> None:
    """A project with its client and tasks; a task without the workspace."""
    client = some_client(api)
    subscribe(api, receiver, "NEW_PROJECT", "PROJECT_UPDATED", "PROJECT_DELETED", "NEW_TASK", "TASK_UPDATED")
    project = api.send("POST", "projects", {"name": "Roof", "clientId": client["id"]}, expect=201)
    task = api.send("POST", f"projects/{project['id']}/tasks", {"name": "Tiles"}, expect=201)
    api.send("PUT", f"projects/{project['id']}/tasks/{task['id']}", {"name": "Tiles", "status": "DONE"})
    api.send("PUT", f"projects/{project['id']}", {"name": "Roof", "archived": True})
    api.send("DELETE", f"projects/{project['id']}")
    got = receiver.wait(5)
    assert receiver.events() == ["NEW_PROJECT", "NEW_TASK", "TASK_UPDATED", "PROJECT_UPDATED", "PROJECT_DELETED"]
    assert all(one.body.keys() == PROJECT_FIELDS for one in (got[0], got[3], got[4]))
    named = {"id": client["id"], "name": "Depot 9", "workspaceId": api.sandbox.workspace, "archived": False}
    assert (got[0].body["client"], got[0].body["clientName"]) == (named, "Depot 9")
    assert ([one["id"] for one in got[3].body["tasks"]], got[3].body["archived"]) == ([task["id"]], True)
    assert got[2].body.keys() == {
        "id", "name", "projectId", "assigneeId", "assigneeIds", "userGroupIds", "estimate", "status", "duration",
    }  # fmt: skip


def test_people_are_sent_without_their_workspace(api: Api, receiver: Receiver) -> None:
    """Joining, leaving and coming back hold settings; changes hold three fields, a new address the old one too."""
    status = ("USER_JOINED_WORKSPACE", "USER_DEACTIVATED_ON_WORKSPACE", "USER_ACTIVATED_ON_WORKSPACE")
    subscribe(api, receiver, *status, "USER_DELETED_FROM_WORKSPACE")
    api.send("POST", "users", {"email": "new@example.org"})
    [row] = api.get("users", email="new@example.org", status="ALL")
    named = {"triggerSourceType": "USER_ID", "triggerSource": [row["id"]]}
    subscribe(api, receiver, "USER_UPDATED", "USER_EMAIL_CHANGED", **named)
    for wanted in ("ACTIVE", "INACTIVE", "INACTIVE", "ACTIVE"):
        api.send("PUT", f"users/{row['id']}", {"status": wanted})
    api.control("users", {"id": row["id"], "name": "Nia New"})
    api.control("users", {"id": row["id"], "email": "nia@example.org"})
    api.control("users", {"id": row["id"], "remove": True})
    got = receiver.wait(6)
    whole, small = {"id", "email", "name", "profilePicture", "settings"}, {"id", "email", "name"}
    assert [(one.event, set(one.body)) for one in got] == [
        ("USER_JOINED_WORKSPACE", whole),
        ("USER_DEACTIVATED_ON_WORKSPACE", whole),
        ("USER_ACTIVATED_ON_WORKSPACE", whole),
        ("USER_UPDATED", small),
        ("USER_EMAIL_CHANGED", small | {"oldEmail"}),
        ("USER_DELETED_FROM_WORKSPACE", small),
    ]
    assert (got[4].body["oldEmail"], got[4].body["email"]) == ("new@example.org", "nia@example.org")
    assert api.get("users", email="nia@example.org", status="ALL") == []


def test_a_refused_write_notifies_no_webhook(api: Api, receiver: Receiver) -> None:
    """A bulk edit that fails at its second entry has no event for its first."""
    subscribe(api, receiver, "TIME_ENTRY_UPDATED", "NEW_TIME_ENTRY")
    made = entry(api)
    bulk = [{"id": made["id"], "description": "a"}, {"id": made["id"], "description": "<b>"}]
    assert api.refused("PUT", f"user/{api.me}/time-entries", bulk) == (400, 501)
    assert settled(api)["delivered"] == 1
    assert receiver.events() == ["NEW_TIME_ENTRY"]


def test_a_hook_receives_its_sources_only(api: Api, receiver: Receiver) -> None:
    """One event, one kind of source, the ids named."""
    one, other = (project["id"] for project in api.get("projects", archived=False)[:2])
    tag = api.send("POST", "tags", {"name": "here"}, expect=201)
    for kind, source in (("PROJECT_ID", one), ("USER_ID", api.me), ("TAG_ID", tag["id"]), ("USER_ID", tag["id"])):
        url = f"{receiver.url}/{kind}/{source}"
        subscribe(api, receiver, "NEW_TIME_ENTRY", url=url, triggerSourceType=kind, triggerSource=[source])
    entry(api, projectId=other)
    entry(api, projectId=one, tagIds=[tag["id"]])
    assert settled(api)["delivered"] == 4
    assert Counter(got.path.split("/")[2] for got in receiver.received) == {"USER_ID": 2, "PROJECT_ID": 1, "TAG_ID": 1}


def test_refused_deliveries_come_again_with_the_same_body(api: Api, receiver: Receiver) -> None:
    """Whatever is not 2xx, a redirect too, is tried again; only the idempotency key is another one each time."""
    api.control("webhooks", {"retry_delays": [0, 0, 0]})
    subscribe(api, receiver, "NEW_TIME_ENTRY")
    receiver.answers = [500, 404, 302]
    entry(api)
    figures = settled(api)
    assert (figures["delivered"], figures["retried"], figures["failed"]) == (1, 3, 0)
    assert len({got.raw for got in receiver.received}) == 1
    assert len({got.headers["idempotency-key"] for got in receiver.received}) == 4


def test_a_delivery_given_up_is_in_the_logs(api: Api, receiver: Receiver) -> None:
    """Every attempt is logged with what was sent and answered; failed and succeeded ones can be asked for."""
    api.control("webhooks", {"retry_delays": [0]})
    hook = subscribe(api, receiver, "NEW_TIME_ENTRY")
    receiver.answers = [503, 503]
    entry(api)
    settled(api)
    entry(api)
    figures = settled(api)
    assert (figures["delivered"], figures["failed"], figures["retried"]) == (1, 1, 1)
    path = f"webhooks/{hook['id']}/logs?page=0&size=50"
    failed = api.send("POST", path, {"status": "FAILED"})
    assert [(log["statusCode"], log["responseBody"]) for log in failed] == [(503, "answer 503")] * 2
    assert len({log["webhookEventStatusId"] for log in failed}) == 1
    assert failed[0]["requestBody"].encode() == receiver.received[0].raw
    everything = api.send("POST", path, {"status": "ALL", "sortByNewest": True})
    assert [log["statusCode"] for log in everything] == [200, 503, 503]
    assert len(api.send("POST", f"webhooks/{hook['id']}/logs?page=1&size=2", {})) == 1


def test_too_many_failures_disable_a_hook(api: Api, receiver: Receiver) -> None:
    """So many deliveries given up in a row clear deliveryEnabled; saving the hook sets it again."""
    api.control("webhooks", {"retry_delays": [], "disable_after": 2})
    hook = subscribe(api, receiver, "NEW_TIME_ENTRY")
    # A success in between starts the count again.
    receiver.answers = [500, 200, 500, 500]
    for _ in range(4):
        entry(api)
    settled(api)
    assert api.get(f"webhooks/{hook['id']}")["deliveryEnabled"] is False
    entry(api)
    assert settled(api)["delivered"] == 1
    assert len(receiver.received) == 4
    again = api.send("PUT", f"webhooks/{hook['id']}", hook)
    assert (again["deliveryEnabled"], again["authToken"]) == (True, hook["authToken"])
    entry(api)
    assert settled(api)["delivered"] == 2


def test_saving_need_not_enable(api: Api, receiver: Receiver) -> None:
    """Whether PUT turns a disabled hook on is not known, so it can be switched off."""
    api.control("webhooks", {"retry_delays": [], "disable_after": 1, "put_enables": False})
    hook = subscribe(api, receiver, "NEW_TIME_ENTRY")
    receiver.answers = [500]
    entry(api)
    settled(api)
    assert api.send("PUT", f"webhooks/{hook['id']}", hook)["deliveryEnabled"] is False


def test_a_rotated_token_is_used_immediately(api: Api, receiver: Receiver) -> None:
    """Also for a delivery that was waiting with the old one."""
    hook = subscribe(api, receiver, "NEW_TIME_ENTRY")
    api.control("webhooks", {"paused": True})
    entry(api)
    rotated = api.send("PATCH", f"webhooks/{hook['id']}/token")
    assert api.control("webhooks", {"paused": False})["paused"] is False
    [got] = receiver.wait(1)
    assert got.headers["clockify-signature"] == rotated["authToken"] != hook["authToken"]


def test_a_deleted_hook_receives_no_more(api: Api, receiver: Receiver) -> None:
    """What was still waiting for it is dropped."""
    api.control("webhooks", {"paused": True})
    hook = subscribe(api, receiver, "NEW_TIME_ENTRY")
    entry(api)
    assert api.control("webhooks")["queued"] == 1
    api.send("DELETE", f"webhooks/{hook['id']}")
    api.control("webhooks", {"paused": False})
    assert settled(api)["failed"] == 1
    assert receiver.received == []


def test_deliveries_can_be_lost_doubled_and_out_of_order(api: Api, receiver: Receiver) -> None:
    """About the rates asked for; every one ends as delivered or lost, and nothing is invented."""
    api.control(
        "webhooks", {"lost": 0.3, "duplicates": 0.5, "shuffle": True, "spread": 0.05, "seed": 3, "paused": True}
    )
    subscribe(api, receiver, "NEW_TIME_ENTRY")
    made = [entry(api, description=str(number))["id"] for number in range(100)]
    api.control("webhooks", {"paused": False})
    figures = settled(api)
    assert figures["delivered"] + figures["lost"] == 100
    assert 15 <= figures["lost"] <= 45
    assert 15 <= figures["duplicated"] <= 60
    ids = [one.body["id"] for one in receiver.received]
    assert len(ids) == figures["delivered"] + figures["duplicated"]
    assert set(ids) <= set(made)
    assert max(Counter(ids).values()) == 2
    first = list(dict.fromkeys(ids))
    assert first != sorted(first, key=made.index)


def test_in_order_when_nothing_says_otherwise(api: Api, receiver: Receiver) -> None:
    """One after the other, on one kept connection."""
    subscribe(api, receiver, "NEW_TIME_ENTRY")
    made = [entry(api, description=str(number))["id"] for number in range(30)]
    assert [one.body["id"] for one in receiver.wait(30)] == made
    assert len(receiver.connections) == 1


def test_a_receiver_that_is_not_there_fails_deliveries(api: Api, receiver: Receiver) -> None:
    """Refused connections are failures with their reason in the log."""
    api.control("webhooks", {"retry_delays": []})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    hook = subscribe(api, receiver, "NEW_TIME_ENTRY", url=closed)
    entry(api)
    assert settled(api)["failed"] == 1
    [log] = api.send("POST", f"webhooks/{hook['id']}/logs", {"status": "FAILED"})
    assert log["statusCode"] == 0
    assert "refused" in log["responseBody"]


@pytest.mark.parametrize(
    ("answer", "delivered", "logged"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", True, ""),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", True, "until the end"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\n\r\n", True, "abcd"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok", True, "ok"),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", False, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", False, "closed before the answer was complete"),
        (b"", False, "closed before the answer was complete"),
    ],
)
def test_answers_of_every_form_are_understood(
    api: Api, receiver: Receiver, answer: bytes, delivered: bool, logged: str
) -> None:
    """No body, no length, chunks, an announcement first - and what is no answer at all."""
    api.control("webhooks", {"retry_delays": []})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        hook = subscribe(api, receiver, "NEW_TIME_ENTRY", url=f"http://127.0.0.1:{listener.getsockname()[1]}/")
        entry(api)
        listener.settimeout(PATIENCE)
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(100_000).startswith(b"POST / HTTP/1.1\r\n")
            connection.sendall(answer)
            connection.shutdown(socket.SHUT_WR)
            figures = settled(api)
    assert (figures["delivered"], figures["failed"]) == (int(delivered), int(not delivered))
    [log] = api.send("POST", f"webhooks/{hook['id']}/logs", {})
    assert logged in log["responseBody"]


def test_a_kept_connection_that_was_closed_is_opened_again(api: Api) -> None:
    """A receiver that restarted on its port gets the next delivery without a failure."""
    with running_receiver() as first:
        subscribe(api, first, "NEW_TIME_ENTRY")
        entry(api)
        first.wait(1)
    with running_receiver(first.port) as second:
        entry(api)
        second.wait(1)
    figures = settled(api)
    assert (figures["delivered"], figures["retried"], figures["failed"]) == (2, 0, 0)


def test_a_receiver_that_never_answers_blocks_nothing(api: Api, receiver: Receiver) -> None:
    """Its deliveries time out; the API and the other receivers continue meanwhile."""
    api.control("webhooks", {"retry_delays": [], "timeout": 0.2})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = subscribe(api, receiver, "NEW_TIME_ENTRY", url=f"http://127.0.0.1:{silent.getsockname()[1]}/")
        subscribe(api, receiver, "NEW_TIME_ENTRY")
        entry(api)
        receiver.wait(1)
        figures = settled(api)
    assert (figures["delivered"], figures["failed"]) == (1, 1)
    [log] = api.send("POST", f"webhooks/{slow['id']}/logs", {})
    assert log["responseBody"] == "No answer within 0.2 seconds."


@pytest.mark.parametrize("url", ["http://192.0.2.1/hook", "https://localhost.example.org/", "http://10.0.0.1:80/"])
def test_nothing_leaves_this_machine(api: Api, receiver: Receiver, url: str) -> None:
    """A webhook elsewhere can be made, but its deliveries fail, and a control cannot change that."""
    hook = subscribe(api, receiver, "NEW_TIME_ENTRY", url=url)
    entry(api)
    assert api.control("webhooks")["failed"] == 1
    [log] = api.send("POST", f"webhooks/{hook['id']}/logs", {})
    assert "this machine only" in log["responseBody"]
    refused = httpx.post(f"{api.sandbox.control}/options", json={"webhooks_anywhere": True})
    assert (refused.status_code, "when the sandbox is started" in refused.json()["error"]) == (400, True)


def test_a_queue_that_is_full_fails_what_comes(api: Api, receiver: Receiver) -> None:
    """Memory is bounded; the writes themselves succeed."""
    api.control("webhooks", {"paused": True, "queue": 3})
    subscribe(api, receiver, "NEW_TIME_ENTRY")
    for _ in range(5):
        entry(api)
    figures = api.control("webhooks", {"paused": False})
    assert figures["failed"] == 2
    assert settled(api)["delivered"] == 3


def test_a_smaller_plan_keeps_three_hooks(api: Api, receiver: Receiver) -> None:
    """None about paid features, the oldest of the others; the larger plan brings all back."""
    subscribe(api, receiver, "EXPENSE_CREATED", *["NEW_TIME_ENTRY"] * 4)
    api.sandbox.world.options.plan = "free"
    hooks = api.get("webhooks")["webhooks"]
    assert sum(hook["planEnabled"] for hook in hooks) == 3
    assert not any(hook["planEnabled"] for hook in hooks if hook["webhookEvent"] == "EXPENSE_CREATED")
    entry(api)
    assert settled(api)["delivered"] == 3
    api.sandbox.world.options.plan = "paid"
    entry(api)
    assert settled(api)["delivered"] == 7
    assert all(hook["planEnabled"] for hook in api.get("webhooks")["webhooks"])


def test_a_flood_delivers_each_once(api: Api, receiver: Receiver) -> None:
    """Over many connections, no two alike, refused ones again until they are taken."""
    api.control("webhooks", {"retry_delays": [0, 0, 0]})
    subscribe(api, receiver, "TIME_ENTRY_UPDATED")
    receiver.answers = [503] * 10
    started = api.control("webhooks/flood", {"event": "TIME_ENTRY_UPDATED", "count": 700, "connections": 20})
    assert (started["asked"], started["running"]) == (700, True)
    eventually(lambda: not api.control("webhooks")["flood"]["running"], "the flood ended")
    figures = settled(api)
    assert (figures["delivered"], figures["failed"], figures["retried"]) == (700, 0, 10)
    assert figures["flood"]["sent"] == 700
    assert len({one.raw for one in receiver.received}) == 700
    assert len(receiver.connections) >= 20
    body = receiver.received[0].body
    assert api.get(f"time-entries/{body['id']}")["timeInterval"]["start"] == body["timeInterval"]["start"]


def test_a_second_flood_repeats_nothing(api: Api, receiver: Receiver) -> None:
    """A receiver that drops repetitions counts every flood in full."""
    subscribe(api, receiver, "TAG_UPDATED")
    flood = {"event": "TAG_UPDATED", "count": 200, "connections": 1}
    api.control("webhooks/flood", flood)
    eventually(lambda: not api.control("webhooks")["flood"]["running"], "the flood ended")
    api.control("webhooks/flood", flood)
    assert len({one.raw for one in receiver.wait(400)}) == 400


def test_one_flood_at_a_time(api: Api, receiver: Receiver) -> None:
    """While one waits for its receiver, another one is refused."""
    flood = {"event": "TAG_UPDATED", "count": 1, "connections": 1}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        subscribe(api, receiver, "TAG_UPDATED", url=f"http://127.0.0.1:{silent.getsockname()[1]}/")
        api.control("webhooks/flood", flood)
        again = httpx.post(f"{api.sandbox.control}/webhooks/flood", json=flood)
    assert (again.status_code, again.json()["error"]) == (400, "a flood is under way")


@pytest.mark.parametrize("event", ["NEW_CLIENT", "PROJECT_UPDATED", "TASK_UPDATED", "TAG_UPDATED", "USER_UPDATED"])
def test_other_records_flood_too(api: Api, receiver: Receiver, event: str) -> None:
    """Every kind of record this sandbox stores, and again when there are too few."""
    named = {"triggerSourceType": "USER_ID", "triggerSource": [api.me]} if event == "USER_UPDATED" else {}
    subscribe(api, receiver, event, **named)
    api.control("webhooks/flood", {"event": event, "count": 60, "connections": 3})
    assert len({one.raw for one in receiver.wait(60)}) == 60


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("webhooks", {"lost": 2}),
        ("webhooks", {"retry_delays": [-1]}),
        ("webhooks", {"paused": 1}),
        ("webhooks", {"speed": 1}),
        ("webhooks", {"disable_after": 1.5}),
        ("webhooks", [1]),
        ("webhooks/flood", {"event": "NEW_TAG", "count": 5}),
        ("webhooks/flood", {"count": 5}),
        ("users", {"id": "nobody", "name": "x"}),
        ("users", {"name": "x"}),
        ("time_entries/restore", {"ids": ["nothing"]}),
        ("time_entries/edit", {"id": "nothing", "description": "x"}),
        ("time_entries/edit", {"id": "newest"}),
    ],
)
def test_unusable_controls_are_refused(shared: Api, path: str, body: Any) -> None:
    """Each reports what it cannot use."""
    answer = httpx.post(f"{shared.sandbox.control}/{path}", json=body)
    assert (answer.status_code, bool(answer.json()["error"])) == (400, True)


def test_reset_forgets_deliveries(api: Api, receiver: Receiver) -> None:
    """Switches, counters and what waits are as at the start."""
    api.control("webhooks", {"paused": True, "lost": 0.0, "duplicates": 1.0, "retry_delays": [1]})
    subscribe(api, receiver, "NEW_TIME_ENTRY")
    entry(api)
    api.control("webhooks/flood", {"event": "NEW_TIME_ENTRY", "count": 1_000_000, "connections": 2})
    receiver.wait(1)
    api.control("reset", {})
    figures = settled(api)
    assert (figures["flood"], figures["paused"], figures["duplicates"]) == ({}, False, 0.0)
    assert figures["retry_delays"] == [15.0, 30.0, 70.0]
    assert settled(api)["delivered"] == 0


def test_a_flood_for_a_deleted_webhook_blocks_nothing_else(api: Api, receiver: Receiver) -> None:
    """Nothing of it is sent any more; the sandbox answers meanwhile, and a reset ends it."""
    hook = subscribe(api, receiver, "NEW_TIME_ENTRY")
    entry(api)
    api.control("webhooks/flood", {"event": "NEW_TIME_ENTRY", "count": 1_000_000, "connections": 2})
    receiver.wait(1)
    api.send("DELETE", f"webhooks/{hook['id']}")
    assert api.control("webhooks")["flood"]["running"]
    api.control("reset", {})
    assert api.control("webhooks")["flood"] == {}


def test_logs_outlive_the_sandbox(tmp_path: Any, receiver: Receiver) -> None:
    """They are written down when it stops; what still waited is lost."""
    with running_sandbox(tmp_path) as sandbox:
        api = Api(sandbox)
        hook = subscribe(api, receiver, "NEW_TIME_ENTRY")
        entry(api)
        settled(api)
        api.control("webhooks", {"paused": True})
        entry(api)
        api.http.close()
    world = open_world(tmp_path / "sandbox.db", Options())
    try:
        logged = world.db.execute("SELECT webhook_id, succeeded FROM webhook_logs").fetchall()
        assert [tuple(row) for row in logged] == [(hook["id"], 1)]
    finally:
        world.db.close()
