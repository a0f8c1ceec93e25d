"""The gate: what every request must satisfy before it reaches a page, and what every answer carries.

A page of another site can make a browser send requests here; it cannot choose the Host of an address that is ours, the
Origin it comes from, or guess a session's token. Names that point at loopback by somebody else's DNS are refused by Host.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 64 * 1024
READING = ("GET", "HEAD")
OUR_NAMES = ("127.0.0.1", "localhost", "::1")
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # With "no-referrer" browsers would send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

Refusing = Callable[[Request, int, str, str], Response]
"""Makes the page of a refusal: request, status, title, sentence."""


class Gate:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, refusing: Refusing) -> None:
        self._app, self._refusing = app, refusing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        why = refusal(scope["method"], Headers(scope=scope))
        app = self._app if why is None else self._refusing(Request(scope), *why)
        await app(scope, receive, _with_headers(send))


def refusal(method: str, headers: Headers) -> tuple[int, str, str] | None:
    """Why a request goes no further: status, title, sentence; None when it may."""
    host = headers.get("host", "")
    if not _is_ours(host):
        return 421, "Wrong address", "The console answers only at the address it printed when it was started."
    if method in READING:
        return None
    if method != "POST":
        return 405, "Not possible here", "The console does not know this kind of request."
    if not _comes_from_here(host, headers):
        return 403, "Refused", "This form was sent by another site. Nothing was changed."
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > MAX_BODY:
        return 413, "Too large", TOO_LARGE
    return None


TOO_LARGE = f"This form holds more than {MAX_BODY // 1024} KB, which no set-up needs. Nothing was changed."


def _is_ours(host: str) -> bool:
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname in OUR_NAMES and parts.netloc == host and parts.username is None and parts.port != 0
    except ValueError:
        return False


def _comes_from_here(host: str, headers: Headers) -> bool:
    """Browsers say where a form comes from; what is no browser says nothing and needs the session's token anyway."""
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    return headers.get("origin", f"http://{host}") == f"http://{host}"


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return sending
