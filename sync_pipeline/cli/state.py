"""`check`, `status`, `deliveries` and `trail`: what state everything is in, what was sent, and what was changed."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.exit_codes import ExitCode, worst
from sync_pipeline.cli.opening import chosen, prepared, reading
from sync_pipeline.cli.options import OPTIONAL_COLUMNS, entity_option, json_option
from sync_pipeline.diagnose.connection_test import SYSTEMS, diagnose, without_retries
from sync_pipeline.session.health import REFUSED, nothing_syncs
from sync_pipeline.session.session import open_session
from sync_pipeline.setup.connections import connections
from sync_pipeline.setup.overview import entity_rows
from sync_pipeline.setup.service import SetupService, actor
from sync_pipeline.store.audit import changes
from sync_pipeline.store.deliveries import recent

SHOWN_DELIVERIES = 100
NARROW_DELIVERIES = ("at", "entity", "source_id", "kind", "outcome")
"""What fits into 80 columns; `--json` has the rest."""
WIDE = 120
STATUS_FIGURES = ("records", "delivered", "pending", "rejects", "waiting", "kept", "unconfirmed", "excluded")


@click.command()
@click.option("--system", type=click.Choice(["clockify", "snapshots"]), help="Only this side.")
@json_option
def check(system: str | None, as_json: bool) -> None:
    """Test the connections, the permissions and the plan: one finding each, with what it means and what to do."""
    with prepared() as settings, open_session(without_retries(settings)) as session:
        findings = []
        for finding in diagnose(session, [system] if system else SYSTEMS):
            findings.append(finding)
            if not as_json:
                terminal.marked(finding.verdict, f"{finding.what}: {finding.text}")
        requests = {"clockify": session.clockify.requests.total(), "snapshots": session.snapshots.requests.total()}
    ok = all(finding.ok for finding in findings)
    if as_json:
        terminal.as_json({"ok": ok, "checks": [finding.as_json() for finding in findings], "requests": requests})
    sys.exit(worst(finding.exit_code for finding in findings))


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Show whether syncing is live and running, each connection's health, and each entity's last success and backlog.

    Exits 1 when live syncing is on and nothing is syncing, 4 when a system refuses its key.
    """
    with reading() as settings, open_session(settings) as session:
        rows, mode, problem = entity_rows(session), session.mode, nothing_syncs(session)
    sides = {
        side.system: {"state": side.state, "detail": side.detail}
        for side in connections(SetupService(actor("terminal")))
    }
    if as_json:
        entities = {row.entity: {**_status_json(row), "claimed": row.claimed} for row in rows}
        document = {"mode": mode.name, "automatic": mode.automatic, "why": mode.why, "problem": problem}
        terminal.as_json({**document, "connections": sides, "entities": entities})
    else:
        terminal.say(f"Mode: {mode.title} - {mode.why}.")
        for system, side in sides.items():
            if side["detail"]:
                terminal.problem(f"{system}: {side['state']} {side['detail']}")
        if problem:
            terminal.problem(problem)
        shown = [{name: value for name, value in _status_json(row).items() if name != "reason"} for row in rows]
        shown = [{"entity": row.entity, **figures} for row, figures in zip(rows, shown, strict=True)]
        terminal.table("Status", shown, optional=OPTIONAL_COLUMNS)
        for row in rows:
            if row.waiting:
                more = f"`sync-pipeline rejects list --entity {row.entity}` shows for what"
                terminal.say(f"{row.waiting} {row.entity} wait for a record that cannot be delivered; {more}.")
            for run_id, count in row.written_by.items():
                terminal.say(f"{count} {row.entity} are being written by run {run_id}; other runs wait for it.")
            if row.reason:
                terminal.warning(f"{row.entity}, last sync {row.ended}: {row.reason}")
    refused = [ExitCode.NOT_AUTHORIZED for side in sides.values() if side["state"] == REFUSED]
    sys.exit(worst([*refused, *([ExitCode.FAILED] if problem else [])]))


def _status_json(row: Any) -> dict[str, Any]:
    at, never_ended = row.last_success, row.last_outcome == "running"
    return {
        "last_success": f"{at:%Y-%m-%dT%H:%M:%SZ}" if at else None,
        "last_outcome": "interrupted" if never_ended else row.last_outcome,
        "reason": row.reason or None,
        **{name: getattr(row, name) for name in STATUS_FIGURES},
    }


@click.command()
@entity_option
@click.option("--run", "run_id", help="Only the deliveries of this Dagster run.")
@click.option("--record", "source_id", help="Only the deliveries of this record.")
@click.option(
    "--limit", type=click.IntRange(min=1), help="How many to show. [default: 100; all of a run or of a record]"
)
@json_option
def deliveries(entity: str | None, run_id: str | None, source_id: str | None, limit: int | None, as_json: bool) -> None:
    """Show the audit: every write that was sent, newest first."""
    with reading() as settings, open_session(settings) as session:
        chosen(session, entity)
        limit = limit or (None if run_id or source_id else SHOWN_DELIVERIES)
        found = recent(session.store, session.pair, entity=entity, source_id=source_id, run_id=run_id, limit=limit)
        rows = [asdict(row) for row in found]
    if as_json:
        terminal.as_json({"deliveries": rows})
        return
    lines = [{**row, "at": f"{row['at']:%Y-%m-%d %H:%MZ}", "outcome": row["outcome"] or row["phase"]} for row in rows]
    columns = NARROW_DELIVERIES if terminal.out.width < WIDE else (*NARROW_DELIVERIES, "target_id", "reason")
    terminal.table("Deliveries", lines, columns)
    if not rows:
        terminal.say("Nothing was sent.")


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
