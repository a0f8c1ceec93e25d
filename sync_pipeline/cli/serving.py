"""`sandbox` and `dev`: servers that run until Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from sync_pipeline.cli.console import console_beside
from sync_pipeline.cli.opening import prepared, sandbox_file
from sync_pipeline.cli.options import json_option
from sync_pipeline.settings import load_settings

PORT, COUNT, DAYS = click.IntRange(0, 65535), click.IntRange(0), click.IntRange(1, 3650)
NAMES = {
    "sandbox": "Sandbox",
    "webhooks": "Webhooks",
    "dagster": "Dagster UI",
    "console": "Console",
    "sign_in": "Sign in",
}


@click.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to bind; loopback unless you say otherwise."
)
@click.option("--port", type=PORT, default=8750, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option(
    "--database",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that keeps the state. [default: in SYNC_HOME]",
)
@click.option("--seed", default=1, show_default=True, help="Seed of the made-up data; used when the file is new.")
@click.option("--users", type=click.IntRange(2), default=25, show_default=True, help="Clockify users.")
@click.option("--projects", type=COUNT, default=40, show_default=True, help="Clockify projects.")
@click.option("--clients", type=COUNT, default=15, show_default=True, help="Clockify clients that exist already.")
@click.option("--locations", type=COUNT, default=30, show_default=True, help="Snapshots locations.")
@click.option("--entries", type=COUNT, default=5000, show_default=True, help="Clockify time entries.")
@click.option(
    "--days", type=DAYS, default=90, show_default=True, help="Days the entries are spread over, ending today."
)
@click.option("--plan", type=click.Choice(["free", "paid"]), default="paid", show_default=True, help="Clockify plan.")
@json_option
def sandbox(host: str, port: int, database: Path | None, as_json: bool, **options: Any) -> None:
    """Serve both APIs on this machine, with realistic made-up data."""
    from sync_pipeline.sandbox.server import list_lines, serve
    from sync_pipeline.sandbox.world import Options

    file = database or sandbox_file(load_settings(environ={}))
    with suppress(KeyboardInterrupt):  # it has stopped in good order by then
        serve(host, port, file, Options(**options), announce=_sandbox_json if as_json else list_lines)


def _sandbox_json(addresses: Mapping[str, str], keys: Mapping[str, str]) -> None:
    from sync_pipeline import terminal

    terminal.as_json({"addresses": dict(addresses), "keys": dict(keys)})
    sys.stdout.flush()


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port of the Dagster UI.")
@click.option(
    "--webhook-port",
    type=click.IntRange(1, 65535),
    default=8760,
    show_default=True,
    help="Port of the webhook receiver.",
)
@click.option(
    "--webhooks/--no-webhooks",
    default=None,
    help="Whether to receive webhooks. [default: on the sandbox only; real ones need `webhooks register`, too]",
)
@click.option(
    "--console-port",
    type=click.IntRange(1, 65535),
    default=8770,
    show_default=True,
    help="Port of the console.",
)
@click.option("--console/--no-console", default=True, show_default=True, help="Whether to run the console.")
@json_option
def dev(port: int, webhook_port: int, webhooks: bool | None, console_port: int, console: bool, as_json: bool) -> None:
    """Run console, webhooks, Dagster's daemon and its UI (and the sandbox, when no credentials are set) until Ctrl-C."""
    from sync_pipeline import terminal
    from sync_pipeline.defs.dev import Places, end_when_asked, only_one, refuse_taken, run_dev

    asked = load_settings()
    receives = asked.sandbox if webhooks is None else webhooks
    places = Places(port, webhook_port if receives else None, console_port if console else None)
    with only_one(asked.home):
        refuse_taken(places)
        end_when_asked()
        with prepared() as settings, console_beside(places.console, port) as pages:
            sandbox = settings.sandbox_url if settings.sandbox else None

            def ready(addresses: Mapping[str, str | None]) -> None:
                if as_json:
                    terminal.as_json({"sandbox": sandbox, **addresses, **pages})
                else:
                    for what, url in {"sandbox": sandbox, **addresses, **pages}.items():
                        if url:
                            terminal.say(f"{NAMES[what] + ':':<12}{url}")
                    terminal.say("Ctrl-C stops everything.")
                sys.stdout.flush()

            code = run_dev(settings, places, ready, output=sys.stderr if as_json else None)
    sys.exit(code)
