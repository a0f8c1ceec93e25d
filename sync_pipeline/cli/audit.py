"""`audit`: who changed what of the set-up; `deliveries`: what was sent."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.opening import chosen, reading, with_names
from sync_pipeline.cli.options import entity_argument, json_option
from sync_pipeline.session.session import open_session
from sync_pipeline.setup.service import SetupService, actor
from sync_pipeline.store.audit import changes
from sync_pipeline.store.deliveries import recent

SHOWN_DELIVERIES = 100
NARROW_DELIVERIES = ("at", "entity", "source_id", "kind", "outcome")
"""What fits into 80 columns; `--json` has the rest."""
WIDE = 120


@click.group()
def audit() -> None:
    """Show who changed what of the set-up."""


@audit.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="How many to show.")
@json_option
def trail(limit: int, as_json: bool) -> None:
    """List who changed what of the set-up. The newest change comes first."""
    with SetupService(actor("terminal")).store() as store:
        rows = [asdict(change) for change in changes(store, limit)]
    terminal.emit(as_json, {"changes": rows}, lambda: _show_changes(rows, limit))


def _show_changes(rows: list[dict[str, Any]], limit: int) -> None:
    terminal.table("Audit", rows, empty="Nothing was changed yet.")
    if len(rows) == limit:
        terminal.hint(f"These are the newest {limit}; --limit shows more.")


@click.command()
@entity_argument
@click.option("--run", "run_id", help="Only the deliveries of this Dagster run.")
@click.option("--record", "source_id", help="Only the deliveries of this record.")
@click.option(
    "--limit", type=click.IntRange(min=1), help="How many to show. [default: 100; all of a run or of a record]"
)
@json_option
def deliveries(entity: str | None, run_id: str | None, source_id: str | None, limit: int | None, as_json: bool) -> None:
    """List every write that was sent. The newest comes first."""
    with reading() as settings, open_session(settings) as session:
        chosen(session, [entity] if entity else [])
        limit = limit or (None if run_id or source_id else SHOWN_DELIVERIES)
        found = recent(session.store, session.pair, entity=entity, source_id=source_id, run_id=run_id, limit=limit)
        rows = with_names(session, [asdict(row) for row in found])
    terminal.emit(as_json, {"deliveries": rows}, lambda: _show_deliveries(rows))


def _show_deliveries(rows: list[dict[str, Any]]) -> None:
    lines = [{**row, "outcome": row["outcome"] or row["phase"]} for row in rows]
    columns = NARROW_DELIVERIES if terminal.out.width < WIDE else (*NARROW_DELIVERIES, "target_id", "reason")
    if terminal.out.is_terminal and terminal.out.width >= WIDE:  # what scripts read stays unchanged
        columns = ("at", "name", *columns[1:])
    terminal.table("Deliveries", lines, columns, optional=("name",), empty="Nothing was sent.")
