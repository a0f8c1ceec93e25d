"""A real server on a real socket that sends exactly the given bytes: for hostile answers."""

from __future__ import annotations

import json as jsonlib
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Reply = bytes | Iterable[bytes] | None  # piece by piece, as long as someone listens; None: hang up silently
Script = Callable[["Asked"], Reply]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    number: int

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return jsonlib.loads(self.body)


@dataclass(slots=True)
class Scripted:
    """A running server and what it was asked."""

    url: str
    asked: list[Asked] = field(default_factory=list)


def reply(
    status: int = 200,
    data: Any = None,
    *,
    body: bytes | None = None,
    kind: str = "application/json",
    length: int | None = None,
    **headers: str,
) -> bytes:
    """One answer; ``length`` may lie about the body's size."""
    content = body if body is not None else b"" if data is None else jsonlib.dumps(data).encode()
    lines = [
        f"HTTP/1.1 {status} X",
        "Connection: close",
        f"Content-Length: {len(content) if length is None else length}",
    ]
    lines += [f"Content-Type: {kind}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def in_turn(*replies: Reply) -> Script:
    """The replies one after the other, the last one forever."""

    def script(asked: Asked) -> Reply:
        return replies[min(asked.number, len(replies) - 1)]

    return script


@contextmanager
def scripted(script: Script, *, tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    """A server in a thread, on a port the system chose."""
    lock = threading.Lock()

    class Handler(socketserver.StreamRequestHandler):
        """Reads one request, writes the scripted bytes."""

        def handle(self) -> None:
            """Serve one connection."""
            line = self.rfile.readline().decode().split(" ")
            if len(line) < 2:
                return
            headers: dict[str, str] = {}
            while (text := self.rfile.readline().decode().strip()) != "":
                name, _, value = text.partition(":")
                headers[name.lower()] = value.strip()
            body = self.rfile.read(int(headers.get("content-length", "0")))
            with lock:
                asked = Asked(line[0], line[1], headers, body, len(running.asked))
                running.asked.append(asked)
            if (answer := script(asked)) is not None:
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    self.wfile.write(piece)

    class Server(socketserver.ThreadingTCPServer):
        """Accepts connections, wrapped in TLS when asked to."""

        allow_reuse_address = True
        daemon_threads = True

        def get_request(self) -> Any:
            """The next connection."""
            connection, address = super().get_request()
            return (tls.wrap_socket(connection, server_side=True) if tls else connection), address

        def handle_error(self, *_: Any) -> None:
            """A client that hangs up is what many tests are about."""

    with Server(("127.0.0.1", 0), Handler) as server:
        scheme = "https" if tls else "http"
        running = Scripted(f"{scheme}://localhost:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True)
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join(5)
