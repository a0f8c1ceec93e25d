"""The gate: what every request must satisfy before it reaches a page, and what every answer carries.

A page of another site can make a browser send requests here; it cannot choose the Host of an address that is ours, the
Origin it comes from, or guess a session's token. Names that point at loopback by another party's DNS are refused by Host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.datastructures import URL, Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sync_pipeline.console.site import USER, Site
from sync_pipeline.serving import READING, is_foreign, name_of

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
UNENCRYPTED = "This installation is reached in one way only. Open it there:"
NOT_ONE_USER = "The proxy does not name one user. It has to replace the header in which it names the user, not to add to what a browser sends."
FOREIGN_FORM = "This form was sent by another site. Nothing was changed."
FOREIGN_READ = "Another site asked for this. Open it in a window of its own."
TOO_LARGE = f"This form has more than {MAX_BODY // 1024} KB, which no set-up needs. Nothing was changed."

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""The names under which everything on this machine can be asked for; ours links from there to the installation's host."""
STATIC = "/static/"
"""What pages look like: the same for all, and needed by those that are shown under another name of loopback."""
Refusing = Callable[..., Response]
"""Makes the page of a refusal: request, status, title, sentence; and ``link``, where to go instead."""
Refusal = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class SecurityMiddleware:
    """Wraps the application of one site."""

    app: ASGIApp
    site: Site
    refusing: Refusing
    way_back: str = ""
    """The path that a GET may ask for at any name of loopback: the address that is registered for consent."""
    for_programs: tuple[str, ...] = ()
    """Paths that a program may ask for at any name of loopback, and behind a proxy at any name: they look at no cookie."""
    headers: Mapping[str, str] | None = None
    """What each answer carries; the console's headers unless others are named."""
    max_body: int = MAX_BODY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one WebSocket."""
        scope[USER] = ""
        if scope["type"] == "http":
            await self._app_for(scope)(scope, receive, self._with_headers(send))
        elif scope["type"] == "websocket" and not self._may_open(scope):
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self.app(scope, receive, send)

    def _may_open(self, scope: Scope) -> bool:
        """Whether a WebSocket is for a page of ours."""
        is_ours = self.site.is_asked(scope) and self.site.is_encrypted_as_asked(scope)
        return (
            is_ours and not is_foreign("POST", Headers(scope=scope), own=self.site.origin) and self._names_user(scope)
        )

    def _app_for(self, scope: Scope) -> ASGIApp:
        if not self.site.is_asked(scope):
            refused = self._at_another_name(scope)
        elif not self.site.is_encrypted_as_asked(scope):
            refused = self.refusing(Request(scope), 421, "Wrong address", UNENCRYPTED, link=self.site.origin)
        elif not self._names_user(scope):
            refused = self.refusing(Request(scope), 400, "Refused", NOT_ONE_USER)
        else:
            refused = None
        if refused is not None:
            return refused
        why = refusal(scope["method"], Headers(scope=scope), self.max_body, self.site.origin)
        return self.app if why is None else self.refusing(Request(scope), *why)

    def _at_another_name(self, scope: Scope) -> Response | None:
        """The refusal of a request for another name than ours; None for what may be asked for there."""
        path, request = scope["path"], Request(scope)
        is_page = scope["method"] in READING and path.startswith("/")
        is_loopback = name_of(request.headers.get("host", "")) in LOOPBACK
        if is_page and path in self.for_programs and (is_loopback or self.site.origin):
            return None
        if not is_page or not is_loopback or self.site.origin:
            return self.refusing(request, 421, "Wrong address", WRONG_ADDRESS)
        if path == self.way_back or path.startswith(STATIC):
            return None
        there = str(URL(scope=scope).replace(scheme="http", hostname=self.site.host))
        return self.refusing(request, 421, "This page is at another address", ELSEWHERE, link=there)

    def _names_user(self, scope: Scope) -> bool:
        """Note the user whom the proxy names; False when it does not name just one."""
        try:
            scope[USER] = self.site.user(scope)
        except ValueError:
            return False
        return True

    def _with_headers(self, send: Send) -> Send:
        carried = HEADERS if self.headers is None else self.headers

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in carried.items():
                    headers[name] = value
            await send(message)

        return sending


def refusal(method: str, headers: Headers, max_body: int = MAX_BODY, own: str = "") -> Refusal | None:
    """Why a request to our host is refused: status, title, sentence; None if it is not. ``own`` is a public address."""
    if method not in (*READING, "POST"):
        return 405, "Not possible here", "The console does not know this kind of request."
    if is_foreign(method, headers, own=own):
        return 403, "Refused", FOREIGN_READ if method in READING else FOREIGN_FORM
    length = headers.get("content-length", "")
    if method == "POST" and length.isdecimal() and int(length) > max_body:
        return 413, "Too large", TOO_LARGE
    return None
