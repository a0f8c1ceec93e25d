"""Waiting on this machine for the browser of a person who consents: one address, one answer, its state checked."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sync_pipeline.connectors.consent import Consent, read_callback
from sync_pipeline.serving import ServerLimits, bounded_server, in_thread, listen, url_of

HOST = "127.0.0.1"
PATH = "/snapshots/callback"
DONE = "You can close this window and go back to the terminal."
STRANGE = "This answer belongs to another sign-in. The terminal still waits for its own."
LIMITS = ServerLimits(connections=32, body_bytes=64 * 1024)
"""A browser may open connections on which it says nothing."""
HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


class Callback:
    """A listening address."""

    def __init__(self, redirect_uri: str) -> None:
        self.redirect_uri = redirect_uri
        self._state = ""
        self._answer: dict[str, str] = {}
        self._arrived = threading.Event()

    def wait(self, consent: Consent, show: Callable[[str], None]) -> str:
        """Show the address where to consent; returns the code the browser comes back with.

        Strangers are sent away. Raises FatalApiError when consent was refused.
        """
        self._state = consent.state  # before anybody can answer
        show(consent.url)
        self._arrived.wait()
        return read_callback(consent, self._answer)

    async def receive(self, request: Request) -> Response:
        """Take the one answer whose state is ours."""
        if request.method != "GET":  # who checks a link follows it afterwards
            return PlainTextResponse("Only GET is answered here.", 405, HEADERS)
        shown = request.query_params.get("state", "")
        if not self._state or not hmac.compare_digest(shown.encode(), self._state.encode()):
            return PlainTextResponse(STRANGE, 400, HEADERS)
        self._answer = dict(request.query_params)
        self._arrived.set()
        return PlainTextResponse(DONE, headers=HEADERS)


def redirect_uri(port: int) -> str:
    """Where a browser comes back to."""
    return f"http://{HOST}:{port}{PATH}"


@contextmanager
def listening(port: int = 0) -> Iterator[Callback]:
    """Listen on loopback, on any free port unless one is named; ConfigError when it is taken."""
    listener = listen(HOST, port, "The browser's answer cannot be waited for", "Choose another port.")
    callback = Callback(url_of(HOST, listener) + PATH)
    app = Starlette(routes=[Route(PATH, callback.receive)])
    server = bounded_server("sign-in", app, LIMITS, proxy_headers=False, timeout_graceful_shutdown=5)
    with in_thread(server, listener, "sign-in"):
        yield callback
