"""From an edit in Clockify to the record in Snapshots, over everything that is real but the daemon's own loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sync_pipeline.webhooks.hooks import open_hooks
from sync_pipeline.webhooks.receiver import ReceiverOptions
from sync_pipeline.webhooks.registration import Registrar, Wishes
from sync_pipeline.webhooks.server import running
from sync_pipeline_tests.defs.live import Live, live
from sync_pipeline_tests.harness import Json, Team, instant, morning
from sync_pipeline_tests.properties.invariants import converged
from sync_pipeline_tests.scenarios.commands import wait_until

ENTRY = "GET /clockify/api/v1/workspaces/{ws}/time-entries/{id}"
CLIENT = "GET /clockify/api/v1/workspaces/{ws}/clients/{id}"


@pytest.fixture
def on(us: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Its sensors, and a receiver that Clockify's webhooks reach over HTTP."""
    with live(us, tmp_path / "live", monkeypatch) as switched_on, us.session() as session:
        hooks = open_hooks(session)
        with running(hooks, ReceiverOptions(workspace=us.sandbox.workspace)) as receiver:
            Registrar.of(session, hooks, receiver.url).register(Wishes())
            us.forget_stats()
            yield switched_on


def settled(us: Team) -> None:
    """Every webhook has been delivered, as the sandbox counts them."""
    wait_until(lambda: us.control("GET", "webhooks")["queued"] == 0)


def at_source(us: Team, kind: str = "GET") -> dict[str, int]:
    """Requests to Clockify."""
    return {route: n for route, n in us.requests().items() if "/clockify/" in route and route.startswith(kind)}


def test_one_edit_costs_one_read_and_one_write(us: Team, on: Live) -> None:
    """A person's edit is delivered as a webhook, answered by a targeted run, and is in Snapshots."""
    entry = next(entry for entry in us.entries() if entry["timeInterval"]["end"])
    us.change_entry(entry, description="edited in Clockify")
    settled(us)
    us.forget_stats()

    tick = on.tick("time_entries")

    assert tick.jobs == ["changes_time_entries"]
    assert at_source(us) == {ENTRY: 1}
    assert us.writes() == {"time_entries": 1}
    assert us.at_snapshots("time_entries")[entry["id"]]["description"] == "edited in Clockify"
    assert on.inbox("time_entries").open == 0
    assert on.tick("time_entries").requests == []


def edited(us: Team, entry: Json) -> Json:
    """Someone edits it."""
    return us.change_entry(entry, description="edited")


def moved(us: Team, entry: Json) -> Json:
    """Someone corrects the day."""
    return us.change_entry(entry, start=instant(morning(9, 3)), end=instant(morning(9, 4)))


def deleted(us: Team, entry: Json) -> Json:
    """Someone deletes it."""
    us.clockify("DELETE", f"/time-entries/{entry['id']}")
    return entry


@pytest.mark.parametrize("action", [edited, moved, deleted])
def test_what_people_do_arrives(us: Team, on: Live, action: Callable[[Team, Json], Json]) -> None:
    """Whatever it is: both sides agree afterwards, without any other sync."""
    action(us, next(entry for entry in us.entries() if entry["timeInterval"]["end"]))
    settled(us)

    assert on.drain("time_entries")

    converged(us)


def test_our_own_writes_end_as_events(us: Team, on: Live) -> None:
    """A location changes, we write the client, Clockify sends an event: it is read, found unchanged, and nothing else happens."""
    first, second = list(us.at_snapshots("locations").values())[:2]
    us.put_location(first["location_id"], location_name="Renamed there")
    us.put_location("loc-new", location_name="Opened there")
    us.snapshots("DELETE", f"/locations/{second['location_id']}")
    us.sync("locations")
    settled(us)
    assert on.inbox("locations").open == 3  # renamed, made, archived
    us.forget_stats()

    assert on.drain("locations") == []

    assert us.writes() == {}
    assert at_source(us) == {CLIENT: 3}
    assert on.inbox("locations").open == 0
    converged(us)


def test_a_corrected_client_comes_back_once(us: Team, on: Live) -> None:
    """Someone edits a client, we write it back, and the event about that write leads to nothing more."""
    location = next(iter(us.at_snapshots("locations").values()))
    client = us.client(str(location["location_name"]))
    kept = {name: client[name] for name in ("name", "note", "email", "archived")}
    us.clockify("PUT", f"/clients/{client['id']}", {**kept, "address": "Somebody's idea"})
    settled(us)
    us.forget_stats()

    for _ in range(3):  # each round may learn of what the one before it wrote
        on.tick("locations")
        settled(us)

    assert us.writes() == {"clients": 1}
    assert on.inbox("locations").open == 0
    assert us.client(client["name"])["address"] == client["address"]
    converged(us)
