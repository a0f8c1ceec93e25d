"""What alerts are sent to: a real SMTP server, and a real HTTP server that keeps what it gets."""

from __future__ import annotations

import asyncio
import json
from asyncio import Server
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.header import decode_header, make_header
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session
from anyio.from_thread import start_blocking_portal

TOKEN = "p4th-t0ken-of-the-sink"
"""A part of the sink's address that nothing may show."""


@dataclass
class Sink:
    """A server, and the messages it took: title and text of each."""

    address: str
    messages: list[tuple[str, str]] = field(default_factory=list)
    status: int = 200
    """What the HTTP server answers."""
    keys: list[str] = field(default_factory=list)
    """The Idempotency-Key of each message, where one was sent."""

    @property
    def titles(self) -> list[str]:
        """The titles, in the order in which they came in."""
        return [title for title, _ in self.messages]


@contextmanager
def http_sink() -> Iterator[Sink]:
    """A server for `json://` addresses."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if sink.status == 200:
                sink.messages.append((body["title"], body["message"]))
                sink.keys.append(self.headers.get("Idempotency-Key", ""))
            self.send_response(sink.status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name it has there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sink = Sink(f"json://127.0.0.1:{server.server_port}/{TOKEN}")
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield sink
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def smtp_sink() -> Iterator[Sink]:
    """A mail server."""

    class Handler:
        async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802, ARG002
            assert isinstance(envelope.content, bytes)
            mail = message_from_bytes(envelope.content)
            part = next(each for each in mail.walk() if each.get_content_type() == "text/plain")
            text = part.get_payload(decode=True)
            assert isinstance(text, bytes)
            sink.messages.append((str(make_header(decode_header(mail["Subject"]))), text.decode()))
            return "250 OK"

    async def serve() -> Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: SMTP(Handler(), loop=loop), "127.0.0.1", 0)

    async def close() -> None:
        server.close()

    with start_blocking_portal() as portal:
        server = portal.call(serve)
        port = server.sockets[0].getsockname()[1]
        sink = Sink(f"mailto://127.0.0.1:{port}?from={TOKEN}@example.com&to=ops@example.com&format=text")
        try:
            yield sink
        finally:
            portal.call(close)
