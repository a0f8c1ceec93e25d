"""Locations are polled at their source like everything else; it costs Clockify nothing while nothing changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import orjson
import pytest

from sync_pipeline.clock import utc_now
from sync_pipeline.connectors.clockify.account import PLANS
from sync_pipeline.stages import polling
from sync_pipeline.store.rate import reserve
from sync_pipeline_tests.defs.live import Live, live
from sync_pipeline_tests.harness import Json, Team, team
from sync_pipeline_tests.properties.invariants import converged


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team that is in step."""
    with team(tmp_path / "team", entries=0) as opened:
        opened.sync()
        opened.forget_stats()
        yield opened


@pytest.fixture
def on(us: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Its sensors; only the Snapshots API is polled."""
    with live(us, tmp_path / "live", monkeypatch, SYNC_SNAPSHOTS_POLL_SECONDS="60") as switched_on:
        wait(switched_on)
        yield switched_on


def wait(on: Live, seconds: float = 60) -> None:
    """The list of locations was last read so long ago."""
    cursor = orjson.loads(on.cursors["locations"] or "{}")
    ago = (utc_now() - timedelta(seconds=seconds)).isoformat()
    on.cursors["locations"] = orjson.dumps({**cursor, "listed": ago}).decode()


def some_location(us: Team) -> Json:
    """Any location."""
    return next(iter(us.at_snapshots("locations").values()))


def clockify_requests(us: Team) -> int:
    """Requests that Clockify has answered."""
    return sum(count for route, count in us.requests().items() if "/clockify/" in route)


def test_a_renamed_location_arrives(us: Team, on: Live) -> None:
    """One list at the Snapshots API, one run by id, one write to Clockify."""
    location = some_location(us)
    us.put_location(location["location_id"], location_name="Renamed")
    us.put_location("loc-new", location_name="Brand new")
    us.forget_stats()
    tick = on.tick("locations")
    assert tick.jobs == ["changes_locations"]
    assert all(run.success for run in tick.runs)
    assert us.writes() == {"clients": 2}
    assert us.client("Renamed")
    assert us.client("Brand new")
    assert on.inbox("locations").open == 0
    wait(on)
    assert on.tick("locations").requests == []
    converged(us)


def test_nothing_changed_costs_clockify_nothing(us: Team, on: Live) -> None:
    """However often it is asked."""
    for _ in range(3):
        wait(on)
        tick = on.tick("locations")
        assert (tick.requests, "0 changed" in tick.said) == ([], True)
    assert sum(us.requests().values()) == 3
    assert clockify_requests(us) == 0


def test_it_is_asked_when_it_is_time_to(us: Team, on: Live) -> None:
    """Not at each tick; but a tick that comes a little early does not wait for another one."""
    on.tick("locations")
    us.forget_stats()
    wait(on, 30)
    on.tick("locations")
    assert us.requests() == {}
    wait(on, 50)
    on.tick("locations")
    assert sum(us.requests().values()) == 1


def test_a_deleted_location_archives_its_client(us: Team, on: Live) -> None:
    """It is missing from the list, proven deleted by id, and its client is archived."""
    location = some_location(us)
    us.snapshots("DELETE", f"/locations/{location['location_id']}")
    on.drain("locations")
    assert us.client(location["location_name"])["archived"]
    converged(us)


def test_many_changes_are_read_as_the_list(us: Team, on: Live) -> None:
    """Beyond so many one by one is dearer; the run that reads the list closes all their events."""
    for number in range(25):
        us.put_location(f"loc-{number}", location_name=f"Site {number}")
    tick = on.tick("locations")
    assert tick.jobs == ["sync_locations"]
    assert on.inbox("locations").open == 0
    converged(us)


def test_a_list_without_end_fills_no_inbox(us: Team, on: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a number the rest is left to the run, which reads the list anyway."""
    monkeypatch.setattr(polling, "MOST_CHANGES", 5)
    for number in range(25):
        us.put_location(f"loc-{number}", location_name=f"Site {number}")
    on.drain("locations")
    converged(us)


def test_a_client_edited_at_the_same_time_is_seen_as_well(us: Team, on: Live) -> None:
    """A changed location and an edited client: one run of the whole list answers both."""
    first, second = list(us.at_snapshots("locations").values())[:2]
    client = us.client(first["location_name"])
    kept = {name: client[name] for name in ("name", "note", "email", "archived")}
    edited = us.clockify("PUT", f"/clients/{client['id']}", {**kept, "address": "Somebody's idea"})
    on.event("CLIENT_UPDATED", "locations", {name: edited[name] for name in ("id", "name")})
    us.put_location(second["location_id"], location_name="Renamed")
    tick = on.tick("locations")
    assert tick.jobs == ["sync_locations"]
    assert us.client(client["name"])["address"] == client["address"]
    assert us.client("Renamed")
    assert on.inbox("locations").open == 0
    converged(us)


def test_an_api_that_is_away_is_asked_again_at_the_next_tick(us: Team, on: Live) -> None:
    """The cursor stays; nothing is lost."""
    us.put_location("loc-late", location_name="Late")
    us.fault("status", "GET */snapshots/locations", status=503)
    tick = on.tick("locations")
    assert (tick.requests, "503" in tick.said) == ([], True)
    us.no_faults()
    on.drain("locations")
    assert us.client("Late")


def test_on_the_free_plan_a_change_waits_for_the_budget(us: Team, on: Live) -> None:
    """It is noticed, and written when there is room."""
    us.changes |= {"CLOCKIFY_PLAN": "free"}
    on.renew()
    us.put_location("loc-free", location_name="Free")
    with us.session() as session:
        for _ in range(25):
            now = session.now().timestamp()
            reserve(session.store, session.clockify.account.bucket, PLANS["free"].windows, now - 60)
    tick = on.tick("locations")
    assert (tick.requests, "1 events wait" in tick.said) == ([], True)
    assert on.inbox("locations").open == 1
