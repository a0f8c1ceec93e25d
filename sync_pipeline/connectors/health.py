"""Asking a webhook receiver's public address how it is, as Clockify would reach it."""

from __future__ import annotations

from sync_pipeline.connectors.guard import RequestGuard
from sync_pipeline.connectors.http import ApiClient, ClientOptions, Endpoint, RetryPolicy
from sync_pipeline.connectors.limiter import memory_limiter
from sync_pipeline.connectors.policy import FIRST_ROWS, LAST_ROWS
from sync_pipeline.errors import FatalApiError, Request

HEALTH = "/healthz"
SYSTEM = "Webhook receiver"
OURS = {"receiver", "inbox_open"}
"""Our receiver has one of these in its answer; the second one is the local address's, and that of older ones."""


async def ask_health(base_url: str, guard: RequestGuard) -> None:
    """Ask the receiver behind a public address; ApiError when it is none of ours, or not well."""
    endpoint = Endpoint(SYSTEM, base_url, "the public address", "the public address")
    options = ClientOptions(limiter=memory_limiter(), guard=guard, retry_policy=RetryPolicy(attempts=1))
    async with ApiClient(endpoint, None, (*FIRST_ROWS, *LAST_ROWS), options) as client:
        answer = await client.request("GET", HEALTH)
    if not isinstance(answer.data, dict) or not OURS & answer.data.keys():
        raise FatalApiError(
            "another program answers there.",
            Request(SYSTEM, "GET", HEALTH),
            fix=f"Let the proxy in front of {base_url} lead to `sync-pipeline webhooks serve`.",
        )
