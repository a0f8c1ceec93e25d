"""The catalogue of operations: search with filters in the address, and one operation with its inputs."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from starlette.responses import Response

from sync_pipeline.console.forms import WHOLE
from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.errors import SyncError, UnknownOutcome
from sync_pipeline.mapping.load import load_automations, specs_of
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.operations.catalogue import Operation, counted, events, operation, operations, search, systems
from sync_pipeline.operations.inputs import OperationCall, WrongInputs
from sync_pipeline.printable import json_text
from sync_pipeline.session.session import Session
from sync_pipeline.setup.operations import Result, form_of, refuse, run, shown
from sync_pipeline.webhooks.events import WebhookEvents

HERE = "/settings/operations"
FILTERS = ("q", "system", "kind")
KINDS = {"": "All", "read": "Reads", "write": "Writes", "delete": "Deletes", "held": "Held back"}
PAGE = 50
LONGEST = 250
FIELD = "in."
"""The prefix of form fields with names that the vendor chose."""
SHOWN = 20_000
"""Characters of an answer; the terminal has all of it."""


def show(context: RequestContext) -> Response:
    """GET /settings/operations."""
    values = {name: context.query(name)[:LONGEST] for name in FILTERS}
    found = search(values["q"], system=values["system"], kind=values["kind"])
    text = context.query("from")
    start = int(text) if text.isdecimal() and len(text) < 6 else 0
    asked = {name: value for name, value in values.items() if value}
    return context.page(
        "operations.html",
        "Operations",
        found=found[start : start + PAGE],
        total=len(found),
        first=start + 1,
        every=len(operations()),
        runs=counted(found)["runs"],
        values=values,
        newer=_address(asked, start - PAGE) if start else "",
        older=_address(asked, start + PAGE) if start + PAGE < len(found) else "",
        vendors=systems(),
        options={"system": [("", "Both"), *systems().items()], "kind": list(KINDS.items())},
        automations=_automations(context),
    )


def one(context: RequestContext) -> Response:
    """GET /settings/operations/{name}."""
    return _page(context, operation(context.param("name")), {})


def send(context: RequestContext) -> Response:
    """POST /settings/operations/{name}: show the request, or send the one that was shown."""
    found = operation(context.param("name"))
    names = [each.name for each in found.inputs if each.name not in found.fixed]
    values = {name: text for name in names if (text := context.form.text(FIELD + name))}
    extra: dict[str, Any] = {}
    try:
        with context.setup.session() as session:
            form = form_of(session, found.name, values)
            extra["request"], extra["once"] = json_text(shown(session, form), indent=2), uuid4().hex
            refuse(session, form)
            extra |= {"may_send": True, "digest": hashlib.sha256(extra["request"].encode()).hexdigest()}
            extra |= _sent(context, session, form, extra["digest"])
    except WrongInputs as error:
        for fault in error.faults:
            name = fault.partition(":")[0]
            top = next((each for each in names if name == each or name.startswith((f"{each}.", f"{each}["))), WHOLE)
            context.problems.add(f"{FIELD}{top}" if top else WHOLE, fault)
    except SyncError as error:
        if isinstance(error, UnknownOutcome):
            extra["may_send"] = False  # not offered again before it was looked up
        context.went_wrong(error)
    return _page(context, found, values, **extra)


def _sent(context: RequestContext, session: Session, form: OperationCall, digest: str) -> dict[str, Any]:
    """The page with the result: a read is sent immediately, a write only after its exact request was shown."""
    one = form.operation
    if one.kind != "read" and context.form.text("shown") != digest:
        return {}
    if one.kind == "delete" and context.form.text("typed") != one.name:
        context.problems.add("typed", "Type the operation's name to send it.")
        return {}
    once = "" if one.kind == "read" else f"console {context.form.text('once')[:LONGEST]}"
    return {"result": _shown(run(context.setup, session, form, once=once)), "may_send": False}


def _shown(result: Result) -> dict[str, Any]:
    text = "" if result.data is None else json_text(result.data, indent=2)
    return {
        "status": result.status,
        "id": result.target_id,
        "earlier": result.earlier,
        "found": result.found,
        "text": text[:SHOWN],
        "is_cut": len(text) > SHOWN,
    }


def _page(context: RequestContext, found: Operation, values: dict[str, str], **extra: Any) -> Response:
    usual = {"request": "", "digest": "", "once": "", "may_send": False, "result": None}
    return context.page(
        "operation.html",
        found.name,
        found=found,
        system=systems()[found.system],
        typed=values,
        automations=_automations(context).get(found.name, ()),
        **{**usual, **extra},
    )


def _automations(context: RequestContext) -> dict[str, list[EntitySpec]]:
    """The automations that use an operation, by its name; none while the mappings cannot be read."""
    used: dict[str, list[EntitySpec]] = {}
    with suppress(SyncError):
        for spec in load_automations(context.setup.settings()).values():
            used.setdefault(spec.target.operation, []).append(spec)
    return used


def show_events(context: RequestContext) -> Response:
    """GET /settings/operations/events."""
    wakes = WebhookEvents.of(list(specs_of(context.setup.settings()).values())).entity_of
    q, system = context.query("q")[:LONGEST], context.query("system")
    words = q.lower().split()
    found = [
        (each, wakes(each.name))
        for each in events()
        if system in ("", each.system) and all(word in each.name.lower() for word in words)
    ]
    return context.page(
        "operation_events.html",
        "Events",
        found=found,
        every=len(events()),
        values={"q": q, "system": system},
        vendors=systems(),
        options={"system": [("", "Both"), *systems().items()]},
    )


def _address(asked: dict[str, str], start: int) -> str:
    return f"{HERE}?{urlencode({**asked, 'from': max(start, 0)})}"
