"""`trial` and `live`: what a sync would do with the present set-up, and the switch that lets changes travel automatically."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

import click

from sync_pipeline import terminal
from sync_pipeline.cli.exit_codes import ExitCode, worst
from sync_pipeline.cli.options import Permissions, json_option, may_ask, permission_options
from sync_pipeline.settings import SYSTEMS
from sync_pipeline.setup import trial as trials
from sync_pipeline.setup.drafts import publish, read_draft
from sync_pipeline.setup.service import SetupService, actor
from sync_pipeline.setup.switching import LiveStatus, effects, read_live_status, turn_off, turn_on
from sync_pipeline.setup.system_details import system_details
from sync_pipeline.stages.batch import Options
from sync_pipeline.store.trials import TrialKind


@click.group()
def live() -> None:
    """Turn live syncing on or off. It lets sensors and schedules act automatically."""


@live.command("on")
@click.option("--yes", is_flag=True, help="Preview it if needed, and do not ask.")
@json_option
def live_on(yes: bool, as_json: bool) -> None:
    """Turn it on; previews the configuration if needed. A preview of exactly this configuration must have passed.

    It names both accounts and about how many records go where, and asks on a terminal. While it is on, it publishes a
    previewed draft.
    """
    setup = SetupService(actor("terminal"))
    now = read_live_status(setup)
    if now.is_live and read_draft(setup) is not None:
        publish(setup, since=None, accept_rewrite=False)
    asks = may_ask() and not (yes or as_json) and sys.stdin.isatty()
    if (yes or asks) and now.needs_preview:
        found = previewed(setup)
        if found.outcome != "passed":
            _show(setup, found, as_json)
        if not as_json:
            tables(found.report)
        now = read_live_status(setup)
    if not (as_json or now.is_live or now.obstacle):
        _say_what_it_writes(setup, now)
        if asks:
            click.confirm("Start syncing?", abort=True, err=True)
    _turned(turn_on, as_json)


def _say_what_it_writes(setup: SetupService, now: LiveStatus) -> None:
    """Both accounts, and about how many records of each entity go to which."""
    names = {}
    for system in SYSTEMS:
        found = system_details(setup, system)
        names[system] = found.system.title
        account = " ".join(filter(None, (found.facts.workspace, found.connection.workspace)))
        terminal.hint(f"{found.system.title}: {f'{account} at ' if account else ''}{found.connection.where}")
    for effect in effects(setup, now):
        name = effect.entity.replace("_", " ")
        terminal.hint(f"{'About ' if effect.is_dated else ''}{effect.writes:,} {name} go to {names[effect.target]}.")
    if now.trial is not None and (days := now.trial.report.get("days")):
        terminal.hint(f"Looked at time entries of {days}; live syncing also sends all others since the start date.")


@live.command("off")
@json_option
def live_off(as_json: bool) -> None:
    """Turn it off. It works whatever state the set-up is in."""
    _turned(turn_off, as_json)


@live.command("status")
@json_option
def live_status(as_json: bool) -> None:
    """Show whether it is on, why, and what is missing."""
    _turned(read_live_status, as_json)


def _turned(act: Callable[[Any], Any], as_json: bool) -> None:
    found = act(SetupService(actor("terminal")))
    terminal.emit(as_json, _document(found), lambda: _show_status(found))


def _show_status(found: LiveStatus) -> None:
    terminal.say(f"Live syncing is {'ON' if found.is_live else 'off'}.")
    if (mode := found.mode) is not None:
        terminal.say(f"Mode: {mode.title} - {mode.why}.")
    if found.problem:
        terminal.warning(found.problem)
    if found.obstacle and not found.is_live:
        terminal.hint(f"Not ready: {found.obstacle}")


def _document(found: Any) -> dict[str, Any]:
    trial, switch, mode = found.trial, found.switch, found.mode
    return {
        "live": found.is_live,
        "mode": mode and mode.name,
        "why": mode.why if mode else found.obstacle,
        "obstacle": found.obstacle,
        "problem": found.problem,
        "trial": trial and {"id": trial.id, "kind": trial.kind, "outcome": trial.outcome, "by": trial.by},
        "switch": switch and {"on": switch.is_on, "by": switch.by, "at": switch.at},
    }


OPTIONAL_COLUMNS = ("adopted", "rejected", "excluded", "waiting", "held", "held_deletes", "unconfirmed", "repaired")
LIVE_ON = "`sync-pipeline live on` turns live syncing on."
VERDICTS = {
    "held": "It passes once what it holds is allowed: `sync-pipeline approvals list`, then `sync-pipeline live on`.",
}


@click.command()
@click.option("--sandbox", "in_sandbox", is_flag=True, help="Try it with the sandbox's sample data.")
@permission_options
@json_option
def trial(in_sandbox: bool, permissions: Permissions, as_json: bool) -> None:
    """Preview the configuration for the gate to live. Reads 31 days of time entries, and writes nothing.

    Where changes wait to be published, they are previewed.
    """
    setup = SetupService(actor("terminal")).on_draft()
    found = previewed(setup, sandbox=in_sandbox, options=Options(**permissions._asdict()))
    _show(setup, found, as_json)


def previewed(setup: SetupService, *, sandbox: bool = False, options: Any = None) -> Any:
    """Run a trial of the configuration, with progress."""
    kind: TrialKind = "sandbox" if sandbox else trials.kind_for(setup.settings())
    with terminal.progress():
        return trials.run(setup, trials.begin(setup, kind), kind, options)


def _show(setup: SetupService, found: Any, as_json: bool) -> NoReturn:
    """Print what a trial found, and end as the sync would."""
    passed = found.outcome == "passed"

    def show() -> None:
        tables(found.report)
        terminal.hint(_verdict(found, read_live_status(setup).obstacle))

    terminal.emit(as_json, {"passed": passed, "outcome": found.outcome, "id": found.id, **found.report}, show)
    usual = ExitCode.HELD if found.outcome == "held" else ExitCode.FAILED
    sys.exit(ExitCode.DONE if passed else worst(found.report["exit_codes"] or [usual]))


def _verdict(found: Any, obstacle: str) -> str:
    """Whether it passed, and what to do next; ``obstacle`` is what still prevents live syncing."""
    if found.outcome == "passed":
        return f"It passed. {LIVE_ON if not obstacle else f'Live syncing cannot be turned on yet: {obstacle}'}"
    if found.outcome in VERDICTS:
        return VERDICTS[found.outcome]
    if found.outcome == "throttled":
        at = terminal.clock_time(datetime.fromisoformat(found.report["again_at"]))
        return (
            f"It could not be carried out: the request budget is used up. Run it again at {at}; a preview that "
            "passed before still counts."
        )
    return "It did not pass."


def tables(report: dict[str, Any]) -> None:
    """Print what a trial found."""
    for check in report["checks"]:
        if not check["ok"]:
            terminal.problem(f"{check['what']}: {check['detail'].removesuffix('.')}.", check["fix"])
    rows = [{"entity": name, **found["counts"]} for name, found in report["entities"].items()]
    terminal.table("A sync would", rows, optional=OPTIONAL_COLUMNS)
    for name, found in report["entities"].items():
        for blocked in found["blocked"]:
            terminal.problem(f"{name} would be blocked: {blocked}")
        for held in found["held"]:
            terminal.warning(f"Held: {held['reason']}")
    if report["error"]:
        terminal.problem(report["error"])
