"""Running the console: in the foreground, or in a thread beside something else. It listens on loopback and nowhere else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sync_pipeline.clock import unix_time
from sync_pipeline.console.app import build_app
from sync_pipeline.console.gate import host_of
from sync_pipeline.console.request_context import Console
from sync_pipeline.console.roles import Role
from sync_pipeline.console.sessions import IDLE_SECONDS
from sync_pipeline.console.sharing import SignIn
from sync_pipeline.console.sign_in_links import announced, link
from sync_pipeline.console.work import Work
from sync_pipeline.serving import Server, ServerLimits, bounded_server, end_when_asked, in_thread, listen
from sync_pipeline.setup.service import SetupService

HOST = "127.0.0.1"
PORT = 8770
LIMITS = ServerLimits(connections=64, body_bytes=1024 * 1024)


@dataclass(frozen=True, slots=True)
class Options:
    """How a console runs."""

    port: int = PORT
    """0 lets the system choose."""
    dagster: str = ""
    on_change: Callable[[], None] = lambda: None
    idle_seconds: float = IDLE_SECONDS
    clock: Callable[[], float] = unix_time


@dataclass(frozen=True, slots=True)
class RunningConsole:
    """A console that answers."""

    url: str
    console: Console

    def link(self, role: Role = "admin") -> str:
        """A fresh one-time link."""
        return link(self.url, self.console.sign_in.links.issue(role))


@contextmanager
def running(setup: SetupService, options: Options) -> Iterator[RunningConsole]:
    """A console in a thread of this process."""
    listener = _listen(options.port)
    try:
        settings, port = setup.settings(), listener.getsockname()[1]
        host = host_of(settings)
        url = f"http://{host}:{port}"
        sign_in = SignIn(f"sync_console_{port}", clock=options.clock, idle_seconds=options.idle_seconds)
        with announced(settings.home, url, sign_in.key):
            console = Console(setup, sign_in, Work(setup), host, options.dagster, options.on_change)
            with in_thread(_server(console), listener, "console"):
                yield RunningConsole(url, console)
    finally:
        listener.close()


def serve(setup: SetupService, options: Options, on_ready: Callable[[RunningConsole], None]) -> None:
    """Run until interrupted: by Ctrl-C, ``kill`` or a terminal that is closed."""
    end_when_asked()
    with running(setup, options) as found:
        on_ready(found)
        threading.Event().wait()


def _server(console: Console) -> Server:
    # No proxy is in front of loopback.
    return bounded_server("console", build_app(console), LIMITS, proxy_headers=False, timeout_graceful_shutdown=5)


def _listen(port: int) -> socket.socket:
    fix = "Stop the program that uses the port, or choose another one."
    return listen(HOST, port, "The console cannot listen", fix)
