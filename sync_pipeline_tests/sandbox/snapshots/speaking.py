"""Clients that speak to a running sandbox, shared by the tests of the Snapshots side and of the controls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from sync_pipeline.sandbox.server import Running
from sync_pipeline.sandbox.world import World
from sync_pipeline_tests.sandbox.running import running_sandbox

# Resetting before every test is quick when there is little on the Clockify side.
LITTLE = {"users": 3, "projects": 4, "clients": 3, "locations": 12, "entries": 30, "days": 7}


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox as the tests speak to it: ``api`` may do everything, ``control`` needs no key."""

    running: Running
    api: httpx.Client
    control: httpx.Client
    others: dict[str | None, httpx.Client] = field(default_factory=dict)

    @property
    def world(self) -> World:
        """The data behind the server."""
        return self.running.world

    def client(self, key: str | None) -> httpx.Client:
        """A client with another credential, or with none."""
        if key not in self.others:
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            self.others[key] = httpx.Client(base_url=f"{self.running.snapshots}/", headers=headers)
        return self.others[key]

    def batch(self, entity: str, *items: Any) -> list[dict[str, Any]]:
        """Send a batch and return its results."""
        response = self.api.post(f"{entity}/batch", json={"items": list(items)})
        assert response.status_code == 200, response.text
        results: list[dict[str, Any]] = response.json()["results"]
        return results

    def pages(self, path: str, **params: Any) -> list[list[dict[str, Any]]]:
        """Every page of a list, following its cursors."""
        pages: list[list[dict[str, Any]]] = []
        cursor: str | None = ""
        while cursor is not None:
            response = self.api.get(path, params={**params, **({"cursor": cursor} if cursor else {})})
            assert response.status_code == 200, response.text
            pages.append(response.json()["data"])
            cursor = response.json()["next_cursor"]
        return pages


@contextmanager
def small_sandbox(directory: Path) -> Iterator[Sandbox]:
    """Start one on a free port with a few records of everything."""
    with (
        running_sandbox(directory, **LITTLE) as server,
        httpx.Client(base_url=f"{server.snapshots}/", headers={"X-Api-Key": "sandbox-snapshots-key"}) as api,
        httpx.Client(base_url=f"{server.control}/") as control,
    ):
        sandbox = Sandbox(server, api, control)
        yield sandbox
        for client in sandbox.others.values():
            client.close()


def entry(number: int, **fields: Any) -> dict[str, Any]:
    """A valid time entry: number N starts N minutes after nine."""
    start = f"2026-01-05T{9 + number // 60:02d}:{number % 60:02d}:00Z"
    return {"time_entry_id": f"t{number:05d}", "start_time": start, "end_time": "2026-01-06T18:00:00Z", **fields}
