"""`connections`: both connected systems, and cutting one off."""

from __future__ import annotations

from dataclasses import asdict

import click

from sync_pipeline import terminal
from sync_pipeline.cli.options import json_option
from sync_pipeline.cli.questions import confirm
from sync_pipeline.settings import SYSTEMS
from sync_pipeline.setup.connections import SystemConnection
from sync_pipeline.setup.connections import connections as list_connections
from sync_pipeline.setup.connections import disconnect as forget
from sync_pipeline.setup.service import SetupService, actor

system_argument = click.argument("system", type=click.Choice(SYSTEMS))


@click.group()
def connections() -> None:
    """Look at both connections, or disconnect one."""


@connections.command("list")
@json_option
def connections_list(as_json: bool) -> None:
    """List both systems and how they answer."""
    _show(list(list_connections(SetupService(actor("terminal")))), as_json)


@connections.command("show")
@system_argument
@json_option
def connections_show(system: str, as_json: bool) -> None:
    """Show one connection. As its last answer left it; no request is sent."""
    _show([{one.system: one for one in list_connections(SetupService(actor("terminal")))}[system]], as_json)


def _show(found: list[SystemConnection], as_json: bool) -> None:
    rows = [asdict(one) for one in found]

    def show() -> None:
        terminal.table("Connections", rows, optional=("workspace", "since", "detail"))
        if any(one.state == "not set up" for one in found):
            terminal.hint("`sync-pipeline init` connects what is not set up.")
        else:
            terminal.hint("`sync-pipeline check` tests both with requests.")

    terminal.emit(as_json, {"connections": rows}, show)


@connections.command("disconnect")
@system_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def disconnect(system: str, yes: bool, as_json: bool) -> None:
    """Forget a system and its secrets. Live syncing is turned off; what was delivered stays."""
    setup = SetupService(actor("terminal"))
    since = setup.revision()
    confirm(f"Forget {system} and all its secrets?", yes=yes, as_json=as_json)
    forget(setup, system, since=since)
    said = f"{system} is disconnected, and its secrets are deleted. `sync-pipeline init` connects it again."
    terminal.emit(as_json, {"disconnected": system}, said)
