"""Ways to say who we are: an API key in a header, or OAuth 2.0 client credentials with a cached token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import httpx

from sync_pipeline.connectors.answers import ErrorFormat, read_answer
from sync_pipeline.connectors.guard import WRITES
from sync_pipeline.connectors.limiter import Clock
from sync_pipeline.connectors.redact import header_value, redact
from sync_pipeline.errors import FatalApiError, Request, RetryableApiError

RENEW_BEFORE_SECONDS = 30.0
OAUTH_ERRORS = ErrorFormat(code="error", message="error_description")


class Renewable(httpx.Auth):
    """Credentials that can be asked for anew."""

    def forget(self) -> None:
        """Drop the token: the next request gets a new one."""
        raise NotImplementedError

    def secrets(self) -> tuple[str, ...]:
        """What must not appear anywhere."""
        raise NotImplementedError


class HeaderKey(httpx.Auth):
    """A key in a header of its own, or behind a word such as ``Bearer``."""

    def __init__(self, key: str, *, header: str, setting: str, prefix: str = "") -> None:
        self._header = header
        self._value = prefix + header_value(key, setting)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Add the header."""
        request.headers[self._header] = self._value
        yield request


class ClientCredentials(Renewable):
    """OAuth 2.0 client credentials: the token is fetched when needed, kept until shortly before it ends."""

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: str,
        *,
        settings: str,
        scopes: tuple[str, ...] = (),
        system: str = "Snapshots",
        now: Clock = time.time,
    ) -> None:
        self._url = token_url
        self._form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
        }
        if scopes:
            self._form["scope"] = " ".join(scopes)
        self._settings = settings
        self._system = system
        self._now = now
        self._token = ""
        self._ends = 0.0
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def forget(self) -> None:
        """Drop the token: the next request gets a new one."""
        self._token = ""

    def secrets(self) -> tuple[str, ...]:
        """The client's secret and the token in use."""
        return (self._form["client_secret"], self._token)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Add the token, fetching one first when there is none that lasts."""
        if self._loop is not asyncio.get_running_loop():  # a lock belongs to the loop that waits for it
            self._loop, self._lock = asyncio.get_running_loop(), asyncio.Lock()
        async with self._lock:  # many requests start at once, one token is enough for all of them
            if not self._token or self._now() >= self._ends:
                response = yield httpx.Request("POST", self._url, data=self._form, extensions={WRITES: False})
                await response.aread()
                self._keep(response)
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request

    def _keep(self, response: httpx.Response) -> None:
        reading = read_answer(response, "POST", OAUTH_ERRORS)
        data = reading.data if isinstance(reading.data, dict) else {}
        token = data.get("access_token")
        if response.status_code == 200 and isinstance(token, str) and token:
            lasts = data.get("expires_in")
            self._ends = self._now() + (lasts if isinstance(lasts, int) else 3600) - RENEW_BEFORE_SECONDS
            self._token = token
            return
        seen = reading.seen
        request = Request(self._system, "POST", response.request.url.path, seen.status, seen.code)
        detail = redact(reading.detail, self.secrets())
        if response.status_code >= 500 or response.status_code == 429:
            raise RetryableApiError(f"no access token could be had ({detail}).", request, fix="Try again later.")
        raise FatalApiError(f"no access token was given ({detail}).", request, fix=f"Check {self._settings}.")
