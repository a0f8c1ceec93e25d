"""`sandbox`: both APIs on this machine, until Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.options import ServingGroup, json_option
from sync_pipeline.sandbox.server import list_lines, serve
from sync_pipeline.sandbox.world import Options
from sync_pipeline.settings import load_settings

PORT, COUNT, DAYS = click.IntRange(0, 65535), click.IntRange(0), click.IntRange(1, 3650)


@click.group(cls=ServingGroup)
def sandbox() -> None:
    """Serve both APIs locally, with sample data. Without a command: `serve`."""


@sandbox.command("serve")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to bind; loopback unless you say otherwise."
)
@click.option("--port", type=PORT, default=8750, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option(
    "--database",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that keeps the state. [default: in SYNC_HOME]",
)
@click.option("--seed", default=1, show_default=True, help="Seed of the sample data; used when the file is new.")
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
def sandbox_serve(host: str, port: int, database: Path | None, as_json: bool, **options: Any) -> None:
    """Serve both APIs until Ctrl-C."""
    file = database or load_settings(environ={}).sandbox_file
    with suppress(KeyboardInterrupt):  # it has stopped in good order by then
        serve(host, port, file, Options(**options), announce=_sandbox_json if as_json else list_lines)


def _sandbox_json(addresses: Mapping[str, str], keys: Mapping[str, str]) -> None:
    terminal.as_json({"addresses": dict(addresses), "keys": dict(keys)})
    sys.stdout.flush()
