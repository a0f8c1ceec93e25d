"""`trail`: who changed what of the set-up, and when."""

from __future__ import annotations

from dataclasses import asdict

import click

from sync_pipeline import terminal
from sync_pipeline.cli.options import json_option
from sync_pipeline.setup.service import SetupService, actor
from sync_pipeline.store.audit import changes


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="How many to show.")
@json_option
def trail(limit: int, as_json: bool) -> None:
    """Show the audit trail: who changed what of the set-up, newest first."""
    with SetupService(actor("terminal")).store() as store:
        rows = [asdict(change) for change in changes(store, limit)]
    if as_json:
        terminal.as_json({"changes": rows})
        return
    terminal.table("Audit trail", [{**row, "at": f"{row['at']:%Y-%m-%d %H:%MZ}"} for row in rows])
    if not rows:
        terminal.say("Nothing was changed yet.")
