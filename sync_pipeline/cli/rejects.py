"""`rejects`: which records were rejected, why, and trying them again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.opening import chosen, must_exist, reading, with_names
from sync_pipeline.cli.options import entity_argument, json_option
from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.load import specs_of
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.setup.rejects import accept_outcome, ignore, offer_again, stop_ignoring
from sync_pipeline.setup.service import SetupService, actor
from sync_pipeline.store.rejects import list_rejects

COLUMNS = ("entity", "source_id", "origin", "field", "rule", "reason")


@click.group()
def rejects() -> None:
    """Look at rejected records, and retry them."""


@rejects.command("list")
@entity_argument
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="How many to show.")
@json_option
def rejects_list(entity: str | None, limit: int, as_json: bool) -> None:
    """List the open rejects with their reasons."""
    with reading() as settings, open_session(settings) as session:
        document = rejects_document(session, entity, limit)
    terminal.emit(as_json, document, lambda: _list(document["rejects"]))


def _list(rows: list[dict[str, Any]]) -> None:
    columns = ("name", *COLUMNS) if terminal.out.is_terminal else COLUMNS  # what scripts read stays unchanged
    terminal.table("Rejects", rows, columns, optional=("name",), empty="No record is rejected.")


def rejects_document(session: Session, entity: str | None, limit: int, after: int = 0) -> dict[str, Any]:
    """The open rejects of what is switched on from the id ``after`` on, as JSON."""
    wanted = chosen(session, [entity] if entity else [])
    found = list_rejects(session.store, session.pair, entity=wanted, limit=limit, after=after)
    return {"rejects": with_names(session, [asdict(row) for row in found])}


@rejects.command("show")
@click.argument("entity")
@click.argument("source_id")
@json_option
def rejects_show(entity: str, source_id: str, as_json: bool) -> None:
    """Show why one record is rejected. Every reason, with field and value."""
    with reading() as settings, open_session(settings) as session:
        chosen(session, [entity])
        rows = with_names(session, [asdict(row) for row in session.ledger(entity).rejects.show(source_id)])
    if not rows:
        raise _no_reject(entity, source_id)
    columns = ("origin", "field", "rule", "reason", "value", "at")
    terminal.emit(as_json, {"rejects": rows}, lambda: terminal.table(f"{entity} {source_id}", rows, columns))


def _no_reject(entity: str, source_id: str) -> ConfigError:
    return ConfigError(f"No reject of {entity} has the id {source_id}.", fix="`sync-pipeline rejects list` shows them.")


@rejects.command("ignore")
@click.argument("entity")
@click.argument("source_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--note", default="", metavar="TEXT", help="Why; the audit trail keeps it.")
@click.option("--undo", is_flag=True, help="Ignore them no more.")
@json_option
def rejects_ignore(entity: str, source_ids: tuple[str, ...], note: str, undo: bool, as_json: bool) -> None:
    """Ignore rejects until their reason changes."""
    setup = SetupService(actor("terminal"))
    must_exist(specs_of(setup.settings()), [entity])
    count = stop_ignoring(setup, entity, source_ids) if undo else ignore(setup, entity, source_ids, note)
    what = "count again" if undo else "are ignored until they change"
    terminal.emit(as_json, {"reasons": count, "ignored": not undo}, f"{count} reasons {what}.")


@rejects.command("accept")
@click.argument("entity")
@click.argument("source_ids", metavar="ID...", nargs=-1, required=True)
@json_option
def rejects_accept(entity: str, source_ids: tuple[str, ...], as_json: bool) -> None:
    """Settle what an automation may have made. Nothing more is made for these records."""
    count = accept_outcome(SetupService(actor("terminal")), entity, source_ids)
    said = f"{count} records of {entity} are settled: nothing more is made for them."
    terminal.emit(as_json, {"accepted": count}, said)


@rejects.command("retry")
@click.argument("words", metavar="ENTITY [ID...]", nargs=-1)
@click.option("--entity", metavar="ENTITY", hidden=True, help="The entity to retry.")
@json_option
def rejects_retry(words: tuple[str, ...], entity: str | None, as_json: bool) -> None:
    """Send refused records again with the next sync. All of an entity, or those named."""
    if entity is None:
        if not words:
            raise click.UsageError("Missing argument 'ENTITY'.")
        entity, words = words[0], words[1:]
    source_ids = words
    with reading() as settings, open_session(settings) as session:
        chosen(session, [entity])
        found, known = session.ledger(entity).rejects.origins(source_ids), session.ledger(entity).lookup(source_ids)
        if source_ids and not found and all(known[one].is_tombstone for one in source_ids if one in known):
            if as_json:
                terminal.as_json({"retried": 0})
            raise _no_reject(entity, ", ".join(source_ids))
        count = offer_again(SetupService(actor("terminal")), entity, source_ids)
    said = f"{count} refused records of {entity} will be sent again by the next sync."
    terminal.emit(as_json, {"retried": count}, said)
    for source_id in source_ids:
        if source_id not in found:
            terminal.warning(f"There is no reject of {entity} with the id {source_id}.")
        elif "target" not in found[source_id]:
            terminal.warning(f"{entity} {source_id} was rejected by a check, which is run again on every sync.")
