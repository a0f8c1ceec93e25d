"""`disconnect`: forget one of the two systems."""

from __future__ import annotations

import click

from sync_pipeline import terminal
from sync_pipeline.cli.options import json_option
from sync_pipeline.settings import SYSTEMS
from sync_pipeline.setup.connections import disconnect as forget
from sync_pipeline.setup.service import SetupService, actor


@click.command()
@click.argument("system", type=click.Choice(SYSTEMS))
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def disconnect(system: str, yes: bool, as_json: bool) -> None:
    """Forget SYSTEM: its part of the set-up and all its secrets; live syncing goes off. What was delivered stays."""
    setup = SetupService(actor("terminal"))
    since = setup.revision()
    if not yes:
        if as_json:
            raise click.UsageError("--json asks nothing: add --yes.")
        click.confirm(f"Forget {system} and all its secrets?", abort=True)
    forget(setup, system, since=since)
    terminal.emit(
        as_json,
        {"disconnected": system},
        f"{system} is disconnected, and its secrets are gone. `sync-pipeline init` connects it again.",
    )
