"""`alerts`: the alerts about the pipeline itself, and who is notified."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.alerts import destinations
from sync_pipeline.alerts.configuration import configured
from sync_pipeline.alerts.current import Alert, acknowledge, alert_named, open_alerts, refresh_alerts, silence
from sync_pipeline.alerts.evaluation import compute_figures
from sync_pipeline.alerts.kinds import KINDS, AlertKind, severity_of, title_of_row
from sync_pipeline.alerts.rules import Rule, ready_made
from sync_pipeline.alerts.sending import send_alerts
from sync_pipeline.alerts.subscriptions import Subscription
from sync_pipeline.cli.exit_codes import ExitCode
from sync_pipeline.cli.opening import reading
from sync_pipeline.cli.options import json_option
from sync_pipeline.cli.questions import SecretSource, require_prompts, secret_options
from sync_pipeline.console.sign_in_links import running_url
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.settings import Settings
from sync_pipeline.setup.alert_rules import export_rules, in_force
from sync_pipeline.setup.service import SetupService, actor
from sync_pipeline.store.alerts import FIGURE, AlertKey, AlertRow, recent_rows

SUBSCRIPTION_COLUMNS = ("subscription", "sends", "every", "to")
RULE_COLUMNS = ("rule", "severity", "fires")
COLUMNS = ("alert", "severity", "what", "since", "count", "state")
alert_argument = click.argument("name", metavar="ALERT")
destination_argument = click.argument("name", metavar="NAME")


@click.group()
def alerts() -> None:
    """Show open alerts, and who is notified."""


@alerts.command("list")
@click.option("--all", "every", is_flag=True, help="Also those that were resolved, newest first.")
@json_option
def alerts_list(every: bool, as_json: bool) -> None:
    """List the open alerts, worst first."""
    with _opened() as session:
        refresh_alerts(session)
        if every:
            found = [_row(row) for row in recent_rows(session.store, session.pair)]
        else:
            found = [alert_document(alert) for alert in open_alerts(session)]
    terminal.emit(as_json, {"alerts": found}, lambda: _list(found, with_details=not every))


def _list(found: list[dict[str, Any]], *, with_details: bool) -> None:
    rows = [{**row, "what": row["title"]} for row in found]
    terminal.table("Alerts", rows, COLUMNS, empty="Nothing needs attention.")
    for row in found if with_details else ():
        terminal.hint(f"{row['alert']}: {row['detail']}")


@alerts.command("show")
@alert_argument
@json_option
def alerts_show(name: str, as_json: bool) -> None:
    """Show one open alert. ALERT is its name or its number."""
    with _opened() as session:
        _show(alert_named(session, name), as_json)


@alerts.command("ack")
@alert_argument
@json_option
def alerts_ack(name: str, as_json: bool) -> None:
    """Say that you deal with an alert. It is not repeated until it gets worse."""
    with _opened() as session:
        _show(acknowledge(session, name, actor("terminal")), as_json)


@alerts.command("silence")
@alert_argument
@click.option("--hours", type=click.IntRange(1, 8760), default=24, show_default=True, help="For how long.")
@click.option("--undo", is_flag=True, help="Send messages about it again.")
@json_option
def alerts_silence(name: str, hours: int, undo: bool, as_json: bool) -> None:
    """Send no messages about an alert for some hours."""
    with _opened() as session:
        until = None if undo else session.now() + timedelta(hours=hours)
        _show(silence(session, name, actor("terminal"), until), as_json)


@alerts.command("rules")
@click.option(
    "--yaml", "as_yaml", is_flag=True, help="Print your rules and subscriptions as a file for SYNC_ALERT_RULES_FILE."
)
@json_option
def alerts_rules(as_yaml: bool, as_json: bool) -> None:
    """List kinds of alert, your rules and subscriptions. They are the console's, or those of SYNC_ALERT_RULES_FILE."""
    with reading() as settings:
        found = configured(settings)
    if as_yaml:
        if as_json:
            raise click.UsageError("--yaml and --json are two forms of the same: give one of them.")
        sys.stdout.write(export_rules(settings))
        return
    file = str(settings.alert_rules_file) if settings.alert_rules_file else None
    document = {
        "rules": [_kind_document(name, kind) for name, kind in KINDS.items()],
        "ready_made": [_rule_document(rule) for rule in ready_made().values()],
        "in_force": "file" if file else "set-up",
        "file": file,
        "figures": [_rule_document(rule) for rule in found.rules],
        "subscriptions": [_subscription_document(each) for each in found.subscriptions],
    }
    terminal.emit(as_json, document, lambda: _show_rules(document, settings))


def _show_rules(found: dict[str, Any], settings: Settings) -> None:
    none = f"There are no rules on figures. Ready-made are {', '.join(ready_made())} (docs/figure-alerts.md)."
    terminal.table("Kinds of alerts", found["rules"], optional=("sent_after_minutes",))
    terminal.table("Your rules on figures", found["figures"], RULE_COLUMNS, empty=none)
    subscribed = [{**row, "to": ", ".join(row["to"]) or "all destinations"} for row in found["subscriptions"]]
    terminal.table("Your subscriptions", subscribed, SUBSCRIPTION_COLUMNS)
    terminal.hint(in_force(settings))


