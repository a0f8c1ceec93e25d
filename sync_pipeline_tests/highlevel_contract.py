"""HighLevel's documents against what goes through the sandbox: every request of ours, and every answer.

The documents are in ``documents/highlevel``, byte for byte, with their known errors in ``corrections.yaml``. A request
must have a path, query parameters, headers and properties of the body that its document knows, and all it requires.
An answer must have a documented status and what the document promises for it; it may have more.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jsonschema_rs
import orjson
import pytest
import yaml
from starlette.routing import BaseRoute, Mount

from sync_pipeline.sandbox import app as sandbox
from sync_pipeline.sandbox.highlevel.routes import routes
from sync_pipeline.sandbox.world import World
from sync_pipeline_tests.clockify_contract import Contract, Exchange, Json, some_rows, watched

FOLDER = Path(__file__).parent / "documents" / "highlevel"
HOST = "services.leadconnectorhq.com"
COMMON = "../common/common-schemas.json#/components/schemas/"
JSON, FORM = "application/json", "application/x-www-form-urlencoded"


@cache
def corrections() -> Json:
    """Where the documents come from, and their known errors."""
    found: Json = yaml.safe_load((FOLDER / "corrections.yaml").read_text("utf-8"))
    return found


@cache
def originals() -> dict[str, Json]:
    """The documents by name; what they take from the common one is part of each."""
    common = orjson.loads((FOLDER / "common-schemas.json").read_bytes())["components"]["schemas"]
    found = {}
    for path in sorted(FOLDER.glob("*.json")):
        if path.stem != "common-schemas":
            found[path.stem] = _local(orjson.loads(path.read_bytes()))
            found[path.stem]["components"]["schemas"] |= {f"common.{name}": schema for name, schema in common.items()}
    return found


def corrected(known: list[Json]) -> dict[str, Json]:
    """The documents with these corrections; ValueError for one that changes nothing."""
    found = copy.deepcopy(originals())
    for correction in known:
        named = [correction["document"]] if "document" in correction else list(found)
        changed = [_replaced(found[name], correction["at"].split("/")[1:], _local(correction["is"])) for name in named]
        if not any(changed):
            raise ValueError(f"the correction of {correction['at']} changes nothing: the document says so already")
    return found


def _local(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value).replace(COMMON.encode(), b"#/components/schemas/common."))


def _replaced(node: Any, steps: list[str], new: Any) -> bool:
    """Put the new value at a pointer; whether that changed anything."""
    step = steps[0].replace("~1", "/")
    if len(steps) == 1:
        before, node[step] = node.get(step), new
        return bool(before != new)
    return sum(_replaced(node[each], steps[1:], new) for each in (node if step == "*" else [step])) > 0


class HighLevelContract(Contract):
    """What the documents promise, as compiled validators, and what was found to break it."""

    def __init__(self, documents: dict[str, Json]) -> None:
        operations = {
            f"{method.upper()} {path}": {"host": HOST, "schemas": document["components"]["schemas"], **operation}
            for document in documents.values()
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        }
        super().__init__({"operations": operations})

    def check(self, exchange: Exchange) -> Iterator[str]:
        """What is wrong with a request, when it is ours, and with its answer."""
        yield from super().check(exchange)
        name = self.operation(exchange)
        if name is None or not exchange.ours:
            return
        for parameter in self._parameters(name, "header"):
            sent = exchange.headers.get(parameter["name"].lower())
            allowed = parameter["schema"].get("enum", [sent])
            if parameter.get("required") and (sent is None or sent not in allowed):
                yield f"{name}, header {parameter['name']}: {sent} is none of {', '.join(map(str, allowed))}"

    def _parameters(self, name: str, place: str) -> list[Json]:
        every = self.facts["operations"][name].get("parameters", [])
        return [each for each in every if each["in"] == place]

    def _check(self, name: str, part: str, content: bytes) -> Iterator[str]:
        if part == "query":
            yield from self._of_query(name, content.decode())
        elif part == "body":
            yield from self._of_body(name, content)
        elif part not in (promised := self.facts["operations"][name]["responses"]):
            yield f"the document has only {', '.join(promised)}"
        elif schema := promised[part].get("content", {}).get(JSON, {}).get("schema"):
            yield from self._of_schema(name, part, schema, some_rows(orjson.loads(content)))
        elif content and "content" not in promised[part]:
            yield f"the document has no body, there is {content[:80]!r}"

    def _of_query(self, name: str, query: str) -> Iterator[str]:
        sent, known = parse_qs(query, keep_blank_values=True), self._parameters(name, "query")
        for each in sent.keys() - {parameter["name"] for parameter in known}:
            yield f"{each} is not declared"
        for parameter in known:
            if parameter.get("required") and parameter["name"] not in sent:
                yield f"{parameter['name']} is required"

    def _of_body(self, name: str, content: bytes) -> Iterator[str]:
        declared = self.facts["operations"][name].get("requestBody", {}).get("content", {})
        if not declared:
            if content:
                yield f"the document has no body, there is {content[:80]!r}"
            return
        ((kind, media),) = declared.items()
        sent = {k: v[0] for k, v in parse_qs(content.decode()).items()} if kind == FORM else orjson.loads(content)
        schema = media["schema"]
        named = schema.get("$ref", "").rpartition("/")[2]
        shape = self.facts["operations"][name]["schemas"][named] if named else schema
        for each in sent.keys() - shape["properties"].keys() if "properties" in shape else ():
            yield f"{each} is not declared"
        yield from self._of_schema(name, "body", schema, sent)

    def _of_schema(self, name: str, part: str, schema: Json, value: Any) -> Iterator[str]:
        if (name, part) not in self._validators:
            root = {**schema, "components": {"schemas": self.facts["operations"][name]["schemas"]}}
            self._validators[name, part] = jsonschema_rs.Draft202012Validator(root, validate_formats=True)
        for error in self._validators[name, part].iter_errors(value):
            at = "".join("[]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
            yield f"{at or 'the whole'}: {error.message[:300]}"


@contextmanager
def watching() -> Iterator[HighLevelContract]:
    """Check every exchange of the HighLevel side of every sandbox of this process, from here on."""
    contract = HighLevelContract(corrected(corrections()["corrections"]))

    def watched_routes(world: World) -> list[BaseRoute]:
        (mount,) = routes(world)
        assert isinstance(mount, Mount)
        return [Mount(mount.path, app=watched(mount.app, HOST, contract, ""))]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "highlevel_routes", watched_routes)
        yield contract
