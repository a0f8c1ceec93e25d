"""`check`, `status` and `deliveries`: how things stand, and what was sent."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from sync_pipeline.cli.compare import OPTIONAL_COLUMNS
from sync_pipeline.cli.opening import chosen, opened, prepared
from sync_pipeline.cli.options import entity_option, json_option

SHOWN_DELIVERIES = 100
NARROW_DELIVERIES = ("at", "entity", "source_id", "kind", "outcome")
"""What fits into 80 columns; `--json` has the rest."""
WIDE = 120


@click.command()
@click.option("--system", type=click.Choice(["clockify", "snapshots"]), help="Only this side.")
@json_option
def check(system: str | None, as_json: bool) -> None:
    """Test the connections, the permissions and the plan: one finding each, with what it means and what to do."""
    from sync_pipeline import terminal
    from sync_pipeline.stages.diagnose import SYSTEMS, diagnose, hasty

    with prepared() as settings, opened(hasty(settings)) as session:
        findings = []
        for finding in diagnose(session, [system] if system else SYSTEMS):
            findings.append(finding)
            if not as_json:
                terminal.marked(finding.verdict, f"{finding.what}: {finding.text}")
        requests = {"clockify": session.clockify.requests.total(), "snapshots": session.snapshots.requests.total()}
    ok = all(finding.ok for finding in findings)
    if as_json:
        terminal.as_json({"ok": ok, "checks": [finding.as_json() for finding in findings], "requests": requests})
    sys.exit(0 if ok else 1)


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Show whether syncing is live, and each entity's last success, what is pending and what was set aside."""
    from sync_pipeline import terminal
    from sync_pipeline.stages.guards import deletes
    from sync_pipeline.store.records import RecordCounts, counts
    from sync_pipeline.store.rejects import count_rejects
    from sync_pipeline.store.syncs import status as last_syncs

    with prepared() as settings, opened(settings) as session:
        states, rejects = counts(session.store, session.connection), count_rejects(session.store, session.connection)
        syncs, mode = last_syncs(session.store, session.connection), session.mode
        rows = []
        for name in session.specs:
            state = states.get(name, RecordCounts(0, 0, 0, 0, 0, 0, 0, 0))
            last = syncs.get(name)
            success = last.last_success if last else None
            rows.append(
                {
                    "entity": name,
                    "last_success": f"{success.finished_at:%Y-%m-%dT%H:%M:%SZ}"
                    if success and success.finished_at
                    else None,
                    "last_outcome": (last.last.outcome or "interrupted") if last else "never synced",
                    "records": state.records,
                    "delivered": state.delivered,
                    "pending": state.pending + (state.pending_deletes if deletes(session.specs[name]) else 0),
                    "rejects": rejects.get(name, 0),
                    "unconfirmed": state.unconfirmed,
                    "excluded": state.excluded,
                }
            )
    if as_json:
        entities = {row.pop("entity"): row for row in rows}
        terminal.as_json({"mode": mode.name, "automatic": mode.automatic, "why": mode.why, "entities": entities})
    else:
        terminal.say(f"Mode: {mode.name.replace('_', ' ')} - {mode.why}.")
        terminal.table("Status", rows, optional=OPTIONAL_COLUMNS)


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
    from sync_pipeline import terminal
    from sync_pipeline.store.deliveries import recent

    with prepared() as settings, opened(settings) as session:
        chosen(session, entity)
        limit = limit or (None if run_id or source_id else SHOWN_DELIVERIES)
        found = recent(
            session.store, session.connection, entity=entity, source_id=source_id, run_id=run_id, limit=limit
        )
        rows = [asdict(row) for row in found]
    if as_json:
        terminal.as_json({"deliveries": rows})
        return
    lines = [{**row, "at": f"{row['at']:%Y-%m-%d %H:%MZ}", "outcome": row["outcome"] or row["phase"]} for row in rows]
    columns = NARROW_DELIVERIES if terminal.out.width < WIDE else (*NARROW_DELIVERIES, "target_id", "reason")
    terminal.table("Deliveries", lines, columns)
    terminal.say("" if rows else "Nothing was sent.")
