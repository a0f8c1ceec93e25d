"""Waiting on this machine for the browser of somebody who consents: one address, one answer, its state checked."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qsl, urlsplit

from sync_pipeline.connectors.consent import Consent, read_callback
from sync_pipeline.errors import ConfigError

PATH = "/snapshots/callback"
DONE = "You can close this window and go back to the terminal."
STRANGE = "This answer belongs to another sign-in. The terminal still waits for its own."
SECONDS = 20


@dataclass(frozen=True, slots=True)
class Callback:
    """A listening address."""

    server: _Server
    redirect_uri: str

    def wait(self, consent: Consent) -> str:
        """The code the browser comes back with; FatalApiError when consent was refused. Strangers are sent away."""
        self.server.state = consent.state
        while not self.server.answer:
            self.server.handle_request()
        return read_callback(consent, self.server.answer)


@contextmanager
def listening(port: int = 0) -> Iterator[Callback]:
    """Listen on loopback, on any free port unless one is named; ConfigError when it is taken."""
    try:
        server = _Server(("127.0.0.1", port), _Handler)
    except OSError as error:
        raise ConfigError(f"Port {port} cannot be listened on: {error.strerror}.", fix="Choose another one.") from None
    with server:
        yield Callback(server, f"http://127.0.0.1:{server.server_address[1]}{PATH}")


class _Server(HTTPServer):
    """Holds the answer once it has come."""

    state = ""
    answer: dict[str, str] | None = None

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that hangs up is nobody's problem: the next one is waited for."""


class _Handler(BaseHTTPRequestHandler):
    timeout = SECONDS

    def do_GET(self) -> None:
        """Take the one answer whose state is ours."""
        server = self.server
        assert isinstance(server, _Server)  # noqa: S101  # nobody else makes one
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if parts.path != PATH:
            self._say(404, "There is nothing here.")
        elif not hmac.compare_digest(query.get("state", "").encode(), server.state.encode()):
            self._say(400, STRANGE)
        else:
            server.answer = query
            self._say(200, DONE)

    def _say(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Its lines would hold the code."""
