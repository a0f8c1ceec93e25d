"""Connectors pointed at a running sandbox, and the sandbox's controls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson

from sync_pipeline.connectors.clockify.api import Clockify
from sync_pipeline.connectors.clockify.target import Clients
from sync_pipeline.connectors.snapshots.api import Credentials, Snapshots
from sync_pipeline.mapping.spec import DeletePolicy, SourceSpec, TargetSpec
from sync_pipeline.sandbox.server import Running
from sync_pipeline_tests.connectors.clients import Time, clockify, snapshots

ENTRIES = SourceSpec("clockify", "id", reader="time_entries", item="/workspaces/{workspace}/time-entries/{id}")
PROJECTS = SourceSpec(
    "clockify", "id", list="/workspaces/{workspace}/projects", item="/workspaces/{workspace}/projects/{id}"
)
USERS = SourceSpec("clockify", "id", list="/workspaces/{workspace}/users", params={"status": "ALL"})
OWNER_KEY = "sandbox-clockify-key"
SNAPSHOTS_KEY = "sandbox-snapshots-key"


def clockify_at(sandbox: Running, *, key: str = OWNER_KEY, workspace: str = "", **options: Any) -> Clockify:
    """Clockify as the sandbox serves it."""
    workspace = workspace or sandbox.workspace
    return clockify(
        sandbox.clockify,
        options.pop("time", None) or now(sandbox),
        reports=sandbox.reports,
        workspace=workspace,
        key=key,
        **options,
    )


def clients_of(clockify: Clockify, delete: DeletePolicy = "delete") -> Clients:
    """The workspace's clients, as a target."""
    return Clients(clockify, TargetSpec("clockify", "clients", "id", delete))


def snapshots_at(sandbox: Running, *, key: str = SNAPSHOTS_KEY, **options: Any) -> Snapshots:
    """The Snapshots API as the sandbox serves it."""
    return snapshots(sandbox.snapshots, credentials=Credentials(api_key=key), **options)


def now(sandbox: Running) -> Time:
    """A clock that shows the sandbox's time."""
    return Time(sandbox.world.clock.epoch())


def control(sandbox: Running, path: str, **body: Any) -> Any:
    """Use one of the sandbox's controls."""
    return httpx.post(f"{sandbox.control}/{path}", json=body, trust_env=False).raise_for_status().json()


async def rows(pages: AsyncIterator[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """All records of all pages."""
    return [row async for page in pages for row in page]


def canonical(records: list[dict[str, Any]]) -> dict[str, bytes]:
    """Each record's canonical bytes, by id."""
    return {record["id"]: orjson.dumps(record, option=orjson.OPT_SORT_KEYS) for record in records}
