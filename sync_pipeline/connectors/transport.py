"""How any request leaves this machine and its answer comes in: the one module that imports httpx.

An answer is read completely, within limits: its unpacked bytes are counted, and a deadline covers everything from the
connection to the last byte. httpx alone limits neither: it unpacks whatever arrives, and its time-out starts again with
each byte. (Of the headers httpcore takes at most 100 KB.) Secrets are made fit for a header here, and redacted from texts.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from sync_pipeline.connectors.policy import Failure
from sync_pipeline.errors import ConfigError
from sync_pipeline.printable import printable
from sync_pipeline.setting_types import is_loopback, origin
from sync_pipeline.settings import Settings

HttpAuth = httpx.Auth
HttpRequest = httpx.Request
HttpResponse = httpx.Response
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
CONNECTIONS = httpx.Limits(max_connections=20, max_keepalive_connections=20)
MEGABYTE = 1_000_000
ERROR_BODY = MEGABYTE
"""Of a refusal no more is read: its status decides, and only a line of it is shown."""
MOST_VALUES = 4_000_000
"""JSON values in one answer; more where the limit of its size was raised: one for each ``BYTES_PER_VALUE``."""
BYTES_PER_VALUE = 16
VALUE_MARKS = (b"{", b"[", b",")
"""There are about as many of them as there are values, and counting them costs next to nothing."""
WRITES = "writes"
"""The extension by which a request says whether it changes anything; without it, everything but a read does."""
DROPPED = (b"content-encoding", b"content-length", b"transfer-encoding", b"set-cookie")
"""Headers of an answer that no longer apply once it was read, and cookies, which no client needs and which would pile up."""
UNPACKS = zlib.MAX_WBITS | 32  # gzip or zlib, as the data says
# httpx's stream and its response hold each other: until the collector came, every page read would stay in memory.
NOTHING_LEFT = httpx.ByteStream(b"")
OnRequest = Callable[[HttpRequest], Awaitable[None]]
"""Sees every request before it leaves; by raising it keeps the request back."""
OnResponse = Callable[[HttpResponse], Awaitable[None]]
SHORTEST_SECRET = 4
HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one answer may take, and which addresses may be asked over plain http."""

    size: int = 64 * MEGABYTE
    seconds: float = 300.0
    plain_http: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The limits that these settings name."""
        return cls(settings.max_answer_mb * MEGABYTE, settings.max_answer_seconds, settings.allow_http)


USUAL = Limits()


class NoAnswer(Exception):
    """A request that was not answered, or not in a way that can be used."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = detail


class _TooLarge(httpx.ReadError):
    """The answer is larger than the limit."""


class _DeadlinePassed(httpx.ReadTimeout):
    """The answer was not complete in time."""


FAILURE_OF: tuple[tuple[tuple[type[Exception], ...], Failure], ...] = (
    ((httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError), Failure.BAD_URL),
    ((_TooLarge,), Failure.TOO_LARGE),
    ((_DeadlinePassed,), Failure.DEADLINE),
    ((httpx.ConnectTimeout, httpx.PoolTimeout), Failure.CONNECT_TIMEOUT),
    ((httpx.TimeoutException,), Failure.READ_TIMEOUT),
    ((httpx.ConnectError, httpx.ProxyError), Failure.REFUSED),
)


