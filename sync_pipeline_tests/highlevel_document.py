"""Write the facts of HighLevel's OpenAPI documents: ``python -m sync_pipeline_tests.highlevel_document``.

The documents are those of ``documents/highlevel``, with their known errors corrected. What is taken is what is taken of
Clockify's, and more: the scope, the token, the version and the address of the documentation, but no answers. What a
document does not state about scopes, the vendor's list of scopes does.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

from sync_pipeline_tests.clockify_document import FACTS as CLOCKIFY
from sync_pipeline_tests.clockify_document import METHODS, Json, inputs_of, reached, text, type_of
from sync_pipeline_tests.highlevel_contract import FOLDER, corrected, corrections
from sync_pipeline_tests.operation_names import name_all

FACTS = CLOCKIFY.with_name("highlevel.json")
PRODUCTS = [
    "locations",
    "users",
    "saas-api",
    "snapshots",
    "objects",
    "associations",
    "custom-fields",
    "contacts",
    "opportunities",
    "businesses",
    "companies",
    "calendars",
    "oauth",
    "marketplace",
]
TOKENS = {
    "Agency-Access": "agency",
    "Agency-Access-Only": "agency",
    "Location-Access": "location",
    "Location-Access-Only": "location",
    "bearer": "location",
}
LISTED = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE) (/[\w/:-]*)")


def facts() -> Json:
    """The facts of the documents; deprecated operations are left out."""
    source, documents, scopes = corrections(), corrected(corrections()["corrections"]), _listed_scopes()
    found = [_of_product(product, documents[product], scopes) for product in PRODUCTS]
    operations = {key: each for part in found for key, each in part["operations"].items()}
    names = name_all("highlevel", operations)
    return {
        "document": {"commit": source["source"]["commit"], "operations": len(operations)},
        "operations": {key: {"name": names[key], **each} for key, each in operations.items()},
        "shapes": {name: shape for part in found for name, shape in part["shapes"].items()},
    }


def _of_product(product: str, document: Json, scopes: dict[str, str]) -> Json:
    current = {
        path: {method: item[method] for method in METHODS if method in item and _is_offered(item[method])}
        for path, item in document["paths"].items()
    }
    sent = {
        path: {m: {"requestBody": o.get("requestBody", {})} for m, o in item.items()} for path, item in current.items()
    }
    schemas = document["components"]["schemas"]
    return {
        "operations": {
            f"{method.upper()} {path}": _operation(product, f"{method.upper()} {path}", operation, scopes)
            for path, item in current.items()
            for method, operation in item.items()
        },
        "shapes": {
            f"{product}.{name}": _within(product, type_of(schemas[name])) for name in sorted(reached(schemas, sent))
        },
    }


def _is_offered(operation: Json) -> bool:
    """Whether it is a current operation; pages that only the corrections have, have no id."""
    return "operationId" in operation and not operation.get("deprecated")


def _operation(product: str, key: str, operation: Json, scopes: dict[str, str]) -> Json:
    granted = [(token, scope) for one in operation.get("security") or [{}] for token, scope in one.items()]
    declared = {each["name"]: each["schema"] for each in operation.get("parameters", []) if each["in"] == "header"}
    said = next((scope for _, listed in granted for scope in listed), None)
    found: Json = {"docs": f"{product}/{operation['operationId']}"}
    if scope := said or scopes.get(_plain(key)):
        found["scope"] = scope
    if tokens := sorted({TOKENS[token] for token, _ in granted}):
        found["tokens"] = tokens
    if version := declared.get("Version", {}).get("enum"):
        found["version"] = version[0]
    inputs = inputs_of(operation)
    return found | {name: _within(product, kind) for name, kind in inputs.items()}


def _within(product: str, kind: Any) -> Any:
    """A type, whose shapes are those of a product."""
    if isinstance(kind, str):
        return kind if kind.islower() or "/" in kind else f"{product}.{kind}"
    if isinstance(kind, list):
        return kind
    if "fields" in kind:
        return kind | {"fields": {name: _within(product, each) for name, each in kind["fields"].items()}}
    return {name: each if name in ("required", "nullable") else _within(product, each) for name, each in kind.items()}


def _listed_scopes() -> dict[str, str]:
    """The scope of each operation in the vendor's list."""
    found: dict[str, str] = {}
    for key, scope in _rows():
        found.setdefault(_plain(key), scope)
    return found


def _rows() -> Iterator[tuple[str, str]]:
    scope = ""
    for line in (FOLDER / "Scopes.md").read_text("utf-8").splitlines():
        cells = [each.strip() for each in line.split("|")]
        if len(cells) < 4:
            continue
        scope = cells[1] if re.fullmatch(r"[\w./-]+", cells[1]) and cells[1][0].isalpha() else scope
        for method, path in LISTED.findall(cells[2]):
            yield f"{method} {path}", scope
            if scope.startswith("saas/"):
                yield f"{method} /saas{path}", scope


def _plain(key: str) -> str:
    """``METHOD path`` without the names of its parameters."""
    return re.sub(r"\{\w+\}|:\w+", "*", key).rstrip("/")


def main() -> None:
    """Write the facts."""
    found = facts()
    FACTS.write_text(text(found))
    sys.stdout.write(f"{len(found['operations'])} operations, {len(found['shapes'])} shapes: {FACTS}\n")


if __name__ == "__main__":
    main()
