"""`sandbox`: both APIs on this machine, and what makes them fail on purpose."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from sync_pipeline import terminal
from sync_pipeline.cli.opening import until_asked
from sync_pipeline.cli.options import ServingGroup, json_option
from sync_pipeline.cli.questions import confirm
from sync_pipeline.errors import SyncError
from sync_pipeline.sandbox.embedded import control
from sync_pipeline.sandbox.server import list_lines, serve
from sync_pipeline.sandbox.world import Options
from sync_pipeline.settings import load_given
from sync_pipeline.setup.sandbox_lab import note_reset_on
from sync_pipeline.setup.service import SetupService, actor

SEEDING = ("seed", "users", "projects", "clients", "locations", "entries", "days")
"""Options that say what data a new file gets."""
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
    file = database or load_given(environ={}).sandbox_file
    _warn_of_options_without_effect(file)

    def announce(addresses: Mapping[str, str], keys: Mapping[str, str]) -> None:
        document = {"addresses": dict(addresses), "keys": dict(keys)}
        terminal.emit(as_json, document, lambda: list_lines(addresses, keys))
        sys.stdout.flush()

    with until_asked():
        serve(host, port, file, Options(**options), announce=announce)


def _warn_of_options_without_effect(file: Path) -> None:
    """Say which of the given options are read only when the file is new."""
    ctx = click.get_current_context()
    given = [name for name in SEEDING if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given and file.exists() and file.stat().st_size:
        terminal.warning(
            f"{file} has data already, which these options do not change: {', '.join(f'--{name}' for name in given)}. Once the sandbox runs, "
            "`sync-pipeline sandbox reset` replaces the data by new data of that size."
        )


def port_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--port`` of a sandbox that runs."""
    return click.option("--port", type=PORT, help="Its port. [default: SYNC_SANDBOX_PORT]")(command)


@sandbox.command("status")
@port_option
@json_option
def sandbox_status(port: int | None, as_json: bool) -> None:
    """Show what the running sandbox is doing. Its data, clock, requests and faults."""
    ask = partial(control, _port(port))
    faults, stats = ask("faults")["faults"], ask("stats")
    found = {"port": _port(port), **ask("database"), **ask("clock"), **stats, "faults": faults}
    terminal.emit(as_json, found, lambda: _show_status(found))


def _show_status(found: Mapping[str, Any]) -> None:
    row = {
        "port": found["port"],
        "clock": datetime.fromisoformat(found["now"]),
        "requests": sum(found["requests"].values()),
        "writes": sum(found["writes"].values()),
        "database": found["database"],
    }
    terminal.table("Sandbox", [row])
    _show_faults(found["faults"])


@sandbox.command("reset")
@click.option("--yes", is_flag=True, help="Do not ask.")
@port_option
@json_option
def sandbox_reset(yes: bool, port: int | None, as_json: bool) -> None:
    """Start again with fresh data. No faults, real time."""
    confirm("Replace all data of the sandbox by fresh sample data?", yes=yes, as_json=as_json)
    found = control(_port(port), "reset", {})
    with suppress(SyncError):  # a set-up that cannot be read is reported by the commands that use it
        note_reset_on(SetupService(actor("terminal")), _port(port))
    terminal.emit(as_json, found, f"The sandbox has fresh sample data (seed {found['seed']}).")


@sandbox.command("fault")
@click.argument("kind", required=False)
@click.option("--route", default="*", show_default=True, help='Which requests: "GET /clockify/*/projects".')
@click.option("--count", type=click.IntRange(1), help="How often. [default: until it is cleared]")
@click.option("--rate", type=click.FloatRange(0, 1), default=1.0, show_default=True, help="For what share of them.")
@click.option("--status", type=click.IntRange(400, 599), help="The status to answer, for the kind `status`.")
@click.option("--seconds", type=click.FloatRange(0, 600), help="How long, for the kind `stall`.")
@click.option("--lasts", type=click.FloatRange(1, 86_400), help="For how many seconds. [default: until it is cleared]")
@click.option("--clear", is_flag=True, help="Remove all faults, or those of --route.")
@port_option
@json_option
def sandbox_fault(kind: str | None, port: int | None, clear: bool, as_json: bool, **rule: Any) -> None:
    """Make requests fail on purpose, or list the faults.

    KIND is status, stall, hold_before, hold_after, cut_before, cut_after, duplicate_page, shifted_page, truncated_json, empty_object or html.
    """
    if kind and clear:
        raise click.UsageError("Name a KIND to add a fault, or --clear to remove faults.")
    ask = partial(control, _port(port), "faults")
    if kind:
        found = ask({"kind": kind, **{name: value for name, value in rule.items() if value is not None}})
    elif clear:
        found = ask({} if rule["route"] == "*" else {"route": rule["route"]}, "DELETE")
    else:
        found = ask()
    terminal.emit(as_json, found, lambda: _show_faults(found["faults"]))


@sandbox.command("clock")
@click.option("--advance", metavar="SECONDS", type=float, help="Move it forward by so many seconds.")
@click.option("--now", metavar="INSTANT", help="Set it to an instant such as 2026-07-01T09:00:00Z.")
@click.option("--real", is_flag=True, help="Let it show the real time again.")
@port_option
@json_option
def sandbox_clock(advance: float | None, now: str | None, real: bool, port: int | None, as_json: bool) -> None:
    """Show or move the sandbox's clock."""
    if sum(map(bool, (advance is not None, now, real))) > 1:
        raise click.UsageError("Give one of --advance, --now and --real.")
    ask = partial(control, _port(port), "clock")
    sent = {"advance": advance} if advance is not None else {"now": now} if now else {} if real else None
    found = ask(sent, "DELETE" if real else "")
    terminal.emit(as_json, found, f"The sandbox's clock shows {terminal.moment(datetime.fromisoformat(found['now']))}.")


def _port(port: int | None) -> int:
    return load_given().sandbox_port if port is None else port


def _show_faults(faults: list[dict[str, Any]]) -> None:
    rows = [
        {name: fault.get(name) for name in ("kind", "route", "status", "rate", "count", "lasts", "struck")}
        for fault in faults
    ]
    terminal.table("Faults", rows, empty="No fault is set: every request is answered as usual.")
