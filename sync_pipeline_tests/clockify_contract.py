"""Clockify's document against what goes through the sandbox: every request of ours, and every answer.

The facts are those of ``sync_pipeline/operations``: the document's, corrected by its known errors. A request must be
one the document knows, with parameters and fields it knows, of their types. An answer must have the documented status
and all documented fields and no others; of a list of rows, twenty are looked at.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl

import jsonschema_rs
import orjson
import pytest
import yaml
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sync_pipeline.sandbox import app as sandbox
from sync_pipeline.sandbox.clockify.routes import core_and_reports
from sync_pipeline.sandbox.world import World

Json = dict[str, Any]

CORE, REPORTS = "api.clockify.me", "reports.api.clockify.me"
OURS = b"sync_pipeline"
"""How the connectors call themselves; other clients of the sandbox are tests, some of them wrong on purpose."""
ROWS = 20
NULL: Json = {"type": "null"}
BASIC = ("string", "integer", "number", "boolean", "object")
KEPT = 20_000
"""So many contents are remembered as checked: what is sent or answered again costs nothing."""


def facts() -> Json:
    """The facts extracted from the document."""
    found: Json = orjson.loads((files("sync_pipeline.operations") / "clockify.json").read_bytes())
    return found


def errata() -> Json:
    """The known errors of the document, each with its evidence, and the sources of that."""
    found: Json = yaml.safe_load((files("sync_pipeline.operations") / "clockify_errata.yaml").read_text("utf-8"))
    return found


def corrected(found: Json, known: list[Json]) -> Json:
    """The facts with the known errors corrected; ValueError for an erratum that changes nothing."""
    for erratum in known:
        for name in erratum["at"]:
            before = json.dumps(found)
            _correct(found, name, erratum)
            if json.dumps(found) == before:
                raise ValueError(f"the erratum at {name} changes nothing: the document says so already")
    return found


def _correct(found: Json, name: str, erratum: Json) -> None:
    if " /" in name:
        operation = found["operations"].setdefault(name, {})
        query = erratum.get("query")
        operation.update({key: erratum[key] for key in ("host", "body", "answers") if key in erratum})
        if query is not None:
            _change(operation.setdefault("query", {"fields": {}}), query)
    elif "is" in erratum:
        found["shapes"][name] = erratum["is"]
    else:
        _change(found["shapes"][name], erratum)


def _change(shape: Json, erratum: Json) -> None:
    """Rename, retype, add and drop fields; define which may be null, left out, or need not be given."""
    fields = shape["fields"]
    for old, new in erratum.get("renamed", {}).items():
        fields[new] = fields.pop(old)
    for absent in erratum.get("absent", []):
        del fields[absent]
    fields.update(erratum.get("fields", {}))
    for key in ("nullable", "optional"):
        if unknown := set(erratum.get(key, [])) - set(fields):
            raise ValueError(f"no such fields: {sorted(unknown)}")
        if both := {*shape.get(key, []), *erratum.get(key, [])}:
            shape[key] = sorted(both)
    if "required" in shape:
        shape["required"] = sorted(set(shape["required"]) - set(erratum.get("optional", [])))


@dataclass
class Exchange:
    """One request and its answer."""

    host: str
    method: str
    path: str
    query: bytes = b""
    sent: bytes = b""
    status: int = 0
    got: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    ours: bool = False
    """Whether a connector of ours sent it."""


@dataclass
class Contract:
    """What the document promises, as compiled validators, and what was found to break it."""

    facts: Json
    seconds: float = 0.0
    """Of the processor, spent on all of this."""
    exchanges: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    accepted: set[str] = field(default_factory=set)
    """Operations that succeeded at least once."""
    _known: dict[int, tuple[str, ...]] = field(default_factory=dict)
    _validators: dict[tuple[str, str], jsonschema_rs.Draft202012Validator] = field(default_factory=dict)
    _found: dict[tuple[str, str, str], str | None] = field(default_factory=dict)

    def look(self, exchange: Exchange) -> None:
        """Check one exchange and keep what is wrong with it."""
        began = time.thread_time()
        self.exchanges += 1
        self.problems.update(self.check(exchange))
        self.seconds += time.thread_time() - began

    def take(self) -> list[str]:
        """What was found since this was asked last, the most frequent first."""
        found, self.problems = self.problems, Counter()
        return [f"{count} times: {problem}" for problem, count in found.most_common()]

    def check(self, exchange: Exchange) -> Iterator[str]:
        """What is wrong with a request, when it is ours, and with its answer."""
        name = self.operation(exchange)
        if name is None:
            if exchange.ours or exchange.status < 400:
                yield f"{exchange.method} {exchange.host}{exchange.path}: the document has no such operation"
            return
        if exchange.status < 400:
            self.accepted.add(name)
        if exchange.ours:
            yield from self._known_or_checked(name, "query", exchange.query)
            yield from self._known_or_checked(name, "body", exchange.sent)
        yield from self._known_or_checked(name, str(exchange.status), exchange.got)

    def _known_or_checked(self, name: str, part: str, content: bytes) -> tuple[str, ...]:
        mark = hash((name, part, content))
        found = self._known.get(mark)
        if found is None:
            where = part if part in ("query", "body") else f"answer {part}"
            found = tuple(f"{name}, {where}: {problem}" for problem in self._check(name, part, content))
            if len(self._known) < KEPT:
                self._known[mark] = found
        return found

    def _check(self, name: str, part: str, content: bytes) -> Iterator[str]:
        operation = self.facts["operations"][name]
        promised = operation["answers"]
        if part == "query":
            yield from self._errors(name, part, _typed(_query_of(operation), content.decode()))
        elif part.isdigit() and part not in promised and int(part) < 400:
            yield f"the document has only {', '.join(promised)}"
        elif (operation.get("body") if part == "body" else promised.get(part, "Error")) is None:
            if content:
                yield f"the document has no body, there is {content[:80]!r}"
        elif content:
            yield from self._errors(name, part, some_rows(orjson.loads(content)))
        elif part in promised:
            yield "the document has a body, there is none"

    def _errors(self, name: str, part: str, value: Any) -> Iterator[str]:
        key = name, part
        if key not in self._validators:
            self._validators[key] = self._compiled(name, part)
        for error in self._validators[key].iter_errors(value):
            at = "".join("[]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
            yield f"{at or 'the whole'}: {error.message[:300]}"

    def _compiled(self, name: str, part: str) -> jsonschema_rs.Draft202012Validator:
        operation, shapes, answer = self.facts["operations"][name], self.facts["shapes"], part.isdigit()
        kinds = {"query": _query_of(operation), "body": operation.get("body")}
        kind = operation["answers"].get(part, "Error") if answer else kinds[part]
        defs = {each: _schema(shapes[each], answer) for each in sorted(_needed(shapes, kind))}
        return jsonschema_rs.Draft202012Validator({**_schema(kind, answer), "$defs": defs}, validate_formats=True)

    def operation(self, exchange: Exchange) -> str | None:
        """The operation of a request, one with fewer parameters in its path first."""
        key = exchange.host, exchange.method, exchange.path
        if key not in self._found:
            asked = exchange.path.split("/")
            fitting = [
                (name.count("{"), name)
                for name, operation in self.facts["operations"].items()
                if operation["host"] == exchange.host and _fits(name, exchange.method, asked)
            ]
            self._found[key] = min(fitting)[1] if fitting else None
        return self._found[key]


@contextmanager
def watching() -> Iterator[Contract]:
    """Check every exchange of every sandbox of this process, from here on."""
    began = time.thread_time()
    contract = Contract(corrected(facts(), errata()["errata"]))
    contract.seconds = time.thread_time() - began

    def hosts(world: World) -> tuple[ASGIApp, ASGIApp]:
        core, reports = core_and_reports(world)
        return watched(core, CORE, contract), watched(reports, REPORTS, contract)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox, "core_and_reports", hosts)
        yield contract


def watched(app: ASGIApp, host: str, contract: Contract, prefix: str = "/v1") -> ASGIApp:
    """One host of the sandbox, whose paths begin like that; an exchange is checked before its answer leaves."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        exchange = Exchange(host, scope["method"], f"{prefix}{path}", scope["query_string"])
        exchange.headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        exchange.ours = (b"user-agent", OURS) in scope["headers"]

        async def receiving() -> Message:
            message = await receive()
            exchange.sent += message.get("body", b"")
            return message

        async def sending(message: Message) -> None:
            exchange.status = message.get("status", exchange.status)
            exchange.got += message.get("body", b"")
            if message["type"] == "http.response.body" and not message.get("more_body"):
                contract.look(exchange)
            await send(message)

        await app(scope, receiving, sending)

    return serve


