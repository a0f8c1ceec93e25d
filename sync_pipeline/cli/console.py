"""`console`: the web pages for people, and the links that sign in to them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import click

from sync_pipeline.cli.opening import prepared
from sync_pipeline.cli.options import json_option
from sync_pipeline.settings import load_settings


@click.group(invoke_without_command=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8770, show_default=True, help="Port to listen on.")
@click.option(
    "--dagster-port", type=click.IntRange(1, 65535), help="Port of a Dagster UI on this machine, to lead to its runs."
)
@json_option
@click.pass_context
def console(ctx: click.Context, port: int, dagster_port: int | None, as_json: bool) -> None:
    """Set up both systems and look after them in a browser, on this machine only; Ctrl-C ends it."""
    if ctx.invoked_subcommand is not None:
        return
    from sync_pipeline import terminal
    from sync_pipeline.console.server import RunningConsole, serve

    def ready(found: RunningConsole) -> None:
        if as_json:
            terminal.as_json({"url": found.url, "link": found.link()})
        else:
            terminal.say(f"Console: {found.url}")
            terminal.say(f"Sign in once with {found.link()}")
            terminal.say("Ctrl-C ends it.")
        sys.stdout.flush()

    with prepared(), suppress(KeyboardInterrupt):
        serve(*_console(port, dagster_port), ready)


@console.command("link")
@json_option
def console_link(as_json: bool) -> None:
    """Print a fresh one-time link to the console that is running."""
    from sync_pipeline import terminal
    from sync_pipeline.console.invitations import fresh_link

    found = fresh_link(load_settings().home, time.time)
    if as_json:
        terminal.as_json({"link": found})
    else:
        terminal.say(found)


@contextmanager
def console_beside(port: int | None, dagster_port: int) -> Iterator[Mapping[str, str | None]]:
    """A console in a thread of this process, and its addresses by what they are for; none without a port."""
    if port is None:
        yield {"console": None, "sign_in": None}
        return
    from sync_pipeline.console.server import running

    with running(*_console(port, dagster_port)) as found:
        yield {"console": found.url, "sign_in": found.link()}


def _console(port: int, dagster_port: int | None) -> tuple[Any, Any]:
    """Who works at it, and how it runs."""
    from sync_pipeline.console.server import Options
    from sync_pipeline.defs.reload import Reloader
    from sync_pipeline.setup.desk import Desk, whoever

    desk = Desk(whoever("console"))
    if dagster_port is None:
        return desk, Options(port)
    return desk, Options(port, f"http://127.0.0.1:{dagster_port}", Reloader(dagster_port))
