"""`operations`: the catalogue of both APIs - list, search and show operations and events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.opening import reading
from sync_pipeline.cli.options import json_option
from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.load import specs_of
from sync_pipeline.operations.catalogue import (
    KINDS,
    Event,
    Operation,
    counted,
    events,
    operation,
    search,
    systems,
)
from sync_pipeline.webhooks.events import WebhookEvents


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--triggers", is_flag=True, help="Events, in place of operations."),
        click.option("--kind", type=click.Choice([*KINDS, "held"]), default=None, help="Only these."),
        click.option("--system", type=click.Choice(list(systems())), default=None, help="Only those of one API."),
    ):
        command = option(command)
    return command


@click.group()
def operations() -> None:
    """Find operations of both APIs. They are described here as the vendors' documents have them."""


@operations.command("list")
@_filters
@json_option
def operations_list(system: str | None, kind: str | None, triggers: bool, as_json: bool) -> None:
    """List operations, or events with --triggers."""
    _list("", system, kind, triggers, as_json)


@operations.command("search")
@click.argument("words", nargs=-1, required=True)
@_filters
@json_option
def operations_search(
    words: tuple[str, ...], system: str | None, kind: str | None, triggers: bool, as_json: bool
) -> None:
    """Search by words. All of them have to be in a name, sentence, path or input."""
    _list(" ".join(words), system, kind, triggers, as_json)


def _list(words: str, system: str | None, kind: str | None, triggers: bool, as_json: bool) -> None:
    if triggers:
        _list_events([one for one in events() if system in (None, one.system) and _has(one, words)], as_json)
        return
    found = search(words, system=system or "", kind=kind or "")
    if as_json:
        terminal.as_json({"operations": [described(one) for one in found], "counts": counted(found)})
        return
    rows = [
        {"name": one.name, "kind": one.kind, "held": "held" if one.held else "", "what": one.title} for one in found
    ]
    terminal.table("Operations", rows, ("name", "kind", "held", "what"), optional=("held",))
    count = counted(found)
    terminal.hint(
        f"{len(found)} operations; {count['runs']} of them can be run. `sync-pipeline operations show NAME` has the inputs."
        if found
        else "No operation has all these words."
    )


def _has(one: Event, words: str) -> bool:
    return all(word in one.name.lower() for word in words.lower().split())


def _list_events(found: Sequence[Event], as_json: bool) -> None:
    wakes = _wakes()
    rows = [{"name": one.name, "system": one.system, "wakes": wakes(one.name)} for one in found]
    if as_json:
        terminal.as_json({"events": rows})
        return
    terminal.table("Events", rows)
    terminal.hint(f"{len(rows)} events; {sum(bool(row['wakes']) for row in rows)} of them wake an entity here.")


def _wakes() -> Callable[[str], str | None]:
    with reading() as settings:
        return WebhookEvents.of(list(specs_of(settings).values())).entity_of


@operations.command("show")
@click.argument("name")
@click.option("--triggers", is_flag=True, help="An event, in place of an operation.")
@json_option
def operations_show(name: str, triggers: bool, as_json: bool) -> None:
    """Show one operation with its inputs."""
    if triggers:
        found = [one for one in events() if one.name == name]
        if not found:
            raise ConfigError(f"There is no event {name}.", fix="`sync-pipeline operations list --triggers` has them.")
        _list_events(found, as_json)
        return
    one = operation(name)
    if as_json:
        terminal.as_json({"operation": described(one)})
        return
    terminal.say(f"{one.name}: {one.title}")
    terminal.say(f"  {one.sends}")
    for label, value in _facts(one):
        terminal.say(f"  {label:<10} {value}")
    rows: list[Mapping[str, Any]] = [
        {
            "input": each.name,
            "in": each.place,
            "required": "yes" if each.required else "",
            "type": one.words_of(each.type),
        }
        for each in one.inputs
    ]
    if rows:
        terminal.table("Inputs", rows)


def _facts(one: Operation) -> list[tuple[str, str]]:
    facts = (
        ("kind", one.kind),
        ("held", one.held),
        ("scope", one.scope),
        ("token", " or ".join(one.tokens)),
        ("sandbox", "yes" if one.sandbox else "no"),
        ("docs", one.docs),
    )
    return [(label, value) for label, value in facts if value]


def described(one: Operation) -> dict[str, Any]:
    """An operation as JSON."""
    return {
        "name": one.name,
        "system": one.system,
        "kind": one.kind,
        "says": one.says,
        "method": one.method,
        "path": one.path,
        "runs": one.runs,
        "held": one.held or None,
        "scope": one.scope or None,
        "tokens": list(one.tokens),
        "sandbox": one.sandbox,
        "docs": one.docs,
        "inputs": [
            {"name": each.name, "in": each.place, "required": each.required, "type": one.words_of(each.type)}
            for each in one.inputs
        ],
    }
