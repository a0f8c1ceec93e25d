"""The catalogue of operations: search with filters in the address, and one operation with its inputs."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.responses import Response

from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.mapping.load import specs_of
from sync_pipeline.operations.catalogue import counted, events, operation, operations, search, systems
from sync_pipeline.webhooks.events import WebhookEvents

HERE = "/settings/operations"
FILTERS = ("q", "system", "kind")
KINDS = {"": "All", "read": "Reads", "write": "Writes", "delete": "Deletes", "held": "Held back"}
PAGE = 50
LONGEST = 250


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
        systems=systems(),
        options={"system": [("", "Both"), *systems().items()], "kind": list(KINDS.items())},
    )


def one(context: RequestContext) -> Response:
    """GET /settings/operations/{name}."""
    found = operation(context.param("name"))
    return context.page("operation.html", found.name, found=found, system=systems()[found.system])


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
        systems=systems(),
        options={"system": [("", "Both"), *systems().items()]},
    )


def _address(asked: dict[str, str], start: int) -> str:
    return f"{HERE}?{urlencode({**asked, 'from': max(start, 0)})}"
