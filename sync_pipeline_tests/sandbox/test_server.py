"""Starting the sandbox, its front page, its counters, and what can go wrong."""

from __future__ import annotations

import socket
import sqlite3
from pathlib import Path

import httpx
import pytest

from sync_pipeline.errors import ConfigError
from sync_pipeline.sandbox.paths import route_template
from sync_pipeline.sandbox.server import Running, open_world, serve
from sync_pipeline.sandbox.world import Options


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
        ("/oauth/token", "/oauth/token"),
    ],
)
def test_route_templates(path: str, template: str) -> None:
    """Ids in paths become placeholders, fixed words stay."""
    assert route_template(path) == template


def test_a_port_in_use_is_a_clear_error(tmp_path: Path) -> None:
    """Starting on a taken port says so and names the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}.*--port"):
            serve(port=port, database=tmp_path / "s.db")


def test_a_database_that_cannot_be_used_is_a_clear_error(tmp_path: Path) -> None:
    """A directory, a file that is no database, or one of another version is refused by name."""
    (tmp_path / "text.db").write_text("this is not a database, whatever its name says" * 100)
    newer = sqlite3.connect(tmp_path / "newer.db")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    (tmp_path / "folder.db").mkdir()
    for name in ("text.db", "newer.db", "folder.db"):
        with pytest.raises(ConfigError, match=name):
            open_world(tmp_path / name, Options(entries=1))
