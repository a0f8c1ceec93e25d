"""`dev`: all servers together, until Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.console import console_beside
from sync_pipeline.cli.opening import prepared
from sync_pipeline.cli.options import json_option
from sync_pipeline.console.sharing import shared
from sync_pipeline.hosting.dev import Dagster, Places, end_when_asked, only_one, refuse_taken, run_dev, workspace_file
from sync_pipeline.hosting.launch import open_instance, prepare_home
from sync_pipeline.settings import load_settings

PORT = click.IntRange(0, 65535)
NAMES = {
    "sandbox": "Sandbox",
    "webhooks": "Webhooks",
    "dagster": "Dagster UI",
    "console": "Console",
    "sign_in": "Sign in",
}


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
    """Run everything on this machine until Ctrl-C. Console, webhooks, Dagster and, without credentials, the sandbox."""
    asked = load_settings()
    receives = asked.sandbox if webhooks is None else webhooks
    places = Places(port, webhook_port if receives else None, console_port if console else None)
    with only_one(asked.home):
        refuse_taken(places)
        end_when_asked()
        workspace = workspace_file()
        with prepared() as settings:
            home = prepare_home(settings)
            # Its tables are made before several programs, or a thread of ours that migrates, are there to disturb that.
            open_instance(settings).dispose()
            with console_beside(places.console, port) as (sign_in, url, pages), _asked(sign_in) as place:
                ui = [sys.executable, "-m", "sync_pipeline.cli.webserver", str(port), str(place)]
                sandbox = settings.sandbox_url if settings.sandbox else None

                def ready(addresses: Mapping[str, str | None]) -> None:
                    _announce({"sandbox": sandbox, **addresses, **pages}, as_json=as_json)

                dagster = Dagster(home, workspace, ui, url, pages["console"] or "")
                output = sys.stderr if as_json else None
                run_dev(settings, places, dagster, ready, warn=terminal.warning, output=output)


@contextmanager
def _asked(sign_in: Any) -> Iterator[Path]:
    """Where other programs of this installation ask who is signed in: a socket that only this user can reach."""
    with TemporaryDirectory(prefix="sync-") as directory, shared(sign_in, Path(directory) / "sign-in") as place:
        yield place


def _announce(addresses: Mapping[str, str | None], *, as_json: bool) -> None:
    if as_json:
        terminal.as_json(dict(addresses))
    else:
        for what, url in addresses.items():
            if url:
                terminal.say(f"{NAMES[what] + ':':<12}{url}")
        terminal.say("Ctrl-C stops everything.")
    sys.stdout.flush()
