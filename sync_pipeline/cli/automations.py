"""`automations`: lists them with what they have made, and switches them on and off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.options import json_option
from sync_pipeline.cli.questions import confirm
from sync_pipeline.setup.automations import (
    Automation,
    list_automations,
    preview_automation,
    show_automation,
    switch_off,
    switch_on,
)
from sync_pipeline.setup.service import SetupService, actor

COLUMNS = ("name", "state", "does", "made", "rejected", "needs")


@click.group()
def automations() -> None:
    """Make something once for each new record."""


@automations.command("list")
@json_option
def automations_list(as_json: bool) -> None:
    """List automations, and what they made in a week."""
    found = list_automations(SetupService(actor("terminal")))
    document = {"automations": [_document(one) for one in found]}
    terminal.emit(as_json, document, lambda: terminal.table("Automations", [_row(one) for one in found], COLUMNS))


@automations.command("show")
@click.argument("name")
@json_option
def automations_show(name: str, as_json: bool) -> None:
    """Show one automation, with what it asks for."""
    one = show_automation(SetupService(actor("terminal")), name)
    terminal.emit(as_json, _document(one), lambda: _show(one))


def _show(one: Automation) -> None:
    rows = [{"field": "what it does", "value": one.sentence}, {"field": "description", "value": one.description}]
    rows += [{"field": name, "value": str(value)} for name, value in _row(one).items() if name not in ("name", "does")]
    rows += [{"field": "operation", "value": one.operation}, {"field": "reads", "value": one.source}]
    rows += [
        {"field": ask.field, "value": f"{'(not set)' if ask.value is None else ask.value}: {ask.says}"}
        for ask in one.asks
    ]
    terminal.table(one.name, rows, ("field", "value"))


@automations.command("on")
@click.argument("name")
@click.option("--set", "values", metavar="FIELD=VALUE", multiple=True, help="A value that it asks for.")
@click.option("--backfill", is_flag=True, help="Include existing records: make something for each of them, too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def automations_on(name: str, values: Sequence[str], backfill: bool, yes: bool, as_json: bool) -> None:
    """Switch an automation on. What exists already is left alone, unless --backfill is given."""
    setup, given = SetupService(actor("terminal")), dict(_pair(text) for text in values)
    is_on = show_automation(setup, name).is_on and not backfill
    if not (yes or is_on):
        existing = preview_automation(setup, name, given).records
        what = "Something is made for each of them" if backfill else "They are left alone"
        confirm(f"Existing records: {existing:,}. {what}. Switch {name} on?", yes=yes, as_json=as_json)
    count = switch_on(setup, name, given, backfill=backfill)
    what = "included in the next syncs" if backfill else "left alone"
    was_on = f"{name} was on already" + (", and has new values." if given else ".")

    def show() -> None:
        terminal.say(was_on if is_on else f"{name} is on. Existing records {what}: {count:,}.")
        terminal.hint("A Dagster that is running shows it once its code location is reloaded.")

    terminal.emit(as_json, {"name": name, "on": True, "existing": count, "backfill": backfill}, show)


@automations.command("off")
@click.argument("name")
@json_option
def automations_off(name: str, as_json: bool) -> None:
    """Switch an automation off. What it has made stays."""
    switch_off(SetupService(actor("terminal")), name)
    terminal.emit(as_json, {"name": name, "on": False}, f"{name} is off. What it has made stays.")


def _pair(text: str) -> tuple[str, str]:
    field, separator, value = text.partition("=")
    if not separator or not field.strip():
        raise click.UsageError(f"--set takes FIELD=VALUE, found {text!r}.")
    return field.strip(), value


def _row(one: Automation) -> dict[str, Any]:
    needs = one.obstacle or ", ".join(one.lacks)
    state = "on" if one.is_on else "off"
    return {
        "name": one.name,
        "state": state,
        "does": one.sentence,
        "made": one.made,
        "rejected": one.rejected,
        "needs": needs,
    }


def _document(one: Automation) -> dict[str, Any]:
    return {**asdict(one), "sentence": one.sentence, "lacks": list(one.lacks)}
