"""`records`: what is known of single records."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click
import orjson

from sync_pipeline import terminal
from sync_pipeline.cli.opening import must_exist, reading
from sync_pipeline.cli.options import json_option
from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.load import specs_of
from sync_pipeline.session.session import open_session
from sync_pipeline.store.records import Known

COLUMNS = ("at", "kind", "what", "outcome", "by", "detail", "run_id")
NARROW_COLUMNS = ("at", "kind", "what", "outcome", "detail")
WIDE = 120


@click.group()
def records() -> None:
    """Look at single records, and their history."""


@records.command("history")
@click.argument("entity")
@click.argument("source_id", metavar="ID")
@click.option("--limit", type=click.IntRange(1, 10_000), default=200, show_default=True, help="How many lines.")
@json_option
def records_history(entity: str, source_id: str, limit: int, as_json: bool) -> None:
    """Show what happened to one record. Oldest first: events, writes, rejects, approvals."""
    with reading() as settings, open_session(settings) as session:
        ledger = session.ledger(entity)
        found = ledger.history.of_record(ledger.lookup([source_id]).get(source_id), source_id, limit)
        is_off = entity not in session.specs
    if found.record is None and not found.happenings:
        must_exist(specs_of(settings), [entity])
        off = f" {_off(entity)}" if is_off else ""
        raise ConfigError(
            f"Nothing is known of {entity} {source_id}.", fix=f"The ID is that of the record at its source.{off}"
        )
    rows = [{**asdict(one), "changes": orjson.loads(one.changes or "null")} for one in found.happenings]
    if as_json:
        record = _document(found.record) if found.record is not None else None
        terminal.as_json({"record": record, "history": rows, "is_cut": found.is_cut, "is_switched_on": not is_off})
        return
    some = f" (the newest {limit}; --limit shows more)" if found.is_cut else ""
    lines = [{**row, "detail": _detail(row)} for row in rows]
    columns = NARROW_COLUMNS if terminal.out.width < WIDE else COLUMNS
    terminal.table(f"{entity} {source_id}{some}", lines, columns)
    terminal.hint(_state(found.record) if found.record is not None else "It is not stored now.")
    if is_off:
        terminal.hint(_off(entity))


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
    """What is stored now, but for the values of its fields."""
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
