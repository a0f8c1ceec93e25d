"""`webhooks`: subscribe to changes in Clockify, and receive them."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.exit_codes import ExitCode
from sync_pipeline.cli.opening import prepared, until_asked
from sync_pipeline.cli.options import json_option
from sync_pipeline.session.session import open_session
from sync_pipeline.settings import load_settings
from sync_pipeline.setup.service import actor
from sync_pipeline.store.audit import note
from sync_pipeline.webhooks.hooks import open_hooks
from sync_pipeline.webhooks.registration import Registrar, Wishes, list_hooks, remove_hooks
from sync_pipeline.webhooks.server import Accounts, serve
from sync_pipeline.webhooks.signed import addresses


@click.group()
def webhooks() -> None:
    """Receive changes in Clockify within seconds."""


@webhooks.command("serve")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to bind; loopback unless you say otherwise."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8760, show_default=True, help="Port to listen on.")
@json_option
def webhooks_serve(host: str, port: int, as_json: bool) -> None:
    """Receive Clockify's webhooks until Ctrl-C. /healthz and /metrics show its state."""

    def ready(url: str) -> None:
        terminal.emit(as_json, {"url": url}, f"Receiving webhooks at {url} (Ctrl-C ends it)")
        sys.stdout.flush()

    with until_asked(), prepared() as settings, Accounts(settings, load_settings) as accounts:
        serve(*accounts.reception, host=host, port=port, on_ready=ready, renewed=accounts.renewed)


@webhooks.command("register")
@click.option("--url", required=True, help="The public address deliveries reach the receiver at (https).")
@click.option("--enable", is_flag=True, help="Switch hooks of ours on again that Clockify disabled.")
@click.option("--rotate", is_flag=True, help="Change the tokens; the old ones stay good for an hour.")
@click.option("--limit", type=click.IntRange(min=1), help="Hooks to use. [default: what the plan leaves]")
@click.option("--addon", is_flag=True, help="Show the secret address for an add-on's manifest; subscribe nothing.")
@json_option
def webhooks_register(url: str, enable: bool, rotate: bool, limit: int | None, addon: bool, as_json: bool) -> None:
    """Subscribe the events that matter. As many as the plan allows; it can be run again at any time."""
    with prepared() as settings, open_session(settings) as session:
        registrar = Registrar.of(session, open_hooks(session), url)
        if addon:
            address = registrar.addon_url()
            terminal.emit(as_json, {"url": address}, address)
            return
        report = registrar.register(Wishes(rotate=rotate, enable=enable, limit=limit))
        _note(session, "webhooks registered", report.hooks)
    terminal.emit(as_json, {"is_well": report.is_well, **asdict(report)}, lambda: _show_registered(report))
    sys.exit(report.exit_code or (ExitCode.DONE if report.is_well else ExitCode.FAILED))


def _show_registered(report: Any) -> None:
    terminal.table("Webhooks", [asdict(row) for row in report.hooks], ("event", "id", "action", "problem"))
    for event, why in report.failures.items():
        terminal.problem(f"{event} is not registered: {why}")
    if any(row.problem for row in report.hooks):
        terminal.warning("Some webhooks do not deliver; --enable switches on what the plan allows.")
    if report.without_room:
        terminal.hint(f"No room for {', '.join(report.without_room)}: polling and re-scans find those changes.")
    if report.failures:
        terminal.hint("Register again when this is fixed: what is registered stays, and is not registered twice.")


@webhooks.command("addresses")
@click.option("--url", required=True, help="The public address deliveries reach the receiver at (https).")
@click.option("--rotate", is_flag=True, help="Make new addresses; the old ones are refused from then on.")
@json_option
def webhooks_addresses(url: str, rotate: bool, as_json: bool) -> None:
    """Print the addresses for an app's webhooks. Each event of the Snapshots API has its own; enter them at the vendor."""
    with prepared() as settings, open_session(settings) as session:
        found = addresses(session, open_hooks(session), url, rotate=rotate)
        if rotate and found.rows:
            note(session.store, actor("terminal"), "webhooks rotated", "addresses of the app", session.now())

    def show() -> None:
        terminal.table("Webhooks of the app", found.rows)
        if found.polling:
            terminal.hint(found.polling)

    terminal.emit(as_json, {"addresses": found.rows, "polling": found.polling}, show)


@webhooks.command("list")
@json_option
def webhooks_list(as_json: bool) -> None:
    """List the workspace's webhooks. Exits 1 when one of ours does not deliver."""
    with prepared(needs_key=False) as settings, open_session(settings) as session:
        rows = list_hooks(session, open_hooks(session))
    shown = [{"event": r.event, "id": r.id, "ours": r.ours, "problem": r.problem} for r in rows]
    none = "There are none: `sync-pipeline webhooks register` subscribes them."
    terminal.emit(as_json, {"webhooks": shown}, lambda: terminal.table("Webhooks", shown, empty=none))
    sys.exit(ExitCode.FAILED if any(row.ours and row.problem for row in rows) else ExitCode.DONE)


@webhooks.command("remove")
@click.argument("ids", nargs=-1)
@json_option
def webhooks_remove(ids: tuple[str, ...], as_json: bool) -> None:
    """Delete our webhooks in Clockify, or those named. Their secrets are deleted, too."""
    with prepared(needs_key=False) as settings, open_session(settings) as session:
        rows = remove_hooks(session, open_hooks(session), ids)
        _note(session, "webhooks removed", rows)
    removed = [{"event": row.event, "id": row.id} for row in rows]
    terminal.emit(as_json, {"removed": removed}, f"{len(rows)} webhooks were removed.")


def _note(session: Any, what: str, rows: Any) -> None:
    """For the audit trail: which hooks something was done with; nothing when all stayed unchanged."""
    done = [f"{row.event} {row.action}" for row in rows if row.action not in ("kept", "listed", "failed")]
    if done:
        note(session.store, actor("terminal"), what, ", ".join(done), session.now())
