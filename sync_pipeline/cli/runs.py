"""`runs`: what ran, one run in full, and running it again."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import Any, get_args

import click

from sync_pipeline import terminal
from sync_pipeline.cli.opening import must_exist, reading
from sync_pipeline.cli.options import Day, entity_argument, json_option
from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.load import specs_of
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.store.activity import WORST, ActivityFilter, Entry, Run, activity, run_of, runs_beginning
from sync_pipeline.store.syncs import Sync, Trigger

COLUMNS = ("at", "run", "what", "trigger", "outcome", "written", "took")
FIGURES = ("extracted", "created", "adopted", "updated", "unchanged", "deleted", "rejected", "waiting", "held")
UNCHANGED = "targeted"
"""The outcome of a sync of single records: they are what is run again."""
SHORT = 8
"""Characters of a run's id that are enough where no other run's begins with them."""
LONG_ID = re.compile(r"((?:[a-z]+-)?[0-9a-f]{8})(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@click.group()
def runs() -> None:
    """Look at runs, and run one again."""


@runs.command("list")
@entity_argument
@click.option("--outcome", type=click.Choice(WORST), help="Only runs that ended so.")
@click.option("--trigger", type=click.Choice(get_args(Trigger)), help="Only runs that this started.")
@click.option("--since", type=Day(), help="Only runs since this UTC day.")
@click.option("--changes", is_flag=True, help="Leave out runs that changed nothing.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=30, show_default=True, help="How many to show.")
@json_option
def runs_list(
    *,
    entity: str | None,
    outcome: str | None,
    trigger: str | None,
    since: date | None,
    changes: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List runs, the newest first. Runs in a row that changed nothing are one line."""
    begins = datetime.combine(since, time(), UTC) if since else None
    wanted = ActivityFilter(entity or "", outcome or "", "run", begins, trigger=trigger or "", with_changes=changes)
    with reading() as settings, open_session(settings) as session:
        must_exist(specs_of(settings), [entity] if entity else [])
        found = activity(session.store, session.pair, wanted, limit=limit)
    document = {"runs": [_entry(one) for one in found.entries], "is_cut": bool(found.before)}

    def show() -> None:
        terminal.table("Runs", [_row(one) for one in found.entries], COLUMNS, empty="No run is stored.")
        if found.entries and found.before:
            terminal.hint(f"These are the newest {limit}; --limit shows more.")

    terminal.emit(as_json, document, show)


@runs.command("show")
@click.argument("run_id", metavar="ID")
@json_option
def runs_show(run_id: str, as_json: bool) -> None:
    """Show one run: figures, reasons, and what to do."""
    with reading() as settings, open_session(settings) as session:
        run = _existing(session, run_id)
    terminal.emit(as_json, _document(run), lambda: _show(run))


def _show(run: Run) -> None:
    rows = [_figures(one) for one in run.syncs]
    terminal.table(f"Run {run.id}", rows, optional=("adopted", "deleted", "rejected", "waiting", "held", "days"))
    if run.trigger:
        terminal.hint(f"Trigger: {run.trigger}{f', asked for by {run.requested_by}' if run.requested_by else ''}.")
    for reason in run.reasons:
        terminal.warning(reason)
    if run.outcome not in ("success", "running", UNCHANGED, "dry_run"):
        terminal.hint(f"`sync-pipeline runs retry {run.id}` runs again what did not succeed.")
    if run.written:
        terminal.hint(
            f"`sync-pipeline records list --run {run.id}` lists what it wrote, `sync-pipeline records history` what happened to a record."
        )


@runs.command("retry")
@click.argument("run_id", metavar="ID")
@json_option
@click.pass_context
def runs_retry(ctx: click.Context, run_id: str, as_json: bool) -> None:
    """Run again what a run did not complete. Of a run that succeeded, all of it."""
    from sync_pipeline.cli.sync import sync  # late: pandas takes half a second to import

    with reading() as settings, open_session(settings) as session:
        run = _existing(session, run_id)
    left = [one for one in run.syncs if one.outcome not in ("success", "dry_run")] or list(run.syncs)
    days = [one.partitions for one in left if one.partitions]
    entities = tuple(dict.fromkeys(one.entity for one in left))
    terminal.notice(f"Syncing {', '.join(entities)} again.")
    first, last = (min(a for a, _ in days), max(b for _, b in days)) if days else (None, None)
    ctx.invoke(
        sync,
        named=entities,
        first=date.fromisoformat(first) if first else None,
        last=date.fromisoformat(last) if last else None,
        as_json=as_json,
    )


def _existing(session: Session, run_id: str) -> Run:
    found = run_of(session.store, session.pair, full_run_id(session, run_id))
    if found is None:
        raise ConfigError(f"There is no run {run_id}.", fix="`sync-pipeline runs list` shows them.")
    return found


def full_run_id(session: Session, run_id: str) -> str:
    """The id of the run that is meant: this one, or the only one that begins with it; itself where there is none."""
    if len(run_id) < SHORT or run_of(session.store, session.pair, run_id):
        return run_id
    found = runs_beginning(session.store, session.pair, run_id)
    if len(found) > 1:
        raise ConfigError(
            f"The ids of several runs begin with {run_id}.",
            fix="Type more of it: `sync-pipeline runs list --json` shows whole ids.",
        )
    return found[0] if found else run_id


def _row(entry: Entry) -> dict[str, Any]:
    run = entry.run
    if run is None:
        return {}
    several = entry.times > 1
    short = LONG_ID.fullmatch(run.id) if terminal.out.is_terminal else None
    what = ", ".join(entry.entities or run.entities)
    return {
        "at": entry.at,
        "run": short[1] if short else run.id,
        "what": f"{what} ({entry.times} runs, nothing changed)" if several else what,
        "trigger": "" if several else run.trigger,
        "outcome": run.outcome,
        "written": run.written,
        "took": _took(run),
    }


def _took(run: Run) -> str:
    return terminal.duration((run.finished_at - run.begun_at).total_seconds()) if run.finished_at else ""


def _entry(entry: Entry) -> dict[str, Any]:
    assert entry.run is not None  # noqa: S101  # only runs were asked for
    return {**_document(entry.run), "times": entry.times, "first_at": entry.first_at}


def _document(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "begun_at": run.begun_at,
        "finished_at": run.finished_at,
        "outcome": run.outcome,
        "trigger": run.trigger or None,
        "requested_by": run.requested_by or None,
        "written": run.written,
        "requests": run.requests,
        "reasons": list(run.reasons),
        "syncs": [
            {
                "entity": one.entity,
                "outcome": one.ended,
                "days": one.partitions,
                "counts": one.counts,
                "requests": one.requests,
                "reason": one.reason,
            }
            for one in run.syncs
        ],
    }


def _figures(one: Sync) -> dict[str, Any]:
    figures = {name: int(one.counts.get(name, 0)) for name in FIGURES}
    days = " to ".join(one.partitions) if one.partitions else None
    read = {"read": figures.pop("extracted")}
    return {"entity": one.entity, "outcome": one.ended, "days": days, **read, **figures}
