"""Running the receiver: in the foreground, or in a thread beside something else."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import uvicorn

from sync_pipeline.errors import ConfigError
from sync_pipeline.webhooks.hooks import HookStore
from sync_pipeline.webhooks.receiver import Receiver, ReceiverOptions, build_app

HOST = "127.0.0.1"
PORT = 8760
BACKLOG = 2048
"""Connections that may wait to be accepted: a burst is not turned away."""


@dataclass(frozen=True, slots=True)
class RunningReceiver:
    """A receiver that answers."""

    url: str
    receiver: Receiver


def utc_now() -> datetime:
    """The real clock."""
    return datetime.now(UTC)


def serve(
    hooks: HookStore,
    options: ReceiverOptions,
    *,
    host: str = HOST,
    port: int = PORT,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Receive until interrupted."""
    hooks.all()  # a wrong key is told now, not at the first delivery
    listener = _listen(host, port)
    try:
        if on_ready:
            on_ready(_url(host, listener))
        _server(Receiver(hooks, options, utc_now, time.monotonic), uvicorn.Server).run(sockets=[listener])
    finally:
        listener.close()


@contextmanager
def running(
    hooks: HookStore,
    options: ReceiverOptions,
    *,
    port: int = 0,
    now: Callable[[], datetime] = utc_now,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[RunningReceiver]:
    """A receiver in a thread of this process; port 0 lets the system choose."""
    listener = _listen(HOST, port)
    receiver = Receiver(hooks, options, now, clock)
    server = _server(receiver, _QuickServer)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="webhooks", daemon=True)
    thread.start()
    try:
        # The socket listens already: the first request waits in its backlog until the server accepts.
        yield RunningReceiver(_url(HOST, listener), receiver)
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listener.close()


class _QuickServer(uvicorn.Server):
    """Looks ten times as often whether it is to stop."""

    async def main_loop(self) -> None:
        """Serve until told to stop."""
        ticks = 0
        while not await self.on_tick(ticks // 10):
            ticks += 1
            await asyncio.sleep(0.01)


def _server(receiver: Receiver, kind: type[uvicorn.Server]) -> uvicorn.Server:
    config = uvicorn.Config(
        build_app(receiver),
        log_level="warning",
        access_log=False,  # its lines hold the secret paths
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )
    return kind(config)


def _url(host: str, listener: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"Webhooks cannot be received on {host} port {port}: {error.strerror}.",
            fix="Stop the program that uses the port, or choose another one with --port.",
        ) from error
    return listener
