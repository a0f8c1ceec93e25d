"""Asking a webhook receiver's public address how it is, as Clockify would reach it."""

from __future__ import annotations

from sync_pipeline.connectors.guard import Guard
from sync_pipeline.connectors.http import ApiClient, Endpoint, Patience
from sync_pipeline.connectors.limiter import memory_limiter
from sync_pipeline.connectors.policy import FIRST_ROWS, LAST_ROWS
from sync_pipeline.errors import FatalApiError, Request

HEALTH = "/healthz"
SYSTEM = "Webhook receiver"


async def ask_health(base_url: str, guard: Guard) -> int:
    """How many events wait in the inbox of the receiver behind a public address; ApiError when it is none of ours."""
    endpoint = Endpoint(SYSTEM, base_url, "the public address", "the public address")
    retry = (*FIRST_ROWS, *LAST_ROWS)
    async with ApiClient(
        endpoint, None, limiter=memory_limiter(), retry=retry, guard=guard, patience=Patience(attempts=1)
    ) as client:
        answer = await client.request("GET", HEALTH)
    waiting = answer.data.get("inbox_open") if isinstance(answer.data, dict) else None
    if not isinstance(waiting, int):
        raise FatalApiError(
            "another program answers there.",
            Request(SYSTEM, "GET", HEALTH),
            fix=f"Let the proxy in front of {base_url} lead to `sync-pipeline webhooks serve`.",
        )
    return waiting
