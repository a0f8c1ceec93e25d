"""Starting the sandbox, its front page, its counters, and what can go wrong."""

from __future__ import annotations

import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from sync_pipeline.errors import ConfigError
from sync_pipeline.sandbox.paths import route_template
from sync_pipeline.sandbox.server import Running, open_world, serve
from sync_pipeline.sandbox.world import Options
from sync_pipeline.store.engine import open_store


def test_the_front_page_lists_addresses_and_keys(sandbox: Running) -> None:
    """A person who opens the root sees where everything is and which keys work."""
    page = httpx.get(sandbox.url).text
    for text in (sandbox.clockify, sandbox.snapshots, sandbox.workspace, *sandbox.keys.values()):
        assert text in page


def test_requests_are_counted_by_route(sandbox: Running) -> None:
    """Ids do not appear in the counters; the controls do not count."""
    headers = {"X-Api-Key": "sandbox-clockify-key"}
    for path in ("/user", f"/workspaces/{sandbox.workspace}/users", f"/workspaces/{sandbox.workspace}/tags/{'a' * 24}"):
        httpx.get(sandbox.clockify + path, headers=headers)
    httpx.get(sandbox.control + "/stats")
    assert dict(sandbox.world.stats.requests) == {
        "GET /clockify/api/v1/user": 1,
        "GET /clockify/api/v1/workspaces/{ws}/users": 1,
        "GET /clockify/api/v1/workspaces/{ws}/tags/{id}": 1,
    }


def test_writes_are_counted_by_entity(sandbox: Running) -> None:
    """A created client is one write to clients; a refused one is none."""
    url = f"{sandbox.clockify}/workspaces/{sandbox.workspace}/clients"
    for _ in range(2):
        httpx.post(url, json={"name": "Only once"}, headers={"X-Api-Key": "sandbox-clockify-key"})
    assert dict(sandbox.world.stats.writes) == {"clients": 1}


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/clockify/api/v1/workspaces/nonsense/users", "/clockify/api/v1/workspaces/{ws}/users"),
        (
            f"/clockify/api/v1/workspaces/{'0' * 24}/user/{'1' * 24}/time-entries",
            "/clockify/api/v1/workspaces/{ws}/user/{id}/time-entries",
        ),
        ("/snapshots/locations/loc-1", "/snapshots/locations/{id}"),
        ("/snapshots/users/batch", "/snapshots/users/batch"),
        ("/highlevel/contacts/sandboxOperations001/tasks/a1", "/highlevel/contacts/{id}/tasks/{id}"),
        ("/oauth/token", "/oauth/token"),
    ],
)
def test_route_templates(path: str, template: str) -> None:
    """Ids in paths become placeholders, fixed words stay."""
    assert route_template(path) == template


def test_a_port_in_use_is_a_clear_error(tmp_path: Path) -> None:
    """Starting on a taken port reports it and names the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}.*--port"):
            serve(port=port, database=tmp_path / "s.db")


@pytest.mark.parametrize(
    ("table", "version"), [("accounts", 0), ("accounts", 1), ("users", 0), ("users", 1), ("meta", 0)]
)
def test_the_database_of_another_program_is_left_alone(tmp_path: Path, table: str, version: int) -> None:
    """A sandbox fills its database with sample data, so one that is not a sandbox's is refused and left unchanged."""
    theirs = tmp_path / "theirs.db"
    with closing(sqlite3.connect(theirs)) as db:
        db.executescript(f"CREATE TABLE {table} (a); INSERT INTO {table} VALUES (1); PRAGMA user_version = {version};")
    before = theirs.read_bytes()
    with pytest.raises(ConfigError, match=r"theirs\.db: it belongs to another program .*Name a new file"):
        open_world(theirs)
    assert theirs.read_bytes() == before


def test_the_pipelines_own_database_is_left_alone(tmp_path: Path) -> None:
    """One typing error away: what was delivered, and the stored credentials, may not be lost to a sandbox."""
    path = tmp_path / "sync.db"
    open_store(f"sqlite:///{path}").close()
    with pytest.raises(ConfigError, match="it belongs to another program"):
        open_world(path)
    open_store(f"sqlite:///{path}").close()


def test_a_database_that_cannot_be_used_is_a_clear_error(tmp_path: Path) -> None:
    """A directory, a file that is no database, or one of another version is refused by name."""
    (tmp_path / "text.db").write_text("this is not a database, whatever its name says" * 100)
    open_world(tmp_path / "newer.db", Options(users=2, projects=1, locations=1, entries=1)).db.close()
    newer = sqlite3.connect(tmp_path / "newer.db")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    (tmp_path / "folder.db").mkdir()
    for name in ("text.db", "newer.db", "folder.db"):
        with pytest.raises(ConfigError, match=name):
            open_world(tmp_path / name, Options(entries=1))
