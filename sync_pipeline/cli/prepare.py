"""`prepare`: create what has to exist where records are written, after confirmation, and measure how the system behaves."""

from __future__ import annotations

import sys
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.exit_codes import ExitCode
from sync_pipeline.cli.options import json_option, may_ask
from sync_pipeline.cli.questions import confirm
from sync_pipeline.connectors.preparation import Compared, Made, Measured
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.setup import prepare as preparing
from sync_pipeline.setup.service import SetupService, actor

ASK_MEASURE = "Measure how {system} treats records? Two records of each object are made and deleted again"


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what is missing; nothing is made.")
@click.option("--yes", is_flag=True, help="Make it, and measure, without asking.")
@click.option("--measure", "again", is_flag=True, help="Measure again how records are treated.")
@json_option
def prepare(dry_run: bool, yes: bool, again: bool, as_json: bool) -> None:
    """Make the objects and fields that mappings need. Shows what is missing, and asks before anything is made.

    Nothing that exists is changed. Afterwards it is measured how the system treats records, where its documents leave
    that open. Exits 1 when something has to be created or changed manually.
    """
    setup = SetupService(actor("terminal"))
    settings = setup.settings()
    if not preparing.is_needed(settings):
        say = preparing.NOT_NEEDED.format(profile=settings.snapshots_profile)
        terminal.emit(as_json, _document(None, [], []), say)
        return
    sys.exit(run(setup, dry_run=dry_run, yes=yes, again=again, as_json=as_json))


def run(setup: SetupService, *, dry_run: bool, yes: bool, again: bool = False, as_json: bool = False) -> ExitCode:
    """Compare, make and measure, as far as that is wanted."""
    with terminal.progress(is_timed=False):
        done = Made(preparing.compare(setup))
    if not as_json:
        show(done.compared)
    if done.compared.missing and not (dry_run or done.compared.wrong):
        confirm("Make them", yes=yes, as_json=as_json)
        with terminal.progress(is_timed=False):
            done = preparing.make(setup)
        if not as_json:
            _show_made(done)
    found = preparing.measured(setup)
    if done.compared.is_ready and not dry_run and (again or not found) and _may_measure(setup, yes, as_json):
        with terminal.progress(is_timed=False):
            found = preparing.measure(setup)
    terminal.emit(as_json, _document(done, done.made, found), lambda: _show_measured(found))
    is_left = done.compared.wrong or (done.compared.missing and not dry_run)
    return ExitCode.FAILED if is_left else ExitCode.DONE


def show(compared: Compared) -> None:
    """What is missing or wrong."""
    if compared.is_ready:
        terminal.say("Everything that the mappings need is there.")
    if compared.missing:
        terminal.table("Missing", [dict(row) for row in compared.by_hand])
    for one in compared.wrong:
        terminal.problem(f"{one}.", "Delete the field there, or map to another one; then run this again.")


def _may_measure(setup: SetupService, yes: bool, as_json: bool) -> bool:
    if yes:
        return True
    if as_json or not may_ask():
        return False
    system = load_profile(setup.settings().snapshots_profile).system
    return bool(click.confirm(ASK_MEASURE.format(system=system), default=True, err=True))


def _show_made(done: Made) -> None:
    if done.made:
        fields = sum("." in name for name in done.made)
        terminal.say(f"Made {len(done.made) - fields} objects and {fields} fields.")
    if done.refused:
        terminal.problem(done.refused, "Create these yourself, then run this again:")
        terminal.table("To create", [dict(row) for row in done.compared.by_hand])


def _show_measured(found: list[Measured]) -> None:
    for one in found:
        terminal.marked("warning" if one.fix else "ok", f"{one.entity}: {one.detail}")
    for fix in dict.fromkeys(one.fix for one in found if one.fix):
        terminal.warning(fix)


def _document(done: Made | None, made: list[str], found: list[Measured]) -> dict[str, Any]:
    compared = Compared() if done is None else done.compared
    return {
        "needed": done is not None,
        "missing": [dict(row) for row in compared.by_hand],
        "wrong": [str(one) for one in compared.wrong],
        "extra": list(compared.extra),
        "made": made,
        "refused": done.refused if done is not None else "",
        "measured": [
            {"entity": one.entity, "facts": dict(one.facts), "detail": one.detail, "fix": one.fix} for one in found
        ],
    }
