"""Running the console: in the foreground, or in a thread beside something else. It listens on loopback and nowhere else."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from sync_pipeline.console.app import build_app
from sync_pipeline.console.invitations import Invitations, announced, link
from sync_pipeline.console.sessions import IDLE_SECONDS, Sessions
from sync_pipeline.console.visit import Console
from sync_pipeline.console.work import Work
from sync_pipeline.errors import ConfigError
from sync_pipeline.setup.desk import Desk

HOST = "127.0.0.1"
PORT = 8770
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Options:
    """How a console runs."""

    port: int = PORT
    """0 lets the system choose."""
    dagster: str = ""
    on_change: Callable[[], None] = lambda: None
    idle_seconds: float = IDLE_SECONDS
    clock: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class RunningConsole:
    """A console that answers."""

    url: str
    console: Console

    def link(self) -> str:
        """A fresh one-time link."""
        return link(self.url, self.console.invitations.issue())


@contextmanager
def running(desk: Desk, options: Options) -> Iterator[RunningConsole]:
    """A console in a thread of this process."""
    listener = _listen(options.port)
    try:
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        key = secrets.token_urlsafe(32)
        with announced(desk.settings().home, url, key):
            console = _console(desk, options, key)
            server = _server(console)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="console", daemon=True)
            thread.start()
            try:
                # The socket listens already: the first request waits in its backlog until the server accepts.
                yield RunningConsole(url, console)
            finally:
                server.should_exit = True
                thread.join(timeout=30)
    finally:
        listener.close()


def serve(desk: Desk, options: Options, on_ready: Callable[[RunningConsole], None]) -> None:
    """Run until interrupted: by Ctrl-C, ``kill`` or a terminal that is closed."""
    for number in ENDING:
        signal.signal(number, signal.default_int_handler)
    with running(desk, options) as found:
        on_ready(found)
        threading.Event().wait()


def _console(desk: Desk, options: Options, key: str) -> Console:
    return Console(
        desk,
        Invitations(key, options.clock),
        Sessions(options.clock, options.idle_seconds),
        Work(desk),
        options.dagster,
        options.on_change,
    )


class _QuickServer(uvicorn.Server):
    """Looks ten times as often whether it is to stop."""

    async def main_loop(self) -> None:
        """Serve until told to stop."""
        ticks = 0
        while not await self.on_tick(ticks // 10):
            ticks += 1
            await asyncio.sleep(0.01)


def _server(console: Console) -> uvicorn.Server:
    config = uvicorn.Config(
        build_app(console),
        log_level="warning",
        access_log=False,  # its lines hold the tokens of links
        server_header=False,
        proxy_headers=False,  # nobody stands between a browser and loopback
        timeout_graceful_shutdown=5,
    )
    return _QuickServer(config)


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise ConfigError(
            f"The console cannot listen on {HOST} port {port}: {error.strerror}.",
            fix="Stop the program that uses the port, or choose another one.",
        ) from error
