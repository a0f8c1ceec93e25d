"""`check` and `status`: whether everything works, and what state it is in."""

from __future__ import annotations

import sys
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.alerts.current import Alert, open_alerts
from sync_pipeline.alerts.kinds import (
    KEY_REFUSED,
    NO_HEARTBEAT,
    NOT_REACHABLE,
    PERMISSION_MISSING,
    REJECTS,
    RUN_FAILED,
)
from sync_pipeline.cli.alerts import alert_document
from sync_pipeline.cli.exit_codes import ExitCode, worst
from sync_pipeline.cli.opening import prepared, reading
from sync_pipeline.cli.options import OPTIONAL_COLUMNS, json_option
from sync_pipeline.diagnose.connection_test import SYSTEMS, diagnose, without_retries
from sync_pipeline.session.health import REFUSED, nothing_syncs
from sync_pipeline.session.session import open_session
from sync_pipeline.setup.connections import connections
from sync_pipeline.setup.overview import entity_rows
from sync_pipeline.setup.service import SetupService, actor

SHOWN_ELSEWHERE = (KEY_REFUSED, NOT_REACHABLE, NO_HEARTBEAT, RUN_FAILED, PERMISSION_MISSING, REJECTS)
"""Alerts about what `status` shows in its own words."""
STATUS_FIGURES = ("records", "delivered", "pending", "rejects", "waiting", "kept", "unconfirmed", "excluded")


@click.command()
@click.option("--system", type=click.Choice(["clockify", "snapshots"]), help="Only this side.")
@json_option
def check(system: str | None, as_json: bool) -> None:
    """Test the connections and permissions. One finding each, with what it means and what to do."""
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
    """Show what is wrong, and each entity's state. Includes the mode, each connection's health and the backlog.

    Exits 1 when live syncing is on and nothing is syncing, 4 when a system refuses its key.
    """
    with reading() as settings, open_session(settings) as session:
        rows, mode, problem = entity_rows(session), session.mode, nothing_syncs(session)
        alerts = [alert for alert in open_alerts(session) if alert.acknowledged_at is None]
    sides = {
        side.system: {"state": side.state, "detail": side.detail}
        for side in connections(SetupService(actor("terminal")))
    }
    if as_json:
        entities = {row.entity: {**_status_json(row), "claimed": row.claimed} for row in rows}
        document = {"mode": mode.name, "automatic": mode.automatic, "why": mode.why, "problem": problem}
        terminal.as_json(
            {
                **document,
                "connections": sides,
                "entities": entities,
                "alerts": [alert_document(alert) for alert in alerts],
            }
        )
    else:
        terminal.hint(f"Mode: {mode.title} - {mode.why}.")
        for system, side in sides.items():
            if side["detail"]:
                terminal.problem(f"{system}: {side['state']} {side['detail']}")
        if problem:
            terminal.problem(problem)
        shown = [{name: value for name, value in _status_json(row).items() if name != "reason"} for row in rows]
        shown = [
            {"entity": row.entity, **figures, "last_success": row.last_success}
            for row, figures in zip(rows, shown, strict=True)
        ]
        terminal.table("Status", shown, optional=OPTIONAL_COLUMNS)
        _warn_of(alerts)
        for row in rows:
            if row.waiting:
                more = f"`sync-pipeline rejects list {row.entity}` shows for what"
                terminal.hint(f"{row.waiting} {row.entity} wait for a record that cannot be delivered; {more}.")
            for run_id, count in row.written_by.items():
                terminal.hint(f"{count} {row.entity} are being written by run {run_id}; other runs wait for it.")
            if row.reason:
                terminal.warning(f"{row.entity}, last sync {row.ended}: {row.reason}")
    refused = [ExitCode.NOT_AUTHORIZED for side in sides.values() if side["state"] == REFUSED]
    sys.exit(worst([*refused, *([ExitCode.FAILED] if problem else [])]))


def _warn_of(alerts: list[Alert]) -> None:
    for alert in alerts:
        if alert.key.kind not in SHOWN_ELSEWHERE:
            terminal.warning(f"{alert.title}: {alert.detail}")


def _status_json(row: Any) -> dict[str, Any]:
    at, never_ended = row.last_success, row.last_outcome == "running"
    return {
        "last_success": f"{at:%Y-%m-%dT%H:%M:%SZ}" if at else None,
        "last_outcome": "interrupted" if never_ended else row.last_outcome,
        "reason": row.reason or None,
        **{name: getattr(row, name) for name in STATUS_FIGURES},
    }
