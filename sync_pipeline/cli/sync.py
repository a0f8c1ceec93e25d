"""`sync` and `backfill`: run the jobs, and say what came of it."""

from __future__ import annotations

import sys
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.compare import codes_of, counts_row, held_table, show_preview, show_verdicts
from sync_pipeline.cli.exit_codes import ExitCode, worst
from sync_pipeline.cli.opening import chosen, chosen_days, prepared, typed, warn_of_days
from sync_pipeline.cli.options import (
    OPTIONAL_COLUMNS,
    Permissions,
    days_options,
    entities_argument,
    json_option,
    permission_options,
)
from sync_pipeline.clock import utc_now
from sync_pipeline.session.session import is_first_contact, open_session
from sync_pipeline.settings import Settings
from sync_pipeline.stages.batch import Options
from sync_pipeline.stages.guards import may_begin

if TYPE_CHECKING:
    from sync_pipeline.hosting.main_job import SyncReport

CHECKED_COLUMNS = ("entity", "read", "rejected", "excluded", "waiting", "requests")
"""What a dry run knows; what a sync would write is shown by `preview`."""
BACKFILL_FIGURES = ("backfill_id", "status", "days", "total", "done", "running", "failed", "held")
ROOM_FOR_ZEROS = 90
"""That nothing was rejected is worth a column, but not on a terminal on which the others would be cut off for it."""


@click.command()
@entities_argument
@days_options
@click.option("--dry-run", is_flag=True, help="Read, map and check as a Dagster run, but write nothing.")
@click.option("--verify", "verify_after", is_flag=True, help="Read both sides afterwards and prove that they agree.")
@permission_options
@json_option
def sync(
    entities: list[str],
    first: date | None,
    last: date | None,
    dry_run: bool,
    verify_after: bool,
    permissions: Permissions,
    as_json: bool,
) -> None:
    """Sync everything, some entities or some days."""
    from sync_pipeline.definitions import build  # late: Dagster takes over a second to import
    from sync_pipeline.hosting.main_job import run_main_job

    options = Options(dry_run, **permissions._asdict())
    with prepared() as settings:
        with open_session(settings) as session:
            entities, days = chosen(session, entities), chosen_days(settings, first, last)
            warn_of_days(session.specs, entities, first, last)
            if only_shown := _why_only_shown(session, entities, dry_run=dry_run, yes=permissions.first_contact):
                codes = show_preview(session, entities, days, options, as_json)
                terminal.warning(only_shown)
                sys.exit(worst([ExitCode.HELD, *codes]))
        with terminal.progress():
            report = run_main_job(settings, build(settings), entities, days, options, verify_after=verify_after)

    def show() -> None:
        _sync_tables(report, dry_run)
        _next_steps(settings, report, dry_run)

    terminal.emit(as_json, _sync_document(report, dry_run), show)
    held = [ExitCode.HELD] if report.is_held else []
    sys.exit(worst([*report.exit_codes, *held, *codes_of(report.verdicts)]))


def _why_only_shown(session: Any, entities: list[str], *, dry_run: bool, yes: bool) -> str:
    """Why a sync only shows what it would do; "" when it may do it."""
    if not session.mode.writes and not dry_run:
        return f"Nothing was sent: {session.mode.why}."
    if not yes and is_first_contact(session) and not all(may_begin(session, session.specs[name]) for name in entities):
        return "This is the first contact with these accounts, so nothing was sent. Add --yes to sync."
    return ""


def _sync_document(report: SyncReport, dry_run: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "success": report.success and not report.is_held,
        "dry_run": dry_run,
        "run_ids": report.run_ids,
        "entities": {name: dict(counts) for name, counts in report.entities.items()},
        "errors": report.errors,
        "warnings": report.warnings,
        "held": report.held,
    }
    if report.verdicts:
        document["verify"] = {verdict.entity: verdict.figures for verdict in report.verdicts}
    return document


def _sync_tables(report: SyncReport, dry_run: bool) -> None:
    title = (
        "Dry run: what was read and checked"
        if dry_run
        else "Not synced in full"
        if report.errors
        else "Synced, except for what is held"
        if report.is_held
        else "Synced"
    )
    rows = [counts_row(name, counts) for name, counts in report.entities.items()]
    always = () if terminal.out.width < ROOM_FOR_ZEROS else ("rejected",)
    optional = () if dry_run else [name for name in OPTIONAL_COLUMNS if name not in always]
    terminal.table(title, rows, CHECKED_COLUMNS if dry_run else None, optional=optional)
    if dry_run and any(counts["waiting"] for counts in report.entities.values()):
        terminal.hint("Those that wait refer to records which are not at the target yet; a sync delivers these first.")
    held_table(report.held)
    show_verdicts(report.verdicts)
    for line in report.warnings:
        terminal.warning(line)
    for line in report.errors:
        terminal.problem(line)


def _next_steps(settings: Settings, report: SyncReport, dry_run: bool) -> None:
    if dry_run:
        terminal.hint("Nothing was written: `sync-pipeline preview` shows what a sync would write.")
        return
    if report.rejects:
        terminal.hint("Some records were rejected: `sync-pipeline rejects list` shows why.")
    if report.is_held:
        terminal.hint("Look at what is held and allow it: `sync-pipeline approvals list`; the rest was loaded.")
    elif report.errors:
        terminal.hint("What was delivered stays delivered; fix the cause and run the same command again.")
    elif not report.success:
        terminal.hint("All was delivered, and yet the sides differ: the target was changed by someone else.")
        terminal.hint("`sync-pipeline verify` lists the differences, `sync-pipeline verify --repair` delivers them.")
    elif settings.sandbox:
        terminal.hint(f"Next: {typed('dev')} shows the assets, checks and runs; {typed('sync')} again changes nothing.")
        terminal.hint("To sync real accounts, run `sync-pipeline init`: it asks what it needs to know.")
    else:
        terminal.hint(f"Next: {typed('dev')} shows the assets, checks and runs.")


@click.command()
@days_options
@json_option
def backfill(first: date | None, last: date | None, as_json: bool) -> None:
    """Sync years of time entries in bounded runs. The Dagster daemon runs them; run again, it continues where it stopped."""
    from sync_pipeline.definitions import build  # late: Dagster takes over a second to import
    from sync_pipeline.hosting.backfill import run_backfill

    with prepared() as settings, terminal.progress():
        days = chosen_days(settings, first, last)
        report = run_backfill(settings, build(settings), days, now=utc_now)
    terminal.emit(as_json, report.document, lambda: _show_backfill(report))
    sys.exit(ExitCode.DONE if report.success else ExitCode.HELD if report.is_held else ExitCode.FAILED)


def _show_backfill(report: Any) -> None:
    terminal.table("Backfill", [{name: getattr(report, name) for name in BACKFILL_FIGURES}])
    if not report.has_ended:
        terminal.warning(
            "No Dagster daemon is running, so nothing happens yet. The backfill is kept and starts as soon as a daemon "
            f"does ({typed('dev')}); `sync-pipeline backfills list` shows its progress."
        )
    elif report.status == "PAUSED":
        terminal.hint(
            "It is paused: `sync-pipeline backfills resume`, or this command again, continues with what is left."
        )
    elif report.is_held:
        terminal.hint("What is left is held: `sync-pipeline approvals list`, then run this command again.")
    elif not report.success:
        terminal.hint("Look at the failed runs in the Dagster UI; run this command again to try only what is left.")
