"""Write the facts of Clockify's OpenAPI document: ``python -m sync_pipeline_tests.clockify_document FILE``.

Only facts are taken: method, path, parameters, names, types, enums, what may be null or must be given. Descriptions,
examples, operation ids, defaults and limits stay where they are, and so does the document: it may not be shipped.

A type is the name of a basic type or of a shape, a list of the values of an enum, ``{"list": type}``,
``{"map": type}`` or ``{"fields": ...}``.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

Json = dict[str, Any]

FACTS = Path(__file__).parent.parent / "sync_pipeline" / "operations" / "clockify.json"
METHODS = ("get", "post", "put", "patch", "delete")
FORMATS = ("date", "date-time", "email", "uri", "binary")
"""Formats that are types of their own; the others only say how wide a number is."""


def facts_of(document: bytes) -> Json:
    """The facts of an OpenAPI document."""
    tree = yaml.load(document, Loader=yaml.CSafeLoader)
    schemas = tree.get("components", {}).get("schemas", {})
    operations = {
        f"{method.upper()} {path}": _operation(item, item[method])
        for path, item in tree["paths"].items()
        for method in METHODS
        if method in item
    }
    return {
        "document": {"sha256": hashlib.sha256(document).hexdigest(), "operations": len(operations)},
        "operations": operations,
        "shapes": {name: _type(schemas[name]) for name in sorted(_reached(schemas, tree["paths"]))},
    }


def text(found: Json) -> str:
    """The facts as text with a line for each operation and shape, so that a new document shows what changed."""
    parts = [f'"document": {json.dumps(found["document"])}']
    for name in ("operations", "shapes"):
        lines = (f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in found[name].items())
        parts.append(f'"{name}": {{\n' + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _operation(item: Json, operation: Json) -> Json:
    servers = operation.get("servers") or item.get("servers") or [{"url": ""}]
    query = [each for each in operation.get("parameters", []) if each["in"] == "query"]
    found: Json = {"host": urlsplit(servers[0]["url"]).hostname}
    if query:
        found["query"] = _fields({each["name"]: each["schema"] for each in query}, _demanded(query))
    if "requestBody" in operation:
        found["body"] = _content(operation["requestBody"])
    found["answers"] = {str(status): _content(each) for status, each in operation["responses"].items()}
    return found


def _demanded(parameters: list[Json]) -> list[str]:
    return [each["name"] for each in parameters if each.get("required")]


def _content(body: Json) -> Any:
    """The type of a body; None when there is none."""
    return next((_type(media["schema"]) for media in body.get("content", {}).values()), None)


def _type(schema: Json) -> Any:
    if "$ref" in schema:
        return _name(schema)
    # The document exports enums as objects with a field for each value; what they are says `oneOf`.
    if values := next((choice["enum"] for choice in schema.get("oneOf", []) if "enum" in choice), schema.get("enum")):
        return values
    kind, _ = _kind(schema)
    if kind == "array":
        return {"list": _type(schema["items"])}
    if schema.get("properties"):
        return _fields(schema["properties"], schema.get("required", []))
    if kind == "object" and isinstance(extra := schema.get("additionalProperties"), dict) and extra:
        return {"map": _type(extra)}
    return schema["format"] if schema.get("format") in FORMATS else kind


def _fields(properties: Json, required: list[str]) -> Json:
    found: Json = {"fields": {name: _type(each) for name, each in properties.items()}}
    if required:
        found["required"] = sorted(required)
    if nullable := sorted(name for name, each in properties.items() if _kind(each)[1]):
        found["nullable"] = nullable
    return found


def _kind(schema: Json) -> tuple[str, bool]:
    """The type, and whether null will do: ``nullable`` in OpenAPI 3.0, a list of types in 3.1."""
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return next(each for each in kind if each != "null"), "null" in kind
    return kind, schema.get("nullable") is True


def _reached(schemas: Json, paths: Json) -> set[str]:
    """The names of the shapes that some operation needs."""
    found: set[str] = set()
    waiting = list(_references(paths))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            if isinstance(_type(schemas[name]), dict):
                waiting += _references(schemas[name])
    return found


def _references(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if "$ref" in tree:
            yield _name(tree)
        for each in tree.values():
            yield from _references(each)
    elif isinstance(tree, list):
        for each in tree:
            yield from _references(each)


def _name(reference: Json) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def main() -> None:
    """Write the facts of the document that the argument names."""
    if len(sys.argv) != 2:
        sys.exit("Name the document: python -m sync_pipeline_tests.clockify_document clockify-openapi.yaml")
    found = facts_of(Path(sys.argv[1]).read_bytes())
    FACTS.write_text(text(found))
    sys.stdout.write(f"{len(found['operations'])} operations, {len(found['shapes'])} shapes: {FACTS}\n")


if __name__ == "__main__":
    main()
