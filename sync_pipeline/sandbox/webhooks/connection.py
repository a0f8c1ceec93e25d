"""One keep-alive HTTP/1.1 connection that can do one thing: POST a body and read the answer.

The sandbox must not share its HTTP client with what is tested on it, and needs no more of HTTP than this.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

MOST_HEADER = 64 * 1024
MOST_BODY = 64 * 1024


class BadAnswer(OSError):
    """The receiver's answer is not HTTP."""


@dataclass(frozen=True, slots=True)
class Target:
    """The address of a connection."""

    secure: bool
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Target:
        """The target of a URL; ValueError for one without a host or with an impossible port."""
        parts = urlsplit(url)
        if not parts.hostname:
            raise ValueError(f"{url} names no host")
        secure = parts.scheme == "https"
        return cls(secure, parts.hostname, parts.port or (443 if secure else 80))

    @property
    def local(self) -> bool:
        """Whether it is this machine, by address or by the one name that always means it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            # Other names may resolve to anything, also to something else the next time.
            return self.host == "localhost"


def path_of(url: str) -> str:
    """What is asked for at the target: path and query."""
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


class Connection:
    """Connects when first used, and again when the receiver closed the connection in between."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        """Status and text of the answer. Raises OSError when the request fails; no redirect is followed."""
        used = self._streams is not None
        try:
            try:
                return await self._exchange(path, headers, body)
            except (ConnectionError, asyncio.IncompleteReadError):
                if not used:
                    raise
                # A kept connection may have been closed meanwhile. Sending again may double: at least once it is.
                self.close()
                return await self._exchange(path, headers, body)
        except asyncio.IncompleteReadError as error:
            self.close()
            raise BadAnswer("the connection was closed before the answer was complete") from error
        except (asyncio.LimitOverrunError, ValueError) as error:
            self.close()
            raise BadAnswer(f"the answer is not HTTP: {error}") from error
        except BaseException:
            # Half an exchange (a timeout, too) leaves a connection that cannot be used again.
            self.close()
            raise

    async def _exchange(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        reader, writer = self._streams or await self._connect()
        lines = [f"POST {path} HTTP/1.1", f"host: {self._host()}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()
        status, answered = await _head(reader)
        text, whole = await _content(reader, status, answered)
        if not whole or "close" in answered.get("connection", "").lower():
            self.close()
        return status, text.decode("utf-8", "replace")

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = _tls() if self.target.secure else None
        self._streams = await asyncio.open_connection(
            self.target.host, self.target.port, ssl=context, limit=MOST_HEADER
        )
        return self._streams

    def _host(self) -> str:
        host = f"[{self.target.host}]" if ":" in self.target.host else self.target.host
        return f"{host}:{self.target.port}"

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def closed(self) -> None:
        """Hang up and wait until it is done."""
        if self._streams is not None:
            writer = self._streams[1]
            self.close()
            with suppress(OSError):
                await writer.wait_closed()


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and headers, past answers that only announce another one."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, status, *_ = head[0].split(" ")
        if not version.startswith("HTTP/1."):
            raise ValueError(head[0][:80])
        if not status.startswith("1"):
            pairs = (line.partition(":") for line in head[1:] if line)
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            if version == "HTTP/1.0":
                headers.setdefault("connection", "close")
            return int(status), headers


async def _content(reader: asyncio.StreamReader, status: int, headers: dict[str, str]) -> tuple[bytes, bool]:
    """The body, at most so much of it, and whether that was all."""
    if status in (204, 304):
        return b"", True
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await _chunks(reader)
    if "content-length" in headers:
        length = int(headers["content-length"])
        return await reader.readexactly(min(length, MOST_BODY)), length <= MOST_BODY
    return await reader.read(MOST_BODY), False


async def _chunks(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    body = b""
    while len(body) <= MOST_BODY:
        size = int((await reader.readline()).split(b";")[0], 16)
        if size > MOST_BODY:
            break
        body += (await reader.readexactly(size + 2))[:-2]
        if size == 0:
            return body, True
    return body, False
