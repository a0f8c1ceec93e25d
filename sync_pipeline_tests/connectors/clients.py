"""Clients that never really sleep, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from sync_pipeline.connectors.clockify.account import Account
from sync_pipeline.connectors.clockify.api import Clockify
from sync_pipeline.connectors.guard import ANYTHING, RequestGuard
from sync_pipeline.connectors.http import ApiClient, ClientOptions, Endpoint, RetryPolicy
from sync_pipeline.connectors.limiter import MemoryLimiter, memory_limiter
from sync_pipeline.connectors.oauth import Credential, HeaderKey
from sync_pipeline.connectors.policy import CLOCKIFY, RetryTable
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.connectors.snapshots.api import Credentials, Snapshots

T = TypeVar("T")
KEY = "key-that-nobody-may-see"


class Time:
    """A clock that is moved by sleeping, and remembers the sleeps."""

    def __init__(self, start: float = 1_767_225_600.0) -> None:
        self.at = start
        self.slept: list[float] = []

    def now(self) -> float:
        """The time."""
        return self.at

    async def sleep(self, seconds: float) -> None:
        """Be there at once."""
        self.slept.append(seconds)
        self.at += seconds


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end in an event loop of its own."""
    return asyncio.run(work)


def unlimited() -> MemoryLimiter:
    """No limit."""
    return memory_limiter()


def api(
    url: str,
    time: Time | None = None,
    *,
    limiter: MemoryLimiter | None = None,
    retry: RetryTable = CLOCKIFY,
    retry_policy: RetryPolicy | None = None,
    auth: Credential | None = None,
    guard: RequestGuard = ANYTHING,
) -> ApiClient:
    """A bare client."""
    time = time or Time()
    endpoint = Endpoint("Clockify", url, "CLOCKIFY_BASE_URL", "CLOCKIFY_API_KEY", "CLOCKIFY_WORKSPACE_ID")
    key = HeaderKey(KEY, header="X-Api-Key", setting="CLOCKIFY_API_KEY")
    return ApiClient(
        endpoint,
        auth or key,
        retry,
        options(time, limiter=limiter or unlimited(), retry_policy=retry_policy, guard=guard),
    )


def options(time: Time | None = None, **more: Any) -> ClientOptions:
    """How a client works that never really sleeps."""
    time = time or Time()
    usual: dict[str, Any] = {"limiter": unlimited(), "sleep": time.sleep, "now": time.now, "jitter": lambda: 1.0}
    return ClientOptions(**(usual | more))


def clockify(url: str, time: Time | None = None, *, reports: str = "", workspace: str = "w1", **more: Any) -> Clockify:
    """Clockify at a URL."""
    account = Account(
        api_key=more.pop("key", KEY), workspace=workspace, base_url=url, reports_url=reports or url, plan="paid"
    )
    own, shared = _split(more, "reader", "page_size", "on_choice", "names")
    return Clockify(account, options(time, **shared), **own)


def snapshots(url: str, time: Time | None = None, *, credentials: Credentials | None = None, **more: Any) -> Snapshots:
    """The Snapshots API at a URL."""
    own, shared = _split(more, "page_size")
    return Snapshots(load_profile(), url, credentials or Credentials(api_key=KEY), options(time, **shared), **own)


def _split(given: dict[str, Any], *names: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is given under these names, and all else."""
    return {name: given[name] for name in names if name in given}, {k: v for k, v in given.items() if k not in names}