@alerts.command("send")
@json_option
def alerts_send(as_json: bool) -> None:
    """Send what is to be sent, as the daemon does. For cron, to hear also of a daemon that is not running."""
    with _opened() as session:
        compute_figures(session)
        sent = send_alerts(session, console=session.settings.public_url or running_url(session.settings.home))
    terminal.emit(as_json, asdict(sent), f"{str(sent).capitalize()}.")
    if sent.problems:
        sys.exit(ExitCode.FAILED)


@alerts.command("destinations")
@json_option
def alerts_destinations(as_json: bool) -> None:
    """List where alerts are sent. Addresses are not shown."""
    with SetupService(actor("terminal")).vault() as vault:
        rows = [asdict(row) for row in destinations.destinations(vault)]
    none = "Alerts are sent nowhere: `sync-pipeline alerts add NAME` adds a destination."
    terminal.emit(as_json, {"destinations": rows}, lambda: terminal.table("Destinations", rows, empty=none))


@alerts.command("add")
@destination_argument
@secret_options("", "the address")
@json_option
def alerts_add(name: str, stdin: bool, file: Path | None, env: str, as_json: bool) -> None:
    """Add a destination, or replace its address. The address is one of Apprise, and is asked for: it is a secret."""
    source = SecretSource(stdin, file, env)
    if not source.is_named:
        require_prompts(as_json, "say where the address is (--stdin, --file or --env)")
    address = source.read() or click.prompt(f"Address of {name}", hide_input=True)
    setup = SetupService(actor("terminal"))
    with setup.vault() as vault:
        added = destinations.add(vault, name, address, setup.by, setup.now())
    try_it = f"Try it: `sync-pipeline alerts test {name}`."
    terminal.emit(as_json, {"destination": asdict(added)}, f"Alerts are sent to {name} ({added.service}). {try_it}")


@alerts.command("remove")
@destination_argument
@json_option
def alerts_remove(name: str, as_json: bool) -> None:
    """Remove a destination. What was still to be sent to it is dropped."""
    setup = SetupService(actor("terminal"))
    with setup.vault() as vault:
        destinations.remove(vault, name, setup.by, setup.now())
    terminal.emit(as_json, {"removed": name}, f"Nothing is sent to {name} any more.")


@alerts.command("test")
@destination_argument
@json_option
def alerts_test(name: str, as_json: bool) -> None:
    """Send a test message to a destination. Exits 1 when it does not arrive."""
    setup = SetupService(actor("terminal"))
    with setup.vault() as vault:
        answer = destinations.send_test(vault, name, setup.by, setup.now())
    said = f"{name} was not reached: {answer.problem}." if answer.problem else f"{name} took the test message."
    terminal.emit(as_json, {"sent": not answer.problem, "problem": answer.problem or None}, said)
    if answer.problem:
        sys.exit(ExitCode.FAILED)


@contextmanager
def _opened() -> Iterator[Session]:
    with reading() as settings, open_session(settings) as session:
        yield session


def _show(alert: Alert, as_json: bool) -> None:
    document = alert_document(alert)

    def show() -> None:
        terminal.table(f"Alert {alert.name}", [{**document, "what": alert.title}], COLUMNS)
        terminal.say(alert.detail)

    terminal.emit(as_json, document, show)


def alert_document(alert: Alert) -> dict[str, Any]:
    """An alert for ``--json``."""
    facts = asdict(alert)
    key = AlertKey(*facts.pop("key"))
    state = "acknowledged" if alert.acknowledged_at else "open"
    return {"alert": alert.name, **_about(key), **facts, "state": state}


def _about(key: AlertKey) -> dict[str, str | None]:
    """What an alert is about; one on a figure has its rule, and neither an entity nor a system."""
    if key.kind == FIGURE:
        return {"kind": key.kind, "entity": None, "system": None, "rule": key.entity}
    return {"kind": key.kind, "entity": key.entity or None, "system": key.system or None, "rule": None}


def _kind_document(name: str, kind: AlertKind) -> dict[str, Any]:
    return {
        "kind": name,
        "severity": kind.severity,
        "opened_by": kind.opened_by,
        "resolved_by": kind.resolved_by,
        "sent_after_minutes": int(kind.lasting.total_seconds()) // 60,
    }


def _rule_document(rule: Rule) -> dict[str, Any]:
    return {
        "rule": rule.name,
        "severity": rule.severity,
        "figure": rule.figure,
        "scope": rule.scope,
        "period": rule.period,
        "comparison": rule.comparison,
        "thresholds": list(rule.thresholds),
        "only": [each.text for each in rule.only],
        "except": [each.text for each in rule.ignored],
        "fires": rule.said,
    }


def _subscription_document(each: Subscription) -> dict[str, Any]:
    return {
        "subscription": each.name,
        "about": list(each.topics),
        "every": each.every,
        "to": [one.text for one in each.to],
        "client": [one.text for one in each.clients],
        "project": [one.text for one in each.projects],
        "sends": each.said,
    }


def _row(row: AlertRow) -> dict[str, Any]:
    state = "resolved" if row.resolved_at else "acknowledged" if row.is_acknowledged else "open"
    facts = asdict(row)
    number, since = facts.pop("id"), facts.pop("first_seen_at")
    return {
        "alert": str(row.key),
        "number": number,
        "since": since,
        **facts,
        **(_about(row.key) if row.kind == FIGURE else {"rule": None}),
        "title": title_of_row(row),
        "severity": severity_of(row),
        "state": state,
    }
