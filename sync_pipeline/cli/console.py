"""`console`: the web pages for people, and the links that sign in to them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.opening import prepared, until_asked
from sync_pipeline.cli.options import ServingGroup, json_option
from sync_pipeline.clock import unix_time
from sync_pipeline.console.roles import ROLES, Role
from sync_pipeline.console.server import HOST, ConsoleOptions, RunningConsole, running, serve
from sync_pipeline.console.sharing import SignIn
from sync_pipeline.console.sign_in_links import CONSOLE, DAGSTER, StoredLinks, announced, fresh_link, link
from sync_pipeline.console.site import host_of
from sync_pipeline.defs.reload import Place, Reloader
from sync_pipeline.errors import ConfigError
from sync_pipeline.settings import load_given, load_settings
from sync_pipeline.setup.service import SetupService, actor


@click.group(cls=ServingGroup)
def console() -> None:
    """Serve the console, the pages in a browser. Without a command: `serve`."""


@console.command("serve")
@click.option("--host", default=HOST, show_default=True, help="Address to bind; another one needs SYNC_PUBLIC_URL.")
@click.option("--port", type=click.IntRange(1, 65535), default=8770, show_default=True, help="Port to listen on.")
@click.option(
    "--dagster-port", type=click.IntRange(1, 65535), help="Port of a Dagster UI on this machine, to lead to its runs."
)
@json_option
def console_serve(host: str, port: int, dagster_port: int | None, as_json: bool) -> None:
    """Serve the console until Ctrl-C. It is reachable from this machine, or through your reverse proxy at SYNC_PUBLIC_URL."""

    def ready(found: RunningConsole) -> None:
        terminal.emit(as_json, lambda: {"url": found.url, "link": found.link()}, lambda: _announce(found))
        sys.stdout.flush()

    with until_asked(), prepared():
        serve(*_console(port, dagster_port, host=host), ready)


def _announce(found: RunningConsole) -> None:
    terminal.say(f"Console: {found.url}")
    if found.console.site.origin:
        # Its output is collected where more people read it than may sign in.
        terminal.say(f"Listening on {found.address} for the proxy")
        terminal.say("`sync-pipeline console link` prints a link that signs in once.")
    else:
        terminal.say(f"Sign in once with {found.link()}")
    terminal.say("Ctrl-C ends it.")


@console.command("open")
@json_option
def console_open(as_json: bool) -> None:
    """Open the running console in a browser."""
    found = console_link_for()
    opened = click.launch(found) == 0
    terminal.emit(as_json, {"link": found, "opened": opened}, "Opened in the browser." if opened else found)


@console.command("link")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default="admin",
    show_default=True,
    help="What the browser may do: see the dashboard, look, work, all.",
)
@json_option
def console_link(role: Role, as_json: bool) -> None:
    """Print a fresh one-time link. The console must be running."""
    found = console_link_for(role)
    terminal.emit(as_json, {"link": found}, found)


def console_link_for(role: Role = "admin") -> str:
    """A fresh one-time link: behind a proxy to whichever instance gets it, otherwise to the console that runs on this home."""
    given = load_given()
    return _stored_link(given.public_url, role) if given.public_url else fresh_link(given.home, unix_time, role=role)


def _stored_link(url: str, role: Role = "admin") -> str:
    return link(url, StoredLinks(SetupService(actor("console")).store, unix_time).issue(role))


@contextmanager
def console_beside(port: int | None, dagster_port: int) -> Iterator[tuple[Any, str, dict[str, str | None]]]:
    """A console in a thread of this process: who is signed in, the Dagster UI's address, and the other ones by their use.

    Without a port there is no console; the link then signs in at the Dagster UI.
    """
    settings = load_settings()
    if bool(settings.public_url) != bool(settings.dagster_url):
        raise ConfigError(
            "Only one of SYNC_PUBLIC_URL and SYNC_DAGSTER_URL is set.",
            fix="Set both to the addresses of your reverse proxy, or unset both to use this machine only.",
        )
    ui = settings.dagster_url or f"http://{host_of(settings)}:{dagster_port}"
    if port is not None:
        setup, options = _console(port, dagster_port, ui, CONSOLE)
        with running(setup, options) as found:
            yield found.console.sign_in, ui, {"console": found.url, "sign_in": found.link()}
        return
    if settings.dagster_url:
        yield None, ui, {"console": None, "sign_in": _stored_link(ui)}
        return
    sign_in = SignIn(f"sync_dagster_{dagster_port}")
    with announced(settings.home, ui, sign_in.key, DAGSTER):
        yield sign_in, ui, {"console": None, "sign_in": link(ui, sign_in.links.issue())}


def _console(
    port: int, dagster_port: int | None, ui: str = "", name: str = DAGSTER, *, host: str = HOST
) -> tuple[Any, Any]:
    """Who works at it, and how it runs. ``name`` is the server where a program signs in that asks the Dagster UI."""
    given, setup = load_given(), SetupService(actor("console"))
    local = f"http://127.0.0.1:{dagster_port}" if dagster_port else ""
    address = local or given.dagster_internal_url

    def fresh() -> str | None:
        if given.dagster_url:
            return _stored_link(given.dagster_url)
        try:
            return fresh_link(load_given().home, unix_time, [name])
        except ConfigError:  # a stock Dagster, which needs no sign-in
            return None

    options = ConsoleOptions(port, host, ui or given.dagster_url or local)
    return setup, replace(options, on_change=Reloader(Place(address, given.dagster_url), fresh)) if address else options
