"""Inputs for every operation of the catalogue, made from their types."""

from __future__ import annotations

from typing import Any

from sync_pipeline.operations.catalogue import Operation, Type

BASIC: dict[str, Any] = {
    "string": "text",
    "integer": 1,
    "number": 1,
    "boolean": True,
    "date": "2026-03-02",
    "date-time": "2026-03-02T09:00:00Z",
    "email": "person@example.com",
    "uri": "https://example.com/page",
    "binary": "content",
    "object": {},
    "any": "anything",
}
NAMED: dict[str, Any] = {
    "timezone": "Europe/Berlin",
    "from": "09:00",
    "to": "17:00",
    "date": "2026-03-02",
    "sort": [{"field": "createdAt", "direction": "asc"}],
    "customFields": [{"id": "f1", "field_value": "text"}],
    "textBoxListOptions": [{"label": "text", "prefillValue": ""}],
}
"""Where HighLevel's documents have more than a type: a pattern, or several forms."""
DEPTH = 6
KNOWN = {"workspaceId": "w1", "locationId": "l1", "location_id": "l1"}


def sample_of(one: Operation, *, every: bool) -> dict[str, Any]:
    """A value for each input that has to be given, or for every one."""
    return {
        each.name: _named(one, each.name, each.type, every=every)
        for each in one.inputs
        if (every or each.required) and each.name not in one.fixed
    }


def value_of(one: Operation, kind: Type, *, every: bool, depth: int = DEPTH) -> Any:
    """A value of a type."""
    kind = one.resolved(kind)
    if isinstance(kind, list):
        return kind[-1]
    if isinstance(kind, str):
        return BASIC[kind]
    if "list" in kind:
        return [value_of(one, kind["list"], every=every, depth=depth - 1)] if depth else []
    if "map" in kind:
        return {"name": value_of(one, kind["map"], every=every, depth=depth - 1)}
    names = [name for name in kind["fields"] if (every and depth) or name in kind.get("required", ())]
    return {name: _named(one, name, kind["fields"][name], every=every, depth=depth - 1) for name in names}


def _named(one: Operation, name: str, kind: Type, *, every: bool, depth: int = DEPTH) -> Any:
    found = value_of(one, kind, every=every, depth=depth)
    return NAMED[name] if one.version and name in NAMED and type(found) is type(NAMED[name]) else found