class HttpClient:
    """The connections to one address; make it inside the loop that uses it. ``setting`` is what holds the address."""

    def __init__(
        self,
        url: str,
        setting: str,
        limits: Limits,
        *,
        auth: HttpAuth | None = None,
        headers: Mapping[str, str] | None = None,
        on_request: OnRequest | None = None,
        on_response: OnResponse | None = None,
    ) -> None:
        self._setting = setting
        self._limits = limits
        self._client = _Client(
            limits,
            auth=auth,
            headers={**(headers or {}), "Accept-Encoding": "gzip"},
            timeout=TIMEOUT,
            limits=CONNECTIONS,
            follow_redirects=False,
            verify=_trusted(),
            trust_env=not is_local(url),
            event_hooks={
                "request": [*filter(None, [on_request]), self._refuse_plain_http],
                "response": [*filter(None, [on_response])],
            },
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        writes: bool,
        route: str = "",
        params: Mapping[str, Any] | None = None,
        content: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        """Send one request and read its answer to the end; NoAnswer says why there is none.

        Raises ConfigError, before anything is sent, when the address would be asked in clear.
        """
        try:
            request = self._client.build_request(
                method,
                url,
                params=params,
                content=content,
                headers=headers,
                extensions={"route": route, WRITES: writes},
            )
            response = await self._client.send(request)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # ``from None``: the library's own message may show a header it did not like.
            raise NoAnswer(_failure_of(error), str(error) or type(error).__name__) from None
        response.stream = NOTHING_LEFT
        return response

    async def _refuse_plain_http(self, request: HttpRequest) -> None:
        """ConfigError for an address that would be asked in clear, unless it is this machine's or was allowed."""
        there = origin(str(request.url))
        if request.url.scheme == "http" and not is_loopback(request.url.host) and there not in self._limits.plain_http:
            raise ConfigError(
                f"{self._setting} is {there}, plain http to another machine: keys could be read on the way, so nothing "
                "was sent.",
                fix=f"Use https://, or set SYNC_ALLOW_HTTP={there} if every network in between is yours.",
            )


def is_local(url: str) -> bool:
    """Whether a URL names our own machine, which a proxy of the environment cannot reach."""
    return is_loopback(urlsplit(url).hostname or "")


class _Client(httpx.AsyncClient):
    """Reads every answer within limits, whichever way it comes: directly, through a proxy, in answer to an auth flow."""

    def __init__(self, limits_of_answers: Limits, **options: Any) -> None:
        super().__init__(**options)
        self._limits = limits_of_answers

    def _transport_for_url(self, url: httpx.URL) -> httpx.AsyncBaseTransport:
        return _Limited(super()._transport_for_url(url), self._limits)


@dataclass(frozen=True, slots=True)
class _Limited(httpx.AsyncBaseTransport):
    """A transport that reads each answer to the end before it returns it."""

    inner: httpx.AsyncBaseTransport
    limits: Limits

    async def handle_async_request(self, request: HttpRequest) -> HttpResponse:
        try:
            async with asyncio.timeout(self.limits.seconds):
                answer = await self.inner.handle_async_request(request)
                content = await _read(answer, self.limits.size)
        except TimeoutError:
            raise _DeadlinePassed(f"{self.limits.seconds:g} s") from None
        headers = [(name, value) for name, value in answer.headers.raw if name.lower() not in DROPPED]
        return HttpResponse(answer.status_code, headers=headers, content=content, extensions=answer.extensions)


async def _read(answer: HttpResponse, limit: int) -> bytes:
    """The unpacked body; of a refusal only as much as is worth reading."""
    is_refusal = answer.status_code >= 400
    body = _Body(answer.headers.get("content-encoding", ""), min(limit, ERROR_BODY) if is_refusal else limit)
    try:
        async for chunk in answer.stream:  # type: ignore[union-attr]  # that of an async transport is async
            if not body.takes(chunk):
                if is_refusal:
                    return body.content
                raise _TooLarge(f"more than {limit / MEGABYTE:g} MB")
    finally:
        await answer.aclose()
    if not body.is_complete:
        raise httpx.RemoteProtocolError("the packed answer ends too early")
    return _countable(body.content, limit)


def _countable(content: bytes, limit: int) -> bytes:
    """The same, unless it would become more values than fit in memory: an empty object takes 2 bytes here, and 64 there."""
    most = max(MOST_VALUES, limit // BYTES_PER_VALUE)
    if len(content) > most and sum(map(content.count, VALUE_MARKS)) > most:
        raise _TooLarge(f"more than {most:,} JSON values")
    return content


class _Body:
    """A body as it arrives. What was packed is unpacked no further than the limit."""

    def __init__(self, encoding: str, limit: int) -> None:
        if (encoding := encoding.strip().lower()) not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise httpx.DecodingError("packed in a way that was not asked for")
        self._unpacker = zlib.decompressobj(UNPACKS) if encoding not in ("", "identity") else None
        self._limit = limit
        self._arrived = 0
        self._content = bytearray()

    def takes(self, chunk: bytes) -> bool:
        """Add what arrived; False when it is more than the limit, packed or unpacked."""
        self._arrived += len(chunk)
        if self._unpacker is not None and self._unpacker.eof:
            chunk = b""  # the unpacker would keep what follows the end, and copy it with every chunk
        elif self._unpacker is not None:
            try:
                chunk = self._unpacker.decompress(chunk, self._limit - len(self._content) + 1)
            except zlib.error:
                raise httpx.DecodingError("the packed answer cannot be unpacked") from None
        self._content += chunk
        return max(self._arrived, len(self._content)) <= self._limit

    @property
    def is_complete(self) -> bool:
        """Whether what was packed came to its end."""
        return self._unpacker is None or self._unpacker.eof or not self._arrived

    @property
    def content(self) -> bytes:
        """What was read, never more than the limit."""
        return bytes(self._content[: self._limit])


def _failure_of(error: httpx.HTTPError | httpx.InvalidURL) -> Failure:
    """Sort the library's exceptions by what the user can do about them."""
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return Failure.TLS
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return Failure.UNKNOWN_HOST
    return next((failure for kinds, failure in FAILURE_OF if isinstance(error, kinds)), Failure.CUT)


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


@cache
def _trusted() -> ssl.SSLContext:
    """The trusted certificates; reading them takes a while, so all clients share one context."""
    return httpx.create_ssl_context()


class WithoutSecrets(logging.Filter):
    """Keeps what may be secret out of the HTTP library's own log: the headers of an answer, the query of an address."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line may be logged; of addresses the query is cut off."""
        if isinstance(record.args, tuple):
            record.args = tuple(map(_loggable, record.args))
        return "receive_response_headers.complete" not in str(record.msg)


def _loggable(arg: object) -> object:
    if isinstance(arg, httpx.URL):
        return arg.copy_with(query=None)
    return printable(arg) if isinstance(arg, str) else arg


for _name in ("httpx", "httpcore.http11", "httpcore.http2", "httpcore.proxy"):
    logging.getLogger(_name).addFilter(WithoutSecrets())


async def unseen(_: HttpRequest) -> None:
    """Do nothing."""


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret in it replaced, however often it occurs, also in the form it has in an address."""
    # The longest first: one that begins like another would leave its end behind.
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, HIDDEN).replace(quote(secret, safe=""), HIDDEN)
    return text


def header_value(secret: str, setting: str) -> str:
    """The secret, fit for a header; raises ConfigError without showing it.

    Checked here because the HTTP library would print the value it refuses.
    """
    value = secret.strip()
    if not value or not value.isascii() or not value.isprintable():
        raise ConfigError(
            f"{setting} is empty or holds a character that no key has (a line break, a quote or an accent?).",
            fix="Copy the key again.",
        )
    return value
