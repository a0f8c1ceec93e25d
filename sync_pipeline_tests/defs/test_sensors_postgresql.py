"""Sensors and their runs with PostgreSQL as the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from sync_pipeline.session.progress import Progress, reporting
from sync_pipeline_tests.defs.live import Live
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.properties.invariants import converged
from sync_pipeline_tests.scenarios.dagster_runs import failures
from sync_pipeline_tests.store.conftest import Server, end_locks, postgres

__all__ = ["postgres"]  # a fixture of the store's tests


@pytest.fixture
def us(tmp_path: Path, postgres: Server) -> Iterator[Team]:
    """A team that is in step and remembers so in PostgreSQL."""
    with team(tmp_path / "team") as opened:
        opened.changes["SYNC_DATABASE_URL"] = postgres.create()
        opened.sync()
        yield opened


def test_few_and_many_changes_arrive(us: Team, on: Live) -> None:
    """One by its id, thirty by their days, a deleted one: each event is closed by a run, and both sides agree."""
    first, deleted, *others = (entry for entry in us.entries() if entry["timeInterval"]["end"])
    on.event("TIME_ENTRY_UPDATED", "time_entries", us.change_entry(first, description="edited"))
    us.clockify("DELETE", f"/time-entries/{deleted['id']}")
    on.event("TIME_ENTRY_DELETED", "time_entries", deleted)
    (few,) = on.drain("time_entries")
    assert few.jobs == ["changes_time_entries"]

    changed = [us.change_entry(entry, description="many") for entry in others]
    on.events("TIME_ENTRY_UPDATED", "time_entries", changed)
    many = on.drain("time_entries")

    assert {job for tick in many for job in tick.jobs} == {"sync_time_entries"}
    assert on.inbox("time_entries").open == 0
    converged(us)


def test_an_edited_client_is_corrected_and_our_echo_ends(us: Team, on: Live) -> None:
    """The sensor of locations compares, pulls and rests."""
    location = next(iter(us.at_snapshots("locations").values()))
    client = us.client(str(location["location_name"]))
    kept = {name: client[name] for name in ("name", "note", "email", "archived")}
    us.clockify("PUT", f"/clients/{client['id']}", {**kept, "address": "Somebody's idea"})
    body = {"id": client["id"], "name": client["name"]}
    us.forget_stats()
    for _ in range(3):  # Clockify sends the same each time: an address is not in a client's event
        assert on.event("CLIENT_UPDATED", "locations", body)
        on.drain("locations")

    assert us.writes() == {"clients": 1}
    assert on.inbox("locations").open == 0
    converged(us)


@pytest.mark.parametrize("is_declared_dead", [True, False])
def test_a_run_whose_lock_was_lost_writes_only_if_it_gets_it_again(us: Team, on: Live, is_declared_dead: bool) -> None:
    """Its connection ends while it reads. No one saw it: it continues. Someone declared it dead: it sends nothing."""
    us.put_location(next(iter(us.at_snapshots("locations"))), location_name="New name")
    us.forget_stats()
    url = us.changes["SYNC_DATABASE_URL"]
    ended: list[int] = []

    def lose(progress: Progress) -> None:
        if progress.stage == "extract" and not ended:
            if is_declared_dead:
                with psycopg.connect(url) as other:
                    other.execute("UPDATE run_locks SET dead_at = now()")
            ended.append(end_locks(url))

    listening = reporting.set(lose)
    try:
        result = on.execute(dg.RunRequest(run_key="r", job_name="sync_locations"))
    finally:
        reporting.reset(listening)

    assert ended == [1]
    assert result.success != is_declared_dead
    assert us.writes() == ({} if is_declared_dead else {"clients": 1})
    if is_declared_dead:
        assert f"the lock of the run {result.run_id}" in "".join(failures(result))
        us.sync()
    converged(us)
