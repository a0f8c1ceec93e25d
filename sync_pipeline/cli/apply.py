"""`apply`: carry out the plan file of a preview, where nothing has changed since."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from sync_pipeline import terminal
from sync_pipeline.cli.compare import counts_row, first_rows
from sync_pipeline.cli.exit_codes import ExitCode, worst
from sync_pipeline.cli.opening import prepared
from sync_pipeline.cli.options import OPTIONAL_COLUMNS, json_option
from sync_pipeline.session.session import open_session
from sync_pipeline.stages.apply import Applied, Cost, cost_of
from sync_pipeline.stages.apply import apply as carry_out
from sync_pipeline.stages.plan_file import read_plan
from sync_pipeline.store.audit import system_user
from sync_pipeline.store.syncs import Cause

NAMED = 5
"""Those that a message names."""


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--skip-changed", is_flag=True, help="Write the records that do not differ; still exits 1.")
@click.option("--read-target", is_flag=True, help="Also read each record at the target, and compare it.")
@json_option
def apply(file: Path, skip_changed: bool, read_target: bool, as_json: bool) -> None:
    """Carry out a plan file of `preview --out`. Each record in it is planned again, and nothing else is written.

    When any record differs from the file, nothing is written: each is named with what differs, and the command exits 1. A record
    that is already as the file says counts as done, so an apply that was interrupted can be repeated.
    """
    with prepared() as settings, open_session(settings) as session:
        session.cause = Cause("terminal", system_user())
        plan = read_plan(file, session)
        cost = cost_of(session, plan, read_target=read_target)
        terminal.notice(f"About {cost.requests:,} requests, done at {terminal.clock_time(cost.done_at)}.")
        if not session.mode.writes:
            terminal.warning(f"Nothing was sent: {session.mode.why}.")
            sys.exit(ExitCode.HELD)
        with terminal.progress():
            found = carry_out(
                session, plan, skip_changed=skip_changed, read_target=read_target, run_id=f"apply-{uuid4()}"
            )
    terminal.emit(as_json, lambda: _document(found, cost), lambda: _tables(found, skip_changed=skip_changed))
    problems = [ExitCode.FAILED] if found.changed or found.left else []
    sys.exit(worst([*problems, *([ExitCode.HELD] if found.held else [])]))


def _document(found: Applied, cost: Cost) -> dict[str, Any]:
    document = asdict(found)
    estimate = {"requests": cost.requests, "done_at": cost.done_at.replace(microsecond=0)}
    return {"success": not (found.changed or found.left or found.held), "estimate": estimate, **document}


def _tables(found: Applied, *, skip_changed: bool) -> None:
    counts = [counts_row(name, asdict(figures)) for name, figures in found.counts.items()]
    terminal.table("Applied", counts, optional=OPTIONAL_COLUMNS)
    first_rows("Changed since", [asdict(one) for one in found.changed])
    first_rows("Not written", [asdict(one) for one in found.left])
    held = [{"entity": name, "id": key} for name, records in found.held.items() for key in records]
    first_rows("Held until approved", held)
    for reason in sorted({reason for records in found.held.values() for reason in records.values()}):
        terminal.warning(f"Held: {reason}")
    if found.changed:
        names = ", ".join(f"{one.entity} {one.id}" for one in found.changed[:NAMED])
        names += ", ..." if found.changed[NAMED:] else ""
        differ = f"records differ from the file: {len(found.changed):,} ({names}). Preview again"
        what = "These were not written, because" if found.written else "Nothing was written, because"
        terminal.problem(f"{what} {differ}{'' if skip_changed else ', or write the others with --skip-changed'}.")
    terminal.hint(f"{found.written:,} written, {found.already:,} already as the file says.")
