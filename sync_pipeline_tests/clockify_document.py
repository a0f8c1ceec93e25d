"""Write the facts of Clockify's OpenAPI document: ``python -m sync_pipeline_tests.clockify_document FILE``.

Only facts are taken: method, path, parameters, names, types, enums, what may be null or must be given, and the section
of the documentation. Descriptions, examples, operation ids, defaults and limits stay where they are, and so does the
document: it may not be shipped. Each operation gets a name of ours (``operation_names.py``).

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

from sync_pipeline_tests.operation_names import name_all

Json = dict[str, Any]

FACTS = Path(__file__).parent.parent / "sync_pipeline" / "operations" / "clockify.json"
JSON = "application/json"
METHODS = ("get", "post", "put", "patch", "delete")
FORMATS = ("date", "date-time", "email", "uri", "binary")
"""Formats that are types of their own; the others only state how wide a number is."""


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
    operations = {key: {"name": name, **operations[key]} for key, name in name_all("clockify", operations).items()}
    return {
        "document": {"sha256": hashlib.sha256(document).hexdigest(), "operations": len(operations)},
        "operations": operations,
        "shapes": {name: type_of(schemas[name]) for name in sorted(reached(schemas, tree["paths"]))},
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
    found: Json = {"host": urlsplit(servers[0]["url"]).hostname}
    if "tags" in operation:
        found["section"] = operation["tags"][0].replace(" ", "-")
    found |= inputs_of(operation)
    found["answers"] = {str(status): _content(each) for status, each in operation["responses"].items()}
    return found


def inputs_of(operation: Json) -> Json:
    """Choices of the path, the query and the body of an operation, as far as it has them."""
    found: Json = {}
    declared = operation.get("parameters", [])
    if choices := {each["name"]: each["schema"]["enum"] for each in declared if _is_choice(each)}:
        found["path"] = choices
    if query := [each for each in declared if each["in"] == "query"]:
        found["query"] = fields_of({each["name"]: each["schema"] for each in query}, _demanded(query))
    if content := operation.get("requestBody", {}).get("content"):
        if (media := next(iter(content))) != JSON:
            found["media"] = media
        found["body"] = _content(operation["requestBody"])
    return found


def _is_choice(parameter: Json) -> bool:
    return parameter["in"] == "path" and "enum" in parameter["schema"]


def _demanded(parameters: list[Json]) -> list[str]:
    return [each["name"] for each in parameters if each.get("required")]


def _content(body: Json) -> Any:
    """The type of a body; None when there is none."""
    return next((type_of(media["schema"]) for media in body.get("content", {}).values()), None)


def type_of(schema: Json) -> Any:
    """The type that a schema describes."""
    if len(parts := schema.get("allOf", [])) == 1:
        schema = parts[0]
    if "$ref" in schema:
        return _name(schema)
    # The document exports enums as objects with a field for each value; what they are is in `oneOf`.
    if values := next((choice["enum"] for choice in schema.get("oneOf", []) if "enum" in choice), schema.get("enum")):
        return values
    kind, _ = _kind(schema)
    if kind == "array":
        return {"list": type_of(schema.get("items", {}))}
    if schema.get("properties"):
        return fields_of(schema["properties"], schema.get("required", []))
    if kind == "object" and isinstance(extra := schema.get("additionalProperties"), dict) and extra:
        return {"map": type_of(extra)}
    return schema["format"] if schema.get("format") in FORMATS else kind


def fields_of(properties: Json, required: list[str]) -> Json:
    """The type of an object with these properties."""
    found: Json = {"fields": {name: type_of(each) for name, each in properties.items()}}
    if required:
        found["required"] = sorted(required)
    if nullable := sorted(name for name, each in properties.items() if _kind(each)[1]):
        found["nullable"] = nullable
    return found


def _kind(schema: Json) -> tuple[str, bool]:
    """The type, and whether null will do: ``nullable`` in OpenAPI 3.0, a list of types in 3.1."""
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        some = [each for each in kind if each != "null"]
        return some[0] if len(some) == 1 else "any", "null" in kind
    return kind, schema.get("nullable") is True


def reached(schemas: Json, paths: Json) -> set[str]:
    """The names of the shapes that some operation needs."""
    found: set[str] = set()
    waiting = list(_references(paths))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            if isinstance(type_of(schemas[name]), dict):
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
