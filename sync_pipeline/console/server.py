"""Running the console: in the foreground, or in a thread beside something else.

It listens on loopback. Elsewhere only behind a proxy, at a public address: there may be several instances then.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sync_pipeline.clock import unix_time
from sync_pipeline.console.app import build_app
from sync_pipeline.console.request_context import Console
from sync_pipeline.console.roles import Role, role_named
from sync_pipeline.console.sessions import IDLE_SECONDS
from sync_pipeline.console.sharing import SignIn
from sync_pipeline.console.sign_in_links import announced, link, running_url
from sync_pipeline.console.signing_in import SECURE
from sync_pipeline.console.site import Site, site_of
from sync_pipeline.console.work import Work
from sync_pipeline.errors import ConfigError
from sync_pipeline.serving import Server, ServerLimits, bounded_server, end_when_asked, in_thread, listen, url_of
from sync_pipeline.setting_types import is_loopback
from sync_pipeline.settings import Settings
from sync_pipeline.setup.service import SetupService

HOST = "127.0.0.1"
PORT = 8770
LIMITS = ServerLimits(connections=64, body_bytes=1024 * 1024)


@dataclass(frozen=True, slots=True)
class ConsoleOptions:
    """How a console runs."""

    port: int = PORT
    """0 lets the system choose."""
    host: str = HOST
    dagster: str = ""
    on_change: Callable[[], None] = lambda: None
    idle_seconds: float = IDLE_SECONDS
    clock: Callable[[], float] = unix_time


@dataclass(frozen=True, slots=True)
class RunningConsole:
    """A console that answers."""

    url: str
    """As browsers reach it."""
    console: Console
    address: str = ""
    """Where it listens."""

    def link(self, role: Role = "admin") -> str:
        """A fresh one-time link."""
        return link(self.url, self.console.sign_in.links.issue(role))


@contextmanager
def running(setup: SetupService, options: ConsoleOptions) -> Iterator[RunningConsole]:
    """A console in a thread of this process."""
    settings = setup.settings()
    site = site_of(settings, settings.public_url, "SYNC_PUBLIC_URL")
    refuse_open(options.host, site, "The console", "SYNC_PUBLIC_URL")
    listener = _listen(options.host, options.port, running_url(settings.home))
    try:
        port = listener.getsockname()[1]
        url = site.origin or f"http://{site.host}:{port}"
        sign_in = sign_in_at(site, setup, settings, options, f"sync_console_{port}")
        with setup.store() if site.origin else announced(settings.home, url, sign_in.key):
            console = Console(setup, sign_in, Work(setup), site, options.dagster, options.on_change)
            with in_thread(_server(console), listener, "console"):
                yield RunningConsole(url, console, url_of(options.host, listener))
    finally:
        listener.close()


def sign_in_at(site: Site, setup: SetupService, settings: Settings, options: ConsoleOptions, cookie: str) -> SignIn:
    """How browsers sign in at a site: behind a proxy at all instances together, otherwise with a cookie of this name."""
    if not site.origin:
        return SignIn(cookie, clock=options.clock, idle_seconds=options.idle_seconds)
    roles = {
        user: role
        for user, _, name in (each.rpartition("=") for each in settings.user_roles)
        if (role := role_named(name))
    }
    shared = f"{SECURE if site.origin.startswith('https:') else ''}sync_session"
    return SignIn(shared, clock=options.clock, idle_seconds=options.idle_seconds, store=setup.store, roles=roles)


def refuse_open(host: str, site: Site, what: str, variable: str) -> None:
    """Raise ConfigError where other machines could connect and no address is known at which browsers sign in."""
    if not (site.origin or is_loopback(host)):
        raise ConfigError(
            f"{what} does not listen on {host}: other machines could reach it, and it would accept no sign-in there.",
            fix=f"Set {variable} to the https:// address of your reverse proxy; or leave out --host.",
        )


def serve(setup: SetupService, options: ConsoleOptions, on_ready: Callable[[RunningConsole], None]) -> None:
    """Run until interrupted: by Ctrl-C, ``kill`` or a terminal that is closed."""
    end_when_asked()
    with running(setup, options) as found:
        on_ready(found)
        threading.Event().wait()


def _server(console: Console) -> Server:
    # What a proxy says is read by the site, from a trusted one only.
    return bounded_server("console", build_app(console), LIMITS, proxy_headers=False, timeout_graceful_shutdown=5)


def _listen(host: str, port: int, other: str) -> socket.socket:
    """A socket for the console; ``other`` is the address of one that runs on this home."""
    fix = "Stop the program that uses the port, or choose another one."
    if other:
        fix = f"A console runs at {other}: `sync-pipeline console link` prints a link to it. A second one needs another --port."
    return listen(host, port, "The console cannot listen", fix)
