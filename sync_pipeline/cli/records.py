"""`records`: searching, looking at and syncing single records."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from shlex import quote
from typing import Any
from uuid import uuid4

import click
import orjson

from sync_pipeline import terminal
from sync_pipeline.cli.exit_codes import ExitCode, worst
from sync_pipeline.cli.opening import must_exist, prepared, reading
from sync_pipeline.cli.options import OPTIONAL_COLUMNS, entity_argument, json_option
from sync_pipeline.cli.runs import full_run_id
from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.load import specs_of
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.setup.records import RecordDetails, find_records, record_details
from sync_pipeline.store.audit import system_user
from sync_pipeline.store.history import RecordHistory
from sync_pipeline.store.record_search import COUNTED, OF_REJECTS, PAGE, STATES, RecordRow, RecordsFound
from sync_pipeline.store.records import Known
from sync_pipeline.store.syncs import Cause

COLUMNS = ("at", "kind", "what", "outcome", "by", "detail", "run_id")
NARROW_COLUMNS = ("at", "kind", "what", "outcome", "detail")
LISTED = ("entity", "id", "name", "state", "reason", "at")
WIDE = 120
NONEXISTENT = (
    "The source has no record with this id, and the store has none either. ID is the record's id at its source."
)


@click.group()
def records() -> None:
    """Search, look at and sync single records."""


@records.command("list")
@entity_argument
@click.option(
    "--query", "-Q", default="", metavar="TEXT", help="An exact id or e-mail address, or the beginning of a name."
)
@click.option("--state", type=click.Choice(STATES), help="Only records in this state.")
@click.option("--reason", default="", metavar="TEXT", help="Only with exactly this reason; with --state rejected.")
@click.option("--run", default="", metavar="ID", help="Only what this run wrote or rejected.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=PAGE, show_default=True, help="How many to show.")
@json_option
def records_list(
    entity: str | None, query: str, state: str | None, reason: str, run: str, limit: int, as_json: bool
) -> None:
    """Search records by id, e-mail, name or state."""
    if reason and state not in OF_REJECTS:
        raise click.UsageError(f"--reason needs --state {', '.join(OF_REJECTS)}.")
    with reading() as settings, open_session(settings) as session:
        must_exist(specs_of(settings), [entity] if entity else [])
        run = full_run_id(session, run)
        found = find_records(
            session, entity=entity or "", limit=limit, q=query, state=state or "", reason=reason, run=run
        )
    document = {"records": [row._asdict() for row in found.rows], "total": found.total}
    terminal.emit(as_json, document, lambda: _list(found))


def _list(found: RecordsFound) -> None:
    rows = [_row(row) for row in found.rows]
    terminal.table("Records", rows, LISTED, optional=("reason",), empty="No record is found.")
    if rows and found.total > len(rows):
        more = f"more than {COUNTED:,}" if found.total > COUNTED else f"{found.total:,}"
        terminal.hint(f"These are {len(rows)} of {more}; --limit shows more.")


@records.command("show")
@click.argument("entity")
@click.argument("source_id", metavar="ID")
@json_option
def records_show(entity: str, source_id: str, as_json: bool) -> None:
    """Show one record: the desired and the actual state."""
    with reading() as settings, open_session(settings) as session:
        must_exist(specs_of(settings), [entity])
        found = record_details(session, entity, source_id)
    if found is None:
        raise _unknown(entity, source_id)
    document = {
        **found.row._asdict(),
        "target": found.target,
        "fields": [asdict(one) for one in found.fields],
        "rejects": [asdict(one) for one in found.why],
        "pages": dict(found.pages),
    }
    terminal.emit(as_json, document, lambda: _show(entity, source_id, found))


def _show(entity: str, source_id: str, found: RecordDetails) -> None:
    terminal.table("Record", [_row(found.row)], (*LISTED, "target_id"))
    fields = [
        {
            "field": one.name,
            "differs": "yes" if one.differs else "",
            "wanted": _text(one.wanted),
            "there": _text(one.there),
        }
        for one in found.fields
    ]
    terminal.table("Fields", fields, optional=("differs",))
    terminal.say(*found.pages.values())
    for why in found.why:
        terminal.warning(why.reason)
    terminal.hint(f"`sync-pipeline records history {entity} {quote(source_id)}` shows what happened to it.")


@records.command("sync")
@click.argument("entity")
@click.argument("source_ids", metavar="ID...", nargs=-1, required=True)
@json_option
def records_sync(entity: str, source_ids: tuple[str, ...], as_json: bool) -> None:
    """Read records again and sync them now."""
    from sync_pipeline.cli.compare import counts_row  # late: pandas takes half a second to import
    from sync_pipeline.stages.targeted import sync_ids

    with prepared() as settings, open_session(settings) as session, terminal.progress():
        must_exist(session.specs, [entity])
        if not session.mode.writes:
            terminal.warning(f"Nothing was sent: {session.mode.why}.")
            sys.exit(ExitCode.HELD)
        session.cause = Cause("terminal", system_user())
        found = sync_ids(session, session.specs[entity], source_ids, run_id=f"records-{uuid4()}")
    counts, left = asdict(found.counts), {**found.left, **dict.fromkeys(sorted(found.nonexistent), NONEXISTENT)}

    def show() -> None:
        if found.nonexistent != set(source_ids):
            terminal.table("Synced", [counts_row(entity, counts)], optional=OPTIONAL_COLUMNS)
        for source_id, why in left.items():
            terminal.problem(f"{entity} {source_id}: {why}")

    terminal.emit(as_json, {"counts": counts, "left": left, "held": sorted(found.held)}, show)
    failed = [ExitCode.FAILED] if found.left.keys() - found.held else []
    unknown = [ExitCode.USAGE] if found.nonexistent else []
    sys.exit(worst([*unknown, *failed, *([ExitCode.HELD] if found.held else [])]))


@records.command("history")
@click.argument("entity")
@click.argument("source_id", metavar="ID")
@click.option("--limit", type=click.IntRange(1, 10_000), default=200, show_default=True, help="How many lines.")
@json_option
def records_history(entity: str, source_id: str, limit: int, as_json: bool) -> None:
    """Show what happened to one record. Oldest first: events, writes, open rejects, approvals."""
    with reading() as settings, open_session(settings) as session:
        found = read_history(session, entity, source_id, limit)
        is_off = entity not in session.specs
    document = history_document(found, is_off=is_off)

    def show() -> None:
        some = f" (the newest {limit}; --limit shows more)" if found.is_cut else ""
        _show_history(f"{entity} {source_id}{some}", document["history"], found.record)
        if is_off:
            terminal.hint(_off(entity))

    terminal.emit(as_json, document, show)


def _show_history(title: str, rows: Sequence[dict[str, Any]], record: Known | None) -> None:
    lines = [{**row, "detail": _detail(row)} for row in rows]
    columns = NARROW_COLUMNS if terminal.out.width < WIDE else COLUMNS
    terminal.table(title, lines, columns)
    terminal.hint(_state(record) if record is not None else "It is not stored now.")


def read_history(session: Session, entity: str, source_id: str, limit: int) -> RecordHistory:
    """What happened to one record; ConfigError where nothing is known of it."""
    ledger = session.ledger(entity)
    found = ledger.history.of_record(ledger.lookup([source_id]).get(source_id), source_id, limit)
    if found.record is None and not found.happenings:
        must_exist(specs_of(session.settings), [entity])
        raise _unknown(entity, source_id, f" {_off(entity)}" if entity not in session.specs else "")
    return found


def history_document(found: RecordHistory, *, is_off: bool) -> dict[str, Any]:
    """The same as JSON."""
    rows = [{**asdict(one), "changes": orjson.loads(one.changes or "null")} for one in found.happenings]
    record = _document(found.record) if found.record is not None else None
    return {"record": record, "history": rows, "is_cut": found.is_cut, "is_switched_on": not is_off}


def _row(row: RecordRow) -> dict[str, Any]:
    return {**row._asdict(), "name": row.label, "id": row.source_id}


def _unknown(entity: str, source_id: str, off: str = "") -> ConfigError:
    return ConfigError(
        f"Nothing is known of {entity} {source_id}.", fix=f"The ID is that of the record at its source.{off}"
    )


def _text(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else terminal.compact(value)


def _detail(row: dict[str, Any]) -> str | None:
    """The reason, or what a write changed."""
    changed: dict[str, list[object] | None] = row["changes"] or {}
    words = (f"{name}: {shown[0]!r} to {shown[1]!r}" if shown else name for name, shown in changed.items())
    detail: str | None = row["detail"]
    return detail or "; ".join(words) or None


def _off(entity: str) -> str:
    """That nothing of an entity is synced, whatever is stored of it."""
    return f"The entity {entity} is switched off: nothing of it is read or written now."


def _document(record: Known) -> dict[str, object]:
    """What is stored now, except the values of its fields."""
    kept = {name: value for name, value in asdict(record).items() if name != "fields"}
    return {**kept, "state": _state(record)}


def _state(record: Known) -> str:
    """Where it is now, in a sentence."""
    there = "at the target" if record.is_delivered else "not known to be at the target"
    if record.deleted_at is not None:
        return f"It is deleted at the source and {there if record.delivered_hash else 'not at the target'}."
    if record.excluded_rule is not None:
        return f"It is out of scope ({record.excluded_rule}), and {there}."
    if record.delivered_hash == record.fields_hash:
        return "It is at the target and up to date."
    if record.refused_hash == record.fields_hash:
        return "The target refused it in this form."
    return f"It is to be written; it is {there}."
