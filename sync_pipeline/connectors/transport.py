"""How any request leaves this machine: time limits, trusted certificates, and when a proxy is used."""

from __future__ import annotations

import logging
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


class WithoutSecrets(logging.Filter):
    """Keeps what may be secret out of the HTTP library's own log: the headers of an answer, the query of an address."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line may be logged; of addresses the query is cut off."""
        if isinstance(record.args, tuple):
            record.args = tuple(arg.copy_with(query=None) if isinstance(arg, httpx.URL) else arg for arg in record.args)
        return "receive_response_headers.complete" not in str(record.msg)


for _name in ("httpx", "httpcore.http11", "httpcore.http2", "httpcore.proxy"):
    logging.getLogger(_name).addFilter(WithoutSecrets())


async def unseen(_: httpx.Request) -> None:
    """Nobody looks."""
