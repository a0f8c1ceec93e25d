"""The controls: reset, seed, counters, clock, keys and settings."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import httpx
import pytest
from starlette.types import Message

from sync_pipeline.sandbox.control.routes import routes
from sync_pipeline_tests.sandbox.snapshots.speaking import Sandbox


def test_stats_count_requests_and_writes(sandbox: Sandbox) -> None:
    """Requests by route, writes by entity - changed or not - and 429s; exactly these three."""
    sandbox.api.get("users/u1")
    sandbox.api.put("users/u1", json={"email": "ada@example.org"})
    sandbox.api.post("users/batch", json={"items": [{"user_id": "u1"}, {"user_id": "u2"}]})
    sandbox.api.delete("users/u1")
    assert sandbox.control.get("stats").json() == {
        "requests": {
            "GET /snapshots/users/{id}": 1,
            "PUT /snapshots/users/{id}": 1,
            "POST /snapshots/users/batch": 1,
            "DELETE /snapshots/users/{id}": 1,
        },
        "writes": {"users": 4},
        "rate_limited": 0,
    }
    assert sandbox.control.post("stats/reset").json() == {"requests": {}, "writes": {}, "rate_limited": 0}


def test_reset_brings_the_first_state_back(sandbox: Sandbox) -> None:
    """Seeded data, no faults, real time, default settings, nothing registered."""
    before = sandbox.pages("locations")
    sandbox.api.put("users/u1", json={"email": "ada@example.org"})
    sandbox.api.delete(f"locations/{before[0][0]['location_id']}")
    sandbox.control.post("faults", json={"kind": "status"})
    sandbox.control.post("clock", json={"advance": 10**6})
    sandbox.control.post("snapshots", json={"rate_per_second": None})
    sandbox.control.post("entities", json={"entity": "tags", "id_field": "tag_id"})
    assert sandbox.control.post("reset").status_code == 200
    after = sandbox.pages("locations")
    assert [(r["location_id"], r["address"]) for r in after[0]] == [(r["location_id"], r["address"]) for r in before[0]]
    assert sandbox.pages("users") == [[]]
    assert sandbox.api.get("tags").status_code == 404
    assert sandbox.control.get("snapshots").json()["rate_per_second"] == 100


def test_seed_takes_options(sandbox: Sandbox) -> None:
    """Another amount of data, made on the spot; an option that does not exist is refused."""
    answer = sandbox.control.post("seed", json={"locations": 3, "seed": 9})
    assert answer.json()["locations"] == 3
    assert len(sandbox.pages("locations")[0]) == 3
    refused = sandbox.control.post("seed", json={"location": 3})
    assert (refused.status_code, "location is not an option" in refused.json()["error"]) == (400, True)
    sandbox.control.post("seed", json={"locations": 12, "seed": 7})


def test_clock_moves_and_stops(sandbox: Sandbox) -> None:
    """Time can be set, frozen, moved and given back."""
    frozen = sandbox.control.post("clock", json={"now": "2026-03-01T08:00:00+01:00", "frozen": True}).json()["now"]
    assert datetime.fromisoformat(frozen) == datetime.fromisoformat("2026-03-01T07:00:00Z")
    moved = sandbox.control.post("clock", json={"advance": 90}).json()["now"]
    assert datetime.fromisoformat(moved) - datetime.fromisoformat(frozen) == timedelta(seconds=90)
    assert sandbox.api.put("users/u1", json={"email": "a@b.co"}).json()["created_at"] == "2026-03-01T07:01:30.000000Z"
    real = datetime.fromisoformat(sandbox.control.delete("clock").json()["now"])
    assert abs(real - sandbox.world.clock.now()) < timedelta(minutes=1)


@pytest.mark.parametrize("body", [{}, {"now": "noon"}, {"now": "2026-03-01T08:00:00"}, {"advance": "x"}, [1]])
def test_unusable_times_are_refused(sandbox: Sandbox, body: object) -> None:
    """A time that cannot be understood is a 400, not a 500."""
    assert sandbox.control.post("clock", json=body).status_code == 400


def test_keys_are_listed_and_work(sandbox: Sandbox) -> None:
    """Every key on the list opens what its scopes allow."""
    listed = sandbox.control.get("keys").json()
    assert listed["keys"]["Snapshots key"] == "sandbox-snapshots-key"
    assert listed["snapshots_scopes"]["sandbox-snapshots-time-entries-read-key"] == ["time_entries.read"]
    assert sandbox.client("sandbox-snapshots-time-entries-read-key").get("time_entries").status_code == 200


def test_busy_time_grows(sandbox: Sandbox) -> None:
    """The bench subtracts what the sandbox itself used."""
    before = sandbox.control.get("time").json()
    sandbox.api.get("locations")
    after = sandbox.control.get("time").json()
    assert after["busy_seconds"] > before["busy_seconds"] > 0
    assert after["request_seconds"] > before["request_seconds"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("entities", {"entity": "users", "id_field": "user_id"}),
        ("entities", {"entity": "Bad Name", "id_field": "x"}),
        ("entities", {"entity": "tags"}),
        ("clients", {"client_id": "x"}),
        ("snapshots", {"rate_per_second": 0}),
        ("snapshots", {"speed": 1}),
        ("workspace", {"speed": 1}),
        ("workspace", {"forceProjects": "yes"}),
        ("workspace", {"lockTimeEntries": "last year"}),
        ("workspace", [1]),
        ("time_entries/approval", {"ids": ["nothing"]}),
        ("time_entries/approval", {"ids": [], "approved": "yes"}),
    ],
)
def test_unusable_settings_are_refused(sandbox: Sandbox, path: str, body: dict[str, object]) -> None:
    """Each control reports what it cannot use."""
    answer = sandbox.control.post(path, json=body)
    assert (answer.status_code, bool(answer.json()["error"])) == (400, True)


def test_broken_json_is_refused(sandbox: Sandbox) -> None:
    """A control that cannot read its body reports it."""
    assert sandbox.control.post("clock", content=b"{").status_code == 400


async def _no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def test_controls_answer_on_this_machine_only(sandbox: Sandbox) -> None:
    """A request from another address is refused before anything is done."""
    stats = next(route for route in routes(sandbox.world) if getattr(route, "path", "") == "/stats")
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/stats", "headers": [], "query_string": b""}
    asyncio.run(stats.handle({**scope, "client": ("192.0.2.7", 50_000)}, _no_body, send))
    assert sent[0]["status"] == 403
    assert httpx.get(f"{sandbox.running.control}/stats").status_code == 200
