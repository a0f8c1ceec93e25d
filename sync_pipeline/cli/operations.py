"""`operations`: the catalogue of both APIs - list, search and show operations and events, and run an operation."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.exit_codes import ExitCode
from sync_pipeline.cli.opening import prepared, reading
from sync_pipeline.cli.options import describe_document, json_option, may_ask
from sync_pipeline.cli.questions import confirm
from sync_pipeline.connectors.operations import rows_of
from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.load import specs_of
from sync_pipeline.operations.catalogue import (
    KINDS,
    CatalogueEvent,
    Operation,
    counted,
    events,
    operation,
    search,
    systems,
)
from sync_pipeline.operations.inputs import OperationCall
from sync_pipeline.printable import json_text, spreadsheet_cell
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.setup.operations import Result, form_of, pages, refuse, run, scarce, shown
from sync_pipeline.setup.service import SetupService, actor
from sync_pipeline.webhooks.events import WebhookEvents

FORMATS = ("table", "csv", "json")
WIDE = 6
"""So many columns a table has."""
FIRST = ("id", "name", "title", "status")


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--triggers", is_flag=True, help="Events instead of operations."),
        click.option("--kind", type=click.Choice([*KINDS, "held"]), default=None, help="Only this kind."),
        click.option("--system", type=click.Choice(list(systems())), default=None, help="Only this API."),
    ):
        command = option(command)
    return command


@click.group()
def operations() -> None:
    """Find and run operations of both APIs. They are described as in the vendors' documents."""


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
    terminal.emit(
        as_json,
        lambda: {"operations": [described(one) for one in found], "counts": counted(found)},
        lambda: _show_operations(found),
    )


def _show_operations(found: Sequence[Operation]) -> None:
    rows = [
        {"name": one.name, "kind": one.kind, "held": "held" if one.held else "", "what": one.title} for one in found
    ]
    terminal.table("Operations", rows, ("name", "kind", "held", "what"), optional=("held",))
    count = counted(found)
    terminal.hint(
        f"Operations that can be run: {count['runs']} of {len(found)}. `sync-pipeline operations show NAME` has the inputs."
        if found
        else "No operation has all these words."
    )


def _has(one: CatalogueEvent, words: str) -> bool:
    return all(word in one.name.lower() for word in words.lower().split())


def _list_events(found: Sequence[CatalogueEvent], as_json: bool) -> None:
    wakes = _wakes()
    rows = [{"name": one.name, "system": one.system, "wakes": wakes(one.name)} for one in found]

    def show() -> None:
        terminal.table("Events", rows)
        terminal.hint(f"Events that wake an entity here: {sum(bool(row['wakes']) for row in rows)} of {len(rows)}.")

    terminal.emit(as_json, {"events": rows}, show)


def _wakes() -> Callable[[str], str | None]:
    with reading() as settings:
        return WebhookEvents.of(list(specs_of(settings).values())).entity_of


@operations.command("show")
@click.argument("name")
@click.option("--triggers", is_flag=True, help="An event instead of an operation.")
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
    document = described(one)
    terminal.emit(as_json, {"operation": document}, lambda: _show_operation(one, document["inputs"]))


def _show_operation(one: Operation, inputs: Sequence[Mapping[str, Any]]) -> None:
    facts = (f"  {label:<10} {value}" for label, value in _facts(one))
    terminal.say(f"{one.name}: {one.title}", f"  {one.sends}", *facts)
    rows = [{"input": each["name"], **each, "required": "yes" if each["required"] else ""} for each in inputs]
    terminal.table("Inputs", rows, ("input", "in", "required", "type"))


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


@operations.command("run")
@click.argument("name")
@click.option(
    "--field",
    "-f",
    "fields",
    metavar="NAME=VALUE",
    multiple=True,
    help="An input. Repeat it for more inputs, or for each value of a list.",
)
@click.option("--dry-run", is_flag=True, help="Show the request; nothing is sent.")
@click.option("--yes", is_flag=True, help="Do not ask before a write.")
@click.option("--delete", "typed", metavar="NAME", default="", help="Confirms an operation that deletes, by its name.")
@click.option(
    "--once", metavar="KEY", default="", help="Send it only once for this key, however often the command is run."
)
@click.option("--all", "every", is_flag=True, help="Read every page of a list.")
@click.option(
    "--format", "form_", type=click.Choice(FORMATS), default="table", show_default=True, help="Output format."
)
@json_option
def operations_run(name: str, fields: tuple[str, ...], form_: str, as_json: bool, **more: Any) -> None:
    """Run one operation. A write shows its request and asks; a delete asks for its name."""
    if (form_ == "json") and not as_json:
        describe_document(click.get_current_context())
    output = "json" if as_json else form_
    given, setup = _given(fields), SetupService(actor("terminal"))
    with prepared() as settings, open_session(settings) as session:
        form = form_of(session, name, given)
        if more["dry_run"]:
            _show_request(session, form, output)
            return
        refuse(session, form)
        _spare(session, form, output, yes=more["yes"])
        if more["every"]:
            _show(form, Result(None, [row for page in pages(session, _read(form)) for row in page]), session, output)
            return
        _ask(session, form, output, yes=more["yes"], typed=more["typed"])
        _show(form, run(setup, session, form, once=more["once"]), session, output)


