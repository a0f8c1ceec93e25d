"""`check` and `status`: whether everything works, and what state it is in."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple, NoReturn

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
from sync_pipeline.cli.options import OPTIONAL_COLUMNS, OutFile, json_option
from sync_pipeline.cli.support_bundle import write_private
from sync_pipeline.clock import utc_now
from sync_pipeline.connectors.error_category import ErrorCategory
from sync_pipeline.diagnose.connection_test import diagnose, without_retries
from sync_pipeline.errors import SyncError
from sync_pipeline.session.health import REFUSED, nothing_syncs
from sync_pipeline.session.mode import Mode
from sync_pipeline.session.session import open_session
from sync_pipeline.settings import SYSTEMS
from sync_pipeline.setup.connections import connections
from sync_pipeline.setup.overview import EntityRow, entity_rows
from sync_pipeline.setup.prepare import measured
from sync_pipeline.setup.requests import ShownRequest, open_work
from sync_pipeline.setup.service import SetupService, actor
from sync_pipeline.setup.support import shareable
from sync_pipeline.store.syncs import Sync, failing

SHOWN_IN_TABLE = (RUN_FAILED, PERMISSION_MISSING, REJECTS)
"""Alerts about what `status` shows of each entity."""
WATCH_SECONDS = 3.0
STATUS_FIGURES = ("records", "delivered", "pending", "rejects", "waiting", "kept", "unconfirmed", "excluded")


@click.command()
@click.argument("named", type=click.Choice(SYSTEMS), metavar="[SYSTEM]", required=False)
@click.option("--system", type=click.Choice(SYSTEMS), hidden=True, help="Only this system.")
@click.option("--report", type=OutFile(), help="Also write everything that was found to a file, without secrets.")
@json_option
def check(named: str | None, system: str | None, report: Path | None, as_json: bool) -> None:
    """Test the connections and permissions. One finding each, with what it means and what to do.

    SYSTEM is clockify or snapshots: only that one is tested, and the other is sent no request.
    """
    system = named or system
    with prepared() as settings, open_session(without_retries(settings)) as session:
        findings = []
        for finding in diagnose(session, [system] if system else SYSTEMS):
            findings.append(finding)
            if not as_json:
                terminal.marked(finding.verdict, f"{finding.what}: {finding.text}")
        requests = {name: session.systems[name].requests.total() for name in SYSTEMS}
    ok = all(finding.ok for finding in findings)
    document = {"ok": ok, "checks": [finding.as_json() for finding in findings], "requests": requests}
    if report is not None:
        setup = SetupService(actor("terminal"))
        facts = {"profile": settings.snapshots_profile, "measured": [one._asdict() for one in measured(setup)]}
        write_private(report, shareable(setup, {**facts, **document}))
        terminal.notice(f"Written to {report}. Look through it before you send it.")
    if as_json:
        terminal.as_json(document)
    sys.exit(worst(finding.exit_code for finding in findings))


@click.command()
@click.option("--watch", is_flag=True, help="Show it again every few seconds until Ctrl-C; on a terminal only.")
@json_option
def status(watch: bool, as_json: bool) -> None:
    """Show what is wrong, and each entity's state. Includes the mode, each connection's health, the backlog and open requests.

    Exits 1 when live syncing is on and nothing is syncing, or the last run of an entity failed and none has succeeded
    since; 4 when a system refuses its key, or a permission is missing.
    """
    if watch and (as_json or not terminal.out.is_terminal):
        raise click.UsageError(
            "--watch redraws a terminal: leave it out with --json, and where the output is a pipe or a file."
        )
    if watch:
        _watch()
    found = _look()
    terminal.emit(as_json, _document(found), lambda: _show(found))
    sys.exit(worst(_codes(found)))


def _codes(found: _StatusFigures) -> Iterator[ExitCode]:
    if found.problem:
        yield ExitCode.FAILED
    for side in found.sides.values():
        if side["state"] == REFUSED:
            yield ExitCode.NOT_AUTHORIZED
    for failed in found.failing:
        yield ExitCode.NOT_AUTHORIZED if failed.category == ErrorCategory.FORBIDDEN else ExitCode.FAILED


class _StatusFigures(NamedTuple):
    """What `status` shows."""

    rows: Sequence[EntityRow]
    mode: Mode
    problem: str
    alerts: Sequence[Alert]
    requests: Sequence[ShownRequest]
    sides: Mapping[str, Mapping[str, str]]
    failing: Sequence[Sync]
    """The newest run of each entity that failed, and after which none has ended well."""


def _look() -> _StatusFigures:
    with reading() as settings, open_session(settings) as session:
        rows, problem, requests = entity_rows(session), nothing_syncs(session), open_work(session)
        alerts = [alert for alert in open_alerts(session) if alert.acknowledged_at is None]
        failed = [one.last for name, one in failing(session.store, session.pair).items() if name in session.specs]
    sides = {
        side.system: {"state": side.state, "detail": side.detail}
        for side in connections(SetupService(actor("terminal")))
    }
    return _StatusFigures(rows, session.mode, problem, alerts, requests, sides, failed)


def _watch() -> NoReturn:
    """Show it until Ctrl-C. While the database is busy, or the set-up is being changed, report that and try again."""
    while True:
        try:
            found: _StatusFigures | SyncError = _look()
        except SyncError as error:
            found = error
        terminal.clear()
        terminal.hint(f"{terminal.clock_time(utc_now())}, again every {WATCH_SECONDS:.0f} seconds; Ctrl-C ends it.")
        if isinstance(found, SyncError):
            terminal.problem(found.message, found.fix or "")
        else:
            _show(found)
        sleep(WATCH_SECONDS)


def status_document() -> dict[str, Any]:
    """What `status` shows, as JSON."""
    return _document(_look())


def _document(found: _StatusFigures) -> dict[str, Any]:
    mode = found.mode
    return {
        "mode": mode.name,
        "automatic": mode.automatic,
        "why": mode.why,
        "problem": found.problem,
        "connections": found.sides,
        "entities": {row.entity: {**_status_json(row), "claimed": row.claimed} for row in found.rows},
        "alerts": [alert_document(alert) for alert in found.alerts],
        "open_requests": [
            {
                "number": shown.request.id,
                "kind": shown.request.kind,
                "what": shown.title,
                "entity": shown.request.scope.entity or None,
                "by": shown.request.by,
                "asked_at": shown.request.asked_at,
                "state": shown.state,
                "note": shown.note or None,
            }
            for shown in found.requests
        ],
    }


def _show(found: _StatusFigures) -> None:
    terminal.hint(f"Mode: {found.mode.title} - {found.mode.why}.")
    for system, side in found.sides.items():
        if side["detail"]:
            terminal.problem(f"{system}: {side['state']} {side['detail']}")
    if found.problem:
        terminal.problem(found.problem)
    shown = []
    for row in found.rows:
        figures = {name: value for name, value in _status_json(row).items() if name != "reason"}
        shown.append({"entity": row.entity, **figures, "last_success": row.last_success})
    terminal.table("Status", shown, optional=OPTIONAL_COLUMNS)
    for alert in found.alerts:
        if not _is_shown(found, alert):
            terminal.warning(f"{alert.title}: {alert.detail}")
    for each in found.requests:
        asked = (
            f"{each.title} ({each.state}), asked for by {each.request.by} at {terminal.moment(each.request.asked_at)}"
        )
        terminal.hint(f"Request {each.request.id}: {asked}.{f' {each.note}' if each.note else ''}")
    for row in found.rows:
        _hints_of(row)


def _hints_of(row: EntityRow) -> None:
    if row.waiting:
        more = f"`sync-pipeline rejects list {row.entity}` shows for what"
        terminal.hint(f"{row.waiting} {row.entity} wait for a record that cannot be delivered; {more}.")
    for run_id, count in row.written_by.items():
        terminal.hint(f"{count} {row.entity} are being written by run {run_id}; other runs wait for it.")
    if row.reason:
        terminal.warning(f"{row.entity}, last sync {row.ended}: {row.reason}")


def _is_shown(found: _StatusFigures, alert: Alert) -> bool:
    """Whether `status` shows in its own words what the alert is about."""
    kind = alert.key.kind
    if kind in (KEY_REFUSED, NOT_REACHABLE):
        return bool(found.sides.get(alert.key.system, {}).get("detail"))
    return kind in SHOWN_IN_TABLE or (kind == NO_HEARTBEAT and bool(found.problem))


def _status_json(row: EntityRow) -> dict[str, Any]:
    at, never_ended = row.last_success, row.last_outcome == "running"
    return {
        "last_success": f"{at:%Y-%m-%dT%H:%M:%SZ}" if at else None,
        "last_outcome": "interrupted" if never_ended else row.last_outcome,
        "reason": row.reason or None,
        **{name: getattr(row, name) for name in STATUS_FIGURES},
    }
