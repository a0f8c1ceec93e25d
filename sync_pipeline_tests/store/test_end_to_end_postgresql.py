"""The whole flow with PostgreSQL as the store: the real command line, both systems and a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sync_pipeline_tests.cli.shell import Shell, shell_for
from sync_pipeline_tests.harness import ENTITIES, Team, morning, team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged, nothing_twice
from sync_pipeline_tests.scenarios.commands import PATIENCE, kill_when, start, wait_until
from sync_pipeline_tests.store.conftest import Server
from sync_pipeline_tests.store.living import outlast

LONG = "x" * 101
"""A name that Clockify does not take for a client."""


@pytest.fixture
def database(postgres: Server) -> str:
    """A new database without any tables."""
    return postgres.create()


@pytest.fixture
def us(tmp_path: Path, database: str) -> Iterator[Team]:
    """A small team that remembers what it delivered in PostgreSQL."""
    with team(tmp_path) as made:
        made.changes["SYNC_DATABASE_URL"] = database
        yield made


@pytest.fixture
def shell(us: Team, tmp_path: Path) -> Iterator[Shell]:
    """The command line of that team."""
    with shell_for(us, tmp_path / "shell") as typed:
        yield typed


def test_everything_is_synced_once_and_proven(shell: Shell) -> None:
    """The first sync makes the tables and delivers, the second changes nothing, and both sides agree."""
    first, written = shell.sync("--verify"), shell.team.writes()
    shell.team.forget_stats()
    second = shell.sync("--verify")

    entries = 40 - first["entities"]["time_entries"]["excluded"]
    assert written == {"clients": 4, "projects": 5, "users": 4, "time_entries": entries}
    created = [first["entities"][entity]["created"] for entity in ENTITIES]
    assert sorted(created) == sorted(written.values())
    assert {counts["created"] + counts["updated"] for counts in second["entities"].values()} == {0}
    assert shell.team.writes() == {}
    assert {(found["missing"], found["different"], found["extra"]) for found in second["verify"].values()} == {
        (0, 0, 0)
    }
    status = shell("status", "--json", code=0).document["entities"]
    assert {(state["last_outcome"], state["pending"], state["rejects"]) for state in status.values()} == {
        ("success", 0, 0)
    }
    assert not (shell.home / "sync.db").exists()


def test_drift_is_found_and_repaired(shell: Shell) -> None:
    """What was edited and deleted at the target is reported, then delivered again."""
    shell.sync("--entity", "users")
    before = shell.team.at_snapshots("users")
    edited, deleted = list(before)[:2]
    shell.team.snapshots("PUT", f"/users/{edited}", {"name": "Somebody Else"})
    shell.team.snapshots("DELETE", f"/users/{deleted}")

    found = shell("verify", "--entity", "users", "--json", code=5).document["entities"]["users"]
    repaired = shell("verify", "--entity", "users", "--repair", "--json", code=0).document

    assert (found["missing"], found["different"]) == (1, 1)
    assert (repaired["in_sync"], repaired["entities"]["users"]["repaired"]) == (True, 2)
    names = {key: user["name"] for key, user in shell.team.at_snapshots("users").items()}
    assert names == {key: user["name"] for key, user in before.items()}


def test_rejects_come_go_and_are_retried(shell: Shell) -> None:
    """A rejected record is listed with its reason and no longer listed once it is corrected; deletes reach the target."""
    shell.team.put_location("long", location_name=LONG)
    shell.team.put_location("short-lived", location_name="Not for long")
    shell.sync("--entity", "locations", code=0)

    (listed,) = shell("rejects", "list", "--json", code=0).document["rejects"]
    assert (listed["source_id"], listed["field"]) == ("long", "name")
    assert shell("rejects", "show", "locations", "long", "--json", code=0).document["rejects"] == [listed]
    assert shell("rejects", "retry", "--entity", "locations", "--json", code=0).document == {
        "schema": "rejects-retry/1",
        "retried": 0,
    }

    shell.team.put_location("long", location_name="Short enough")
    shell.team.snapshots("DELETE", "/locations/short-lived")
    counts = shell.sync("--entity", "locations", "--verify")["entities"]["locations"]
    assert (counts["created"], counts["deleted"], counts["rejected"]) == (1, 1, 0)
    assert shell("rejects", "list", "--json", code=0).document["rejects"] == []


def test_two_machines_on_one_database_double_nothing(us: Team, tmp_path: Path) -> None:
    """Each has a home of its own and a database without tables to begin with; every record is written once."""
    homes = [{"SYNC_HOME": str(tmp_path / name)} for name in ("one", "two")]
    both = [start(us, "sync", "--json", **home) for home in homes]
    answers = [process.communicate(timeout=PATIENCE) for process in both]

    assert [process.returncode for process in both] == [0, 0], answers
    nothing_twice(us)
    created = [json.loads(out)["entities"]["locations"]["created"] for out, _ in answers]
    assert (sum(created), us.writes()["clients"]) == (4, 4)
    converged(us)
    changes_nothing(us)


def test_killed_in_the_middle_of_a_write_the_next_sync_continues(us: Team, database: str) -> None:
    """The lock and the claims of a process that is killed with -9 get free; nothing is lost and nothing is doubled."""
    us.fault("stall", "POST /snapshots/projects/batch", seconds=30)
    process = start(us, "sync", "--entity", "projects")
    assert kill_when(process, lambda: any(rule["struck"] for rule in us.control("GET", "faults")["faults"]))
    us.no_faults()
    with psycopg.connect(database, autocommit=True) as tx:
        wait_until(lambda: _held_locks(tx) == 0)  # the server notices a moment later that a client is disconnected
    outlast(database)

    counts = us.sync()

    assert counts["projects"].created == 5
    converged(us)
    changes_nothing(us)
    with psycopg.connect(database) as tx:
        assert _held_locks(tx) == 0


def test_a_nul_in_a_text_stops_nothing(shell: Shell) -> None:
    """Everything is delivered, whatever characters a name or description holds; the next sync changes nothing."""
    us = shell.team
    project = us.clockify("POST", "/projects", {"name": "a\0b"})["id"]
    us.add_entry(us.users()[0]["id"], morning(1), description="d\0e", projectId=project)
    us.put_location("nul", location_name="l\0c")

    first, again = shell.sync("--verify"), shell.sync("--verify")

    assert first["entities"]["projects"]["created"] == 6
    assert {(counts["created"] + counts["updated"]) for counts in again["entities"].values()} == {0}


def _held_locks(tx: psycopg.Connection) -> int:
    (count,) = tx.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() or (0,)
    return int(count)
