"""Clients that never really sleep, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import httpx

from sync_pipeline.connectors.clockify import Account, Clockify
from sync_pipeline.connectors.http import ApiClient, Endpoint, Patience
from sync_pipeline.connectors.limiter import MemoryLimiter, memory_limiter
from sync_pipeline.connectors.policy import CLOCKIFY, RetryTable
from sync_pipeline.connectors.profile import load_profile
from sync_pipeline.connectors.snapshots import Credentials, Snapshots

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
    patience: Patience | None = None,
    auth: httpx.Auth | None = None,
) -> ApiClient:
    """A bare client."""
    time = time or Time()
    endpoint = Endpoint("Clockify", url, "CLOCKIFY_BASE_URL", "CLOCKIFY_API_KEY", "CLOCKIFY_WORKSPACE_ID", (KEY,))
    return ApiClient(
        endpoint,
        auth,
        limiter=limiter or unlimited(),
        retry=retry,
        patience=patience,
        sleep=time.sleep,
        now=time.now,
        jitter=lambda: 1.0,
    )


def clockify(
    url: str, time: Time | None = None, *, reports: str = "", workspace: str = "w1", **options: Any
) -> Clockify:
    """Clockify at a URL."""
    time = time or Time()
    account = Account(
        api_key=options.pop("key", KEY), workspace=workspace, base_url=url, reports_url=reports or url, plan="paid"
    )
    return Clockify(account, unlimited(), sleep=time.sleep, now=time.now, jitter=lambda: 1.0, **options)


def snapshots(
    url: str, time: Time | None = None, *, credentials: Credentials | None = None, **options: Any
) -> Snapshots:
    """The Snapshots API at a URL."""
    time = time or Time()
    return Snapshots(
        load_profile(),
        url,
        credentials or Credentials(api_key=KEY),
        unlimited(),
        sleep=time.sleep,
        now=time.now,
        jitter=lambda: 1.0,
        **options,
    )
