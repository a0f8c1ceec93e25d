"""A real receiver of webhooks: a small web application on a port of its own, in a thread."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def event(self) -> str:
        """The event's name, which is in a header only."""
        return self.headers["clockify-webhook-event-type"]

    @property
    def body(self) -> Any:
        """The JSON sent."""
        return orjson.loads(self.raw)


@dataclass
class Receiver:
    """What came in, and what is answered: the statuses in ``answers`` first, then 200."""

    port: int = 0
    round: int = 0
    received: list[Received] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    connections: set[tuple[str, int]] = field(default_factory=set)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/{self.round}/hook"

    async def accept(self, request: Request) -> Response:
        """Remember the request and answer it."""
        raw = await request.body()
        mark, path = request.url.path[1:].split("/", 1)
        with self.arrived:
            if mark != str(self.round):
                # Sent to what this was before it forgot.
                return Response(status_code=410)
            self.received.append(Received(f"/{path}", dict(request.headers), raw))
            if request.client is not None:
                self.connections.add((request.client.host, request.client.port))
            status = self.answers.pop(0) if self.answers else 200
            self.arrived.notify_all()
        return Response(f"answer {status}", status)

    def wait(self, count: int) -> list[Received]:
        """The deliveries, once there are so many."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.received) >= count, PATIENCE), self.received
            return list(self.received)

    def forget(self) -> None:
        """As if nothing had come, and everything is welcome; what was sent to the old address comes no more."""
        with self.arrived:
            self.round += 1
            for memory in (self.received, self.answers, self.connections):
                memory.clear()

    def events(self) -> list[str]:
        """The names of what came, in the order it came."""
        return [one.event for one in self.received]


@contextmanager
def running_receiver(port: int = 0) -> Iterator[Receiver]:
    """A receiver that answers, on the port named or on a free one."""
    receiver = Receiver()
    app = Starlette(routes=[Route("/{path:path}", receiver.accept, methods=["POST"])])
    with socket.create_server(("127.0.0.1", port), backlog=512) as listener:
        receiver.port = listener.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="receiver", daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            server.should_exit = True
            thread.join(timeout=10)


def eventually(probe: Callable[[], Any], what: str) -> Any:
    """The first true answer of ``probe``, asked again and again for a bounded time."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := probe():
            return found
        threading.Event().wait(0.005)
    raise AssertionError(f"this never came true: {what}")
