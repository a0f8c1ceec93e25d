"""Sensors and their runs with PostgreSQL as the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipeline_tests.defs.live import Live, live
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.properties.judge import converged
from sync_pipeline_tests.store.conftest import Server, postgres

__all__ = ["postgres"]  # a fixture of the store's tests


@pytest.fixture
def us(tmp_path: Path, postgres: Server) -> Iterator[Team]:
    """A team that is in step and remembers so in PostgreSQL."""
    with team(tmp_path / "team") as everybody:
        everybody.changes["SYNC_DATABASE_URL"] = postgres.create()
        everybody.sync()
        yield everybody


@pytest.fixture
def on(us: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Its sensors; polling is far away."""
    with live(us, tmp_path / "live", monkeypatch) as switched_on:
        yield switched_on


def test_few_and_many_changes_arrive(us: Team, on: Live) -> None:
    """One by its id, thirty by their days, a deleted one: each event is closed by a run, and both sides agree."""
    first, gone, *others = (entry for entry in us.entries() if entry["timeInterval"]["end"])
    on.event("TIME_ENTRY_UPDATED", "time_entries", us.change_entry(first, description="edited"))
    us.clockify("DELETE", f"/time-entries/{gone['id']}")
    on.event("TIME_ENTRY_DELETED", "time_entries", gone)
    (few,) = on.drain("time_entries")
    assert few.jobs == ["changes_time_entries"]

    changed = [us.change_entry(entry, description="many") for entry in others]
    on.events("TIME_ENTRY_UPDATED", "time_entries", changed)
    many = on.drain("time_entries")

    assert {job for tick in many for job in tick.jobs} == {"sync_time_entries"}
    assert on.inbox("time_entries").open == 0
    converged(us)


def test_an_edited_client_is_mended_and_our_echo_ends(us: Team, on: Live) -> None:
    """The sensor of locations compares, pulls and rests."""
    location = next(iter(us.at_snapshots("locations").values()))
    client = us.client(str(location["location_name"]))
    kept = {name: client[name] for name in ("name", "note", "email", "archived")}
    us.clockify("PUT", f"/clients/{client['id']}", {**kept, "address": "Somebody's idea"})
    told = {"id": client["id"], "name": client["name"]}
    us.forget_stats()
    for _ in range(3):  # Clockify says the same each time: an address is not in a client's event
        assert on.event("CLIENT_UPDATED", "locations", told)
        on.drain("locations")

    assert us.writes() == {"clients": 1}
    assert on.inbox("locations").open == 0
    converged(us)