def _spare(session: Session, form: OperationCall, output: str, *, yes: bool) -> None:
    """Before the last tenth of the hour's budget is used: ask at a terminal, and print a note elsewhere."""
    if not (left := scarce(session, form)):
        return
    if yes or output == "json" or not may_ask():
        terminal.warning(left)
    else:
        click.confirm(f"{left} Use one?", abort=True, err=True)


def _given(fields: tuple[str, ...]) -> dict[str, Any]:
    """The inputs by name; those that come again are lists."""
    found: dict[str, Any] = {}
    for field in fields:
        name, is_there, value = field.partition("=")
        if not is_there:
            raise click.UsageError(f"-f {field!r} has no value: write -f NAME=VALUE.")
        if name not in found:
            found[name] = value
        else:
            found[name] = [*(found[name] if isinstance(found[name], list) else [found[name]]), value]
    return found


def _read(form: OperationCall) -> OperationCall:
    if form.operation.kind != "read":
        raise click.UsageError("--all is for lists.")
    return form


def _ask(session: Session, form: OperationCall, output: str, *, yes: bool, typed: str) -> None:
    """Show a write, and ask for confirmation; a delete is confirmed by typing its name."""
    one = form.operation
    if one.kind == "read":
        return
    request = shown(session, form)
    for line in _lines_of(request):
        terminal.notice(line)
    if one.kind != "delete":
        confirm("Send it?", yes=yes, as_json=output == "json")
        return
    if not typed and output != "json" and may_ask():
        typed = click.prompt(f"This deletes data. Type {one.name} to send it", err=True)
    if typed != one.name:
        raise click.UsageError(f"A delete has to be confirmed: add --delete {one.name}.")


def _lines_of(request: Mapping[str, Any]) -> list[str]:
    body = json_text(request["body"], indent=2).splitlines() if "body" in request else []
    return [f"{request['method']} {request['url']}", *body]


def _show_request(session: Session, form: OperationCall, output: str) -> None:
    request = shown(session, form)

    def show() -> None:
        terminal.say(*_lines_of(request))
        terminal.hint("Not sent.")

    terminal.emit(output == "json", {"operation": form.operation.name, "sent": False, "request": request}, show)


def _show(form: OperationCall, result: Result, session: Session, output: str) -> None:
    terminal.emit(
        output == "json", lambda: _document(form, result, session), lambda: _show_result(form, result, output)
    )
    if result.earlier is not None and result.earlier.state in ("sent", "unknown"):
        raise SystemExit(ExitCode.UNKNOWN_OUTCOME)
    if result.earlier is not None and result.earlier.state == "refused":
        raise SystemExit(ExitCode.FAILED)


def _document(form: OperationCall, result: Result, session: Session) -> dict[str, Any]:
    earlier = result.earlier
    return {
        "operation": form.operation.name,
        "sent": earlier is None,
        "request": shown(session, form),
        "status": result.status,
        "id": result.target_id,
        "found_again": result.found,
        "earlier": earlier and {"state": earlier.state, "at": earlier.at, "by": earlier.by},
        "answer": result.data,
    }


def _show_result(form: OperationCall, result: Result, output: str) -> None:
    if (earlier := result.earlier) is not None:
        state = {"sent": "unknown, because it was interrupted"}.get(earlier.state, earlier.state)
        terminal.say(f"Nothing was sent: this key was used {terminal.moment(earlier.at)}. The outcome is {state}.")
        return
    _show_rows([row if isinstance(row, dict) else {"value": row} for row in rows_of(result.data)], output)
    if result.found:
        terminal.warning("The answer was lost. The record was looked up and exists.")
    elif form.operation.kind != "read":
        terminal.hint(f"Done{f': id {result.target_id}' if result.target_id else ''}.")


def _show_rows(rows: Sequence[Mapping[str, Any]], output: str) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    if output == "csv":
        out = csv.writer(sys.stdout, lineterminator="\n")
        out.writerow(map(spreadsheet_cell, names))
        out.writerows([spreadsheet_cell(_flat(row.get(name))) for name in names] for row in rows)
        return
    plain = [name for name in names if not any(isinstance(row.get(name), dict | list) for row in rows)]
    columns = [*(name for name in FIRST if name in plain), *(name for name in plain if name not in FIRST)][:WIDE]
    if columns:
        terminal.table("", rows, columns)
    terminal.hint(f"Rows: {len(rows)}. --json has all fields." if rows else "The answer is empty.")


def _flat(value: Any) -> Any:
    return json_text(value) if isinstance(value, dict | list) else value
