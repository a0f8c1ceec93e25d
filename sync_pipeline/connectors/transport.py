"""How any request leaves this machine: time limits, trusted certificates, and when a proxy is used."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from functools import cache
from urllib.parse import urlsplit

import httpx

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
LOOPBACK = ("127.0.0.1", "localhost", "::1")
OnRequest = Callable[[httpx.Request], Awaitable[None]]
"""Sees every request before it leaves; by raising it keeps the request back."""


@cache
def trusted() -> ssl.SSLContext:
    """Whose certificates are believed; reading them takes a while, so all clients share one."""
    return httpx.create_ssl_context()


def is_local(url: str) -> bool:
    """Whether a URL names our own machine, which a proxy of the environment cannot reach."""
    return urlsplit(url).hostname in LOOPBACK


async def unseen(_: httpx.Request) -> None:
    """Nobody looks."""
