"""The contract as an OpenAPI 3.1 document: ``openapi.yaml``, filled in from the facts the server checks records with."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from sync_pipeline.sandbox.snapshots.entities import Entity, KnownField
from sync_pipeline.sandbox.snapshots.handlers import MAX_ITEMS
from sync_pipeline.sandbox.snapshots.lists import DEFAULT_LIMIT
from sync_pipeline.sandbox.snapshots.problems import REFUSED_CREDENTIALS
from sync_pipeline.sandbox.snapshots.records import SERVER_FIELDS
from sync_pipeline.sandbox.snapshots.validation import MAX_ID

Node = dict[str, Any]
DESCRIPTION = """\
The generic Snapshots contract. Writes are idempotent upserts that **merge**: a field that is absent is kept, null
clears it. Fields that are not listed here are kept as they are sent. Instants are accepted with any offset and
returned in UTC. A deleted record answers 404 `not_found`; deleting it again succeeds. Errors are RFC 9457 problem
details with a stable `code`. A refused credential is answered with one of these codes:

""" + "\n".join(f"- `{code}`: {meaning}" for code, meaning in REFUSED_CREDENTIALS.items())
CODES = [*REFUSED_CREDENTIALS, "not_found", "rate_limited"]
LIMITS: Node = {"max_id": MAX_ID, "max_items": MAX_ITEMS, "default_limit": DEFAULT_LIMIT, "codes": CODES}


def document(entities: Iterable[Entity], base_url: str) -> Node:
    """The whole contract for these entities, served at ``base_url``."""
    known, paths, schemas = list(entities), Node(), Node()
    for entity in known:
        paths |= _part("paths_of_an_entity", _facts(entity))
        schemas |= _record_schemas(entity)
    facts = {
        "description": DESCRIPTION,
        "base_url": base_url,
        "paths": paths | _part("other_paths", {"page": _part("page", {"item": "ProjectFigures"})}),
        "schemas": schemas | _part("schemas"),
        "scopes": {scope: "" for entity in known for scope in (entity.read_scope, entity.write_scope)}
        | {"analytics.read": ""},
    }
    found: Node = _part("document", facts)
    return found


def _facts(entity: Entity) -> Node:
    window = _part("window_parameters", {"window": entity.window_field}) if entity.window_field else []
    return {
        "entity": entity.name,
        "read": entity.read_scope,
        "write": entity.write_scope,
        "page": _part("page", {"item": entity.name}),
        "list_parameters": _part("list_parameters") + window,
    }


def _record_schemas(entity: Entity) -> Node:
    key: Node = {"type": "string", "minLength": 1, "maxLength": MAX_ID}
    sent = {name: _field(field) for name, field in entity.fields.items()}
    required = [name for name, field in entity.fields.items() if field.required]
    read = {name: _field(field, stored=True) for name, field in entity.fields.items()}
    stamps = {name: {"type": "string", "format": "date-time", "readOnly": True} for name in SERVER_FIELDS}
    return {
        entity.name: {
            "type": "object",
            "required": [entity.id_field, *entity.fields, *stamps],
            "properties": {entity.id_field: key, **read, **stamps},
        },
        f"{entity.name}_write": {
            "type": "object",
            "description": f"To be created it needs: {', '.join(required) or 'its id alone'}.",
            "properties": {entity.id_field: key, **sent},
        },
    }


def _field(field: KnownField, *, stored: bool = False) -> Node:
    schema: Node = dict(_part("types")[field.kind])
    if field.kind in {"text", "email"}:
        schema["maxLength"] = field.max_length
    if field.kind == "list":
        schema["maxItems"] = field.max_length
    if not (stored and field.required):
        schema["type"] = [schema["type"], "null"]
    return schema


def _part(name: str, facts: Node | None = None) -> Any:
    return _filled(_template()[name], LIMITS | (facts or {}))


def _filled(node: Any, facts: Node) -> Any:
    """The node with its words replaced: a text that is one word by the fact itself, whatever it is."""
    if isinstance(node, dict):
        return {_filled(name, facts): _filled(child, facts) for name, child in node.items()}
    if isinstance(node, list):
        return [_filled(child, facts) for child in node]
    if not isinstance(node, str) or "{{" not in node:
        return node
    if (word := node[2:-2]) in facts and node == f"{{{{{word}}}}}":
        return facts[word]
    for word, fact in facts.items():
        node = node.replace(f"{{{{{word}}}}}", str(fact))
    return node


@cache
def _template() -> Node:
    found: Node = yaml.safe_load(files(__package__).joinpath("openapi.yaml").read_text("utf-8"))
    return found
