"""`rejects`: what was set aside, why, and once more."""

from __future__ import annotations

from dataclasses import asdict

import click

from sync_pipeline.cli.opening import chosen, opened, prepared
from sync_pipeline.cli.options import entity_option, json_option
from sync_pipeline.errors import ConfigError


@click.group()
def rejects() -> None:
    """Look at the records that were set aside, and try them again."""


@rejects.command("list")
@entity_option
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="How many to show.")
@json_option
def rejects_list(entity: str | None, limit: int, as_json: bool) -> None:
    """List the open rejects with their reasons."""
    from sync_pipeline import terminal
    from sync_pipeline.store.rejects import list_rejects

    with prepared() as settings, opened(settings) as session:
        chosen(session, entity)
        rows = [asdict(row) for row in list_rejects(session.store, session.connection, entity=entity, limit=limit)]
    if as_json:
        terminal.as_json({"rejects": rows})
        return
    terminal.table("Rejects", rows, ("entity", "source_id", "origin", "field", "rule", "reason"))
    terminal.say("" if rows else "Nothing is set aside.")


@rejects.command("show")
@click.argument("entity")
@click.argument("source_id")
@json_option
def rejects_show(entity: str, source_id: str, as_json: bool) -> None:
    """Show every reason, field and value of one record."""
    from sync_pipeline import terminal
    from sync_pipeline.store.rejects import show

    with prepared() as settings, opened(settings) as session:
        chosen(session, entity)
        rows = [asdict(row) for row in show(session.store, session.connection, entity, source_id)]
    if not rows:
        raise ConfigError(
            f"No reject of {entity} has the id {source_id}.", fix="`sync-pipeline rejects list` shows them."
        )
    if as_json:
        terminal.as_json({"rejects": rows})
    else:
        terminal.table(f"{entity} {source_id}", rows, ("origin", "field", "rule", "reason", "value", "at"))


@rejects.command("retry")
@click.argument("source_ids", nargs=-1)
@click.option("--entity", required=True, metavar="ENTITY", help="The entity to retry.")
@json_option
def rejects_retry(source_ids: tuple[str, ...], entity: str, as_json: bool) -> None:
    """Offer refused records - all of an entity, or these - to the target again at the next sync."""
    from sync_pipeline import terminal
    from sync_pipeline.setup.desk import Desk, whoever
    from sync_pipeline.setup.setaside import offer_again
    from sync_pipeline.store.rejects import origins

    with prepared() as settings, opened(settings) as session:
        chosen(session, entity)
        found = origins(session.store, session.connection, entity, source_ids)
        count = offer_again(Desk(whoever("terminal")), entity, source_ids)
    if as_json:
        terminal.as_json({"retried": count})
    else:
        terminal.say(f"{count} refused records of {entity} will be sent again by the next sync.")
    for source_id in source_ids:
        if source_id not in found:
            terminal.warning(f"There is no reject of {entity} with the id {source_id}.")
        elif "target" not in found[source_id]:
            terminal.warning(f"{entity} {source_id} was set aside by a check, which judges it anew at every sync.")
