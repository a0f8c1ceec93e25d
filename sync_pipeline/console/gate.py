"""The gate: what every request must satisfy before it reaches a page, and what every answer carries.

A page of another site can make a browser send requests here; it cannot choose the Host of an address that is ours, the
Origin it comes from, or guess a session's token. Names that point at loopback by another party's DNS are refused by Host.
"""

from __future__ import annotations

import errno
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.datastructures import URL, Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sync_pipeline.errors import ConfigError
from sync_pipeline.private_files import written_once
from sync_pipeline.serving import READING, is_foreign, name_of
from sync_pipeline.settings import Settings

MAX_BODY = 64 * 1024
PROTECTED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""What every answer carries, whichever program's page it is."""
HEADERS = {
    **PROTECTED,
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # With "no-referrer" browsers would send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
}
WRONG_ADDRESS = "This program answers only at the address it printed when it was started."
ELSEWHERE = (
    "This installation has a host name of its own, so that its session is sent to no other program on this machine. Open this "
    "page there:"
)
FOREIGN_FORM = "This form was sent by another site. Nothing was changed."
FOREIGN_READ = "Another site asked for this. Open it in a window of its own."
TOO_LARGE = f"This form has more than {MAX_BODY // 1024} KB, which no set-up needs. Nothing was changed."

STATIC = "/static/"
"""What pages look like: the same for all, and needed by those that are shown under another name of loopback."""
Refusing = Callable[..., Response]
"""Makes the page of a refusal: request, status, title, sentence; and ``link``, where to go instead."""
Refusal = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class SecurityMiddleware:
    """Wraps the application of one host."""

    app: ASGIApp
    host: str
    refusing: Refusing
    way_back: str = ""
    """The path that a GET may ask for at any name of loopback: the address that is registered for consent."""
    for_programs: tuple[str, ...] = ()
    """Paths that a program on this machine may ask for at any name of loopback: they look at no cookie."""
    headers: Mapping[str, str] | None = None
    """What each answer carries; the console's headers unless others are named."""
    max_body: int = MAX_BODY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one WebSocket."""
        if scope["type"] == "http":
            await self._app_for(scope)(scope, receive, self._with_headers(send))
        elif scope["type"] == "websocket" and (not self._is_ours(scope) or is_foreign("POST", Headers(scope=scope))):
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self.app(scope, receive, send)

    def _app_for(self, scope: Scope) -> ASGIApp:
        headers = Headers(scope=scope)
        if not self._is_ours(scope):
            is_page = scope["method"] in READING and scope["path"].startswith("/")
            if name_of(headers.get("host", "")) not in LOOPBACK or not is_page:
                return self.refusing(Request(scope), 421, "Wrong address", WRONG_ADDRESS)
            is_open = scope["path"] in (self.way_back, *self.for_programs) or scope["path"].startswith(STATIC)
            if not is_open:
                there = str(URL(scope=scope).replace(scheme="http", hostname=self.host))
                return self.refusing(Request(scope), 421, "This page is at another address", ELSEWHERE, link=there)
        why = refusal(scope["method"], headers, self.max_body)
        return self.app if why is None else self.refusing(Request(scope), *why)

    def _is_ours(self, scope: Scope) -> bool:
        return name_of(Headers(scope=scope).get("host", "")) == self.host

    def _with_headers(self, send: Send) -> Send:
        carried = HEADERS if self.headers is None else self.headers

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in carried.items():
                    headers[name] = value
            await send(message)

        return sending


def refusal(method: str, headers: Headers, max_body: int = MAX_BODY) -> Refusal | None:
    """Why a request to our host goes no further: status, title, sentence; None when it may."""
    if method not in (*READING, "POST"):
        return 405, "Not possible here", "The console does not know this kind of request."
    if is_foreign(method, headers):
        return 403, "Refused", FOREIGN_READ if method in READING else FOREIGN_FORM
    length = headers.get("content-length", "")
    if method == "POST" and length.isdecimal() and int(length) > max_body:
        return 413, "Too large", TOO_LARGE
    return None


LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""The names under which everything on this machine can be asked for; ours links from there to the installation's host."""
_NAME = re.compile(r"sync-[0-9a-f]{8}\.localhost")


def host_of(settings: Settings) -> str:
    """The host of this installation, the same at every start; ConfigError when it cannot be kept."""
    if settings.console_host:
        return settings.console_host
    file = settings.home / "host"
    try:
        name = written_once(file, lambda: f"sync-{secrets.token_hex(4)}.localhost\n").strip()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise  # another directory is not what helps
        raise ConfigError(
            f"The host name of console and Dagster UI cannot be kept in {file}: {error.strerror}.",
            fix="Make SYNC_HOME a directory you can write, or set SYNC_CONSOLE_HOST=127.0.0.1.",
        ) from None
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{file} does not hold a host name of ours.", fix="Remove it; a new one is made.")
    return name
