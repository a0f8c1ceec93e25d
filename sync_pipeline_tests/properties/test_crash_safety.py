"""Law 3: killed anywhere, run again: both sides agree and nothing exists twice."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import dagster as dg
import pytest

from sync_pipeline_tests.harness import Team, morning, team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged, nothing_twice
from sync_pipeline_tests.properties.test_faults import small_pages
from sync_pipeline_tests.scenarios.commands import kill_when, run_json, start

pytestmark = pytest.mark.clock

KILLS = 2
CLIENTS = "GET /clockify/api/v1/workspaces/{ws}/clients"


@pytest.mark.parametrize("seed", [11, 23])
def test_killed_at_random_points_the_next_sync_continues_from_there(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a `sync` process is killed, the one that ends makes both sides agree, and nothing is doubled."""
    dice = random.Random(seed)
    with team(tmp_path, locations=8, entries=60, seed=seed) as us:
        small_pages(us)
        for kill in range(KILLS):
            _edit(us, kill)
            us.forget_stats()
            after = dice.randint(2, 20)
            kill_when(start(us, "sync"), partial(_asked, us, after))
            nothing_twice(us)
        assert run_json(us, "sync")["success"]
        converged(us)
        changes_nothing(us)
        monkeypatch.setenv("DAGSTER_HOME", str(us.home / "dagster"))
        assert _unfinished_runs() == []


def test_killed_between_a_clients_creation_and_its_link_it_is_found_again_though_renamed(tmp_path: Path) -> None:
    """The client of an interrupted create is linked, and renamed, although its location has another name by now."""
    with team(tmp_path, locations=1, entries=0) as us:
        (location,) = us.at_snapshots("locations").values()
        before = len(us.clients())
        us.fault("cut_after", "POST */clients")
        us.fault("stall", "GET */clients", seconds=3, rate=0.5, seed=_second_only())
        us.forget_stats()
        requests = us.sandbox.world.stats.requests
        assert kill_when(start(us, "sync"), lambda: requests[CLIENTS] == 2)  # the client is there, and it looks it up
        us.no_faults()
        orphan = us.client(location["location_name"])
        us.put_location(location["location_id"], location_name="Another name by now")

        document = run_json(us, "sync")

        assert document["success"]
        assert us.client("Another name by now")["id"] == orphan["id"]
        assert len(us.clients()) == before + 1
        converged(us)


def test_an_answer_that_was_cut_off_leads_to_one_client(tmp_path: Path) -> None:
    """A create whose answer never came is looked up before it is repeated; one that never arrived is repeated."""
    with team(tmp_path) as us:
        us.fault("cut_after", "POST */clients", count=2)
        us.fault("cut_before", "POST */clients", count=2)
        counts = us.sync("locations")["locations"]
        assert (counts.created, counts.extracted) == (4, 4)
        nothing_twice(us)
        us.no_faults()
        us.sync()
        converged(us)


def _edit(us: Team, number: int) -> None:
    """Something new to deliver, so that a later kill interrupts more than reads."""
    owner = us.users()[0]["id"]
    us.add_entry(owner, morning(1 + number), description=f"after {number} kills")
    us.put_location(f"new-{number}", location_name=f"New site {number}", address="Somewhere 1")
    first = next(iter(us.at_snapshots("locations").values()))
    us.put_location(first["location_id"], location_name=f"Renamed {number}")


def _second_only() -> int:
    """The seed of a fault with rate 0.5 that spares the first request and strikes the second."""
    throws = ((seed, random.Random(seed)) for seed in range(100))
    return next(seed for seed, dice in throws if dice.random() >= 0.5 > dice.random())


def _unfinished_runs() -> list[str]:
    """Runs that the UI would show as running forever."""
    with dg.DagsterInstance.get() as instance:
        unfinished = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING]
        return [run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=unfinished))]


def _asked(us: Team, times: int) -> bool:
    return sum(us.sandbox.world.stats.requests.values()) >= times