def some_rows(value: Any) -> Any:
    """The value with twenty rows, spread evenly, of its list of rows and of the lists right below it."""
    if isinstance(value, list):
        return value[:: max(1, len(value) // ROWS)][:ROWS]
    if isinstance(value, dict):
        return {key: some_rows(each) if isinstance(each, list) else each for key, each in value.items()}
    return value


def _query_of(operation: Json) -> Json:
    found: Json = operation.get("query", {"fields": {}})
    return found


def _typed(query: Json, sent: str) -> Json:
    """A query string as an object: each text as the type of its parameter, if it can be read as that."""
    found: Json = {}
    for name, value in parse_qsl(sent, keep_blank_values=True):
        kind = query["fields"].get(name)
        if isinstance(kind, dict) and "list" in kind:
            found.setdefault(name, []).extend(_value(kind["list"], each) for each in value.split(","))
        elif name in found:
            found[name] = f"{found[name]} and {value}: given more than once"
        else:
            found[name] = _value(kind, value)
    return found


def _value(kind: Any, sent: str) -> Any:
    if kind == "boolean":
        return {"true": True, "false": False}.get(sent, sent)
    if kind == "integer":
        return int(sent) if sent.removeprefix("-").isdecimal() else sent
    return sent


def _fits(name: str, method: str, asked: list[str]) -> bool:
    wanted, _, path = name.partition(" ")
    parts = path.split("/")
    return (
        wanted == method
        and len(parts) == len(asked)
        and all(part == other or (part.startswith("{") and other) for part, other in zip(parts, asked, strict=True))
    )


def _needed(shapes: Json, kind: Any) -> set[str]:
    """The names of the shapes in a type, and in those."""
    found: set[str] = set()
    waiting = [kind]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            waiting += each["fields"].values() if "fields" in each else each.values()
        elif isinstance(each, str) and each in shapes and each not in found:
            found.add(each)
            waiting.append(shapes[each])
    return found


def _schema(kind: Any, answer: bool) -> Json:
    """A type as JSON Schema. An answer has every field that is not optional, a request those that are required."""
    if isinstance(kind, list):
        return {"enum": kind}
    if isinstance(kind, str):
        return _named(kind)
    if "list" in kind:
        return {"type": "array", "items": _schema(kind["list"], answer)}
    if "map" in kind:
        return {"type": "object", "additionalProperties": _schema(kind["map"], answer)}
    fields = {name: _schema(each, answer) for name, each in kind["fields"].items()}
    return {
        "type": "object",
        # Not `anyOf`: its errors do not state what is wrong inside.
        "properties": fields | {name: {"if": {"not": NULL}, "then": fields[name]} for name in kind.get("nullable", ())},
        "required": sorted(set(fields) - set(kind.get("optional", ()))) if answer else kind.get("required", []),
        "additionalProperties": False,
    }


def _named(kind: str) -> Json:
    if kind == "any":
        return {}
    if kind in BASIC:
        return {"type": kind}
    if kind in {"date", "date-time", "email", "uri", "binary"}:
        return {"type": "string", "format": kind}
    return {"$ref": f"#/$defs/{kind}"}
