"""The invented company: how much of it there is, and that it is always the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from sync_pipeline.sandbox.clockify.ids import created_at
from sync_pipeline.sandbox.server import open_world
from sync_pipeline.sandbox.world import Options, World

COUNTED = ("users", "projects", "clients", "entries")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A seeded world without a server."""
    options = Options(seed=3, users=24, projects=30, clients=12, locations=4, entries=2345, days=45)
    opened = open_world(tmp_path_factory.mktemp("seed") / "s.db", options)
    yield opened
    opened.db.close()


def all_of(world: World, query: str) -> list[Any]:
    """The first column of every row."""
    return [row[0] for row in world.db.execute(query).fetchall()]


def test_there_is_as_much_as_was_asked_for(world: World) -> None:
    """Users, projects, clients and entries are exactly as many as the options state."""
    for name in COUNTED:
        table = "time_entries" if name == "entries" else name
        assert all_of(world, f"SELECT count(*) FROM {table}") == [getattr(world.options, name)]


def test_the_company_is_varied(world: World) -> None:
    """There are timers, archived projects and clients, inactive and pending people, zones, unicode, loose entries."""
    assert set(all_of(world, "SELECT membership_status FROM users")) == {"ACTIVE", "INACTIVE", "PENDING"}
    assert 1 <= all_of(world, "SELECT count(*) FROM time_entries WHERE ended IS NULL")[0] <= 24
    for table in ("projects", "clients", "tags", "tasks"):
        assert set(all_of(world, f"SELECT archived FROM {table}")) == {0, 1}
    zones = set(all_of(world, "SELECT json_extract(body, '$.settings.timeZone') FROM users"))
    assert len(zones - {None}) == 12
    assert any(not name.isascii() for name in all_of(world, "SELECT name FROM users WHERE name IS NOT NULL"))
    assert all_of(world, "SELECT count(*) FROM time_entries WHERE project_id IS NULL")[0] > 50
    weekend = all_of(
        world, "SELECT count(*) FROM time_entries WHERE strftime('%w', started, 'unixepoch') IN ('0', '6')"
    )
    assert 0 < weekend[0] < 2345 // 5


def test_names_are_unique_where_clockify_demands_it(world: World) -> None:
    """No client, tag or project of one client shares its name."""
    for table in ("clients", "projects", "tags", "tasks"):
        names = [tuple(row) for row in world.db.execute(f"SELECT parent, name FROM {table}")]
        assert len(names) == len(set(names)) > 0


def test_entries_lie_in_the_wished_for_days(world: World) -> None:
    """Entries end today at the latest, begin in the range, and were created when their id states."""
    now = world.clock.now()
    first = datetime(now.year, now.month, now.day, tzinfo=UTC) - timedelta(days=45)
    for row in world.db.execute("SELECT id, started, ended FROM time_entries"):
        assert first.timestamp() <= row["started"] <= now.timestamp()
        assert row["ended"] is None or row["started"] < row["ended"] <= now.timestamp()
        assert (row["ended"] or row["started"]) <= created_at(row["id"]) <= now.timestamp()


def test_references_hold(world: World) -> None:
    """Every entry's project, task and user exist; tasks belong to the entry's project."""
    broken = (
        "SELECT count(*) FROM time_entries e LEFT JOIN projects p ON p.id = e.project_id"
        " LEFT JOIN tasks t ON t.id = e.task_id LEFT JOIN users u ON u.id = e.user_id"
        " WHERE u.id IS NULL OR (e.project_id IS NOT NULL AND p.id IS NULL)"
        " OR (e.task_id IS NOT NULL AND t.parent IS NOT e.project_id)"
    )
    assert all_of(world, broken) == [0]
    tracked = "SELECT sum(tracked) FROM projects"
    worked = "SELECT sum(ended - started) FROM time_entries WHERE project_id IS NOT NULL"
    assert all_of(world, tracked) == all_of(world, worked)


def test_the_same_seed_gives_the_same_company(tmp_path: Path, world: World) -> None:
    """Names, ids of the workspace and of people repeat; another seed is another workspace."""

    def fingerprint(name: str, seed: int) -> bytes:
        again = open_world(tmp_path / name, Options(seed=seed, users=24, projects=30, clients=12, entries=10, days=45))
        rows = [
            tuple(row) for table in ("clients", "projects") for row in again.db.execute(f"SELECT name FROM {table}")
        ]
        found = orjson.dumps([all_of(again, "SELECT id FROM workspaces"), sorted(rows)])
        again.db.close()
        return found

    assert fingerprint("a", 3) == fingerprint("b", 3) != fingerprint("c", 4)
    assert all_of(world, "SELECT id FROM workspaces")[0].startswith("64a687e2")


def test_an_existing_database_is_used_unchanged(tmp_path: Path) -> None:
    """A second start keeps what is there, whatever the options are."""
    options = Options(users=3, projects=2, clients=1, locations=1, entries=10, days=5)
    first = open_world(tmp_path / "s.db", options)
    first.db.execute("UPDATE workspaces SET name = 'Mine'")
    first.db.close()
    second = open_world(tmp_path / "s.db", Options(seed=99, entries=500))
    assert all_of(second, "SELECT name FROM workspaces") == ["Mine"]
    assert all_of(second, "SELECT count(*) FROM time_entries") == [10]
    second.db.close()
