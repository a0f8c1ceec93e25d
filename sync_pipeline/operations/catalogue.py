"""The operations and events of the vendors' APIs. Nothing is read before it is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal

import orjson
import yaml

from sync_pipeline.errors import NotFound

Kind = Literal["read", "write", "delete"]
KINDS: tuple[Kind, ...] = ("read", "write", "delete")
Type = Any
"""As in the files of facts: a basic type or the name of a shape, choices, ``{"list": type}``, ``{"map": type}``, or fields."""
IN_PATH = re.compile(r"\{(\w+)\}")
DEPTH = 3
"""How far nested fields are shown."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input of an operation, and where it goes."""

    name: str
    place: Literal["path", "query", "body"]
    type: Type
    required: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a vendor's API."""

    name: str
    system: str
    method: str
    path: str
    """As in the document, without what the base URL has."""
    kind: Kind
    says: str
    """One sentence of ours; "" for those that have none."""
    held: str
    """Why it is held back; "" when it is not."""
    docs: str
    """The vendor's own page."""
    sandbox: bool
    host: str = ""
    scope: str = ""
    tokens: tuple[str, ...] = ()
    version: str = ""
    media: str = "application/json"
    inputs: tuple[Input, ...] = ()
    body: Type = None
    """None where there is none."""
    find: Mapping[str, str] | None = None
    """How to look for what it has made: a list and the input that it is limited by."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Sent where nothing is given."""
    fixed: tuple[str, ...] = ()
    """Inputs that the connection decides."""
    shapes: Mapping[str, Type] = field(default_factory=dict, repr=False, compare=False)

    @property
    def sends(self) -> str:
        """Method and path."""
        return f"{self.method} {self.path}"

    @property
    def title(self) -> str:
        """The sentence, or method and path where there is none."""
        return self.says or self.sends

    @property
    def runs(self) -> bool:
        """Whether it can be sent from here without a permission."""
        return not self.held and (self.kind == "read" or bool(self.says))

    def resolved(self, kind: Type) -> Type:
        """A type, with the name of a shape replaced by the shape."""
        while isinstance(kind, str) and kind in self.shapes:
            kind = self.shapes[kind]
        return kind

    def words_of(self, kind: Type, depth: int = DEPTH) -> str:
        """A type for people."""
        kind = self.resolved(kind)
        if isinstance(kind, list):
            return " | ".join(map(str, kind))
        if isinstance(kind, str):
            return kind
        if "list" in kind:
            return f"[{self.words_of(kind['list'], depth)}]"
        if "map" in kind:
            return f"{{name: {self.words_of(kind['map'], depth)}}}"
        if not depth:
            return "object"
        required = kind.get("required", ())
        parts = (f"{n}{'*' * (n in required)}: {self.words_of(t, depth - 1)}" for n, t in kind["fields"].items())
        return "{" + ", ".join(parts) + "}"


@dataclass(frozen=True, slots=True)
class CatalogueEvent:
    """One event that a vendor sends to webhooks."""

    system: str
    name: str


@cache
def known() -> Mapping[str, Any]:
    """The facts that are not generated."""
    found: Mapping[str, Any] = yaml.load(_file("known.yaml"), Loader=yaml.CSafeLoader)
    return found


def systems() -> Mapping[str, str]:
    """The vendors, and what people call them."""
    return {name: facts["title"] for name, facts in known()["systems"].items()}


@cache
def operations() -> Mapping[str, Operation]:
    """All operations by name."""
    return {one.name: one for system in known()["systems"] for one in _of_system(system)}


@cache
def events() -> Sequence[CatalogueEvent]:
    """All events, in order of their names."""
    clockify = _facts("clockify")["shapes"]["WebhookEventType"]
    named = {"clockify": clockify, **known()["events"]}
    return [CatalogueEvent(system, name) for system in known()["systems"] for name in sorted(named[system])]


def operation(name: str) -> Operation:
    """One operation; NotFound that names similar ones when there is none."""
    found = operations().get(name)
    if found is None:
        similar = get_close_matches(name, operations(), n=3, cutoff=0.5)
        fix = f"Did you mean {' or '.join(similar)}?" if similar else "`sync-pipeline operations search` finds names."
        raise NotFound(f"There is no operation {name}.", fix=fix)
    return found


def search(words: str, *, system: str = "", kind: str = "") -> list[Operation]:
    """The operations that have all these words, the best first; with no words all of them."""
    wanted = words.lower().split()
    some = [one for one in operations().values() if system in ("", one.system) and _is_of(one, kind)]
    ranked = [(ranks, one) for one in some if None not in (ranks := [_rank(one, word) for word in wanted])]
    return [one for _, one in sorted(ranked, key=lambda each: (sum(filter(None, each[0])), not each[1].says))]


def _is_of(one: Operation, kind: str) -> bool:
    return kind in ("", one.kind) or (kind == "held" and bool(one.held))


def _rank(one: Operation, word: str) -> int | None:
    """How far down an operation has a word; None when it does not."""
    places = (one.name, one.says.lower(), one.path.lower(), " ".join(each.name for each in one.inputs).lower())
    if re.search(rf"\b{re.escape(word)}s?\b", one.name):
        return 0
    return next((place for place, text in enumerate(places, 1) if word in text), None)


def _of_system(system: str) -> Iterator[Operation]:
    facts, notes = _facts(system), known()
    held = {name: group["why"] for group in notes["held"] for name in group["names"]}
    reads, sandbox, about = set(notes["reads"]), set(notes["sandbox"]), notes["systems"][system]
    for key, each in facts["operations"].items():
        method, _, path = key.partition(" ")
        name = each["name"]
        yield Operation(
            name=name,
            system=system,
            method=method,
            path=path.removeprefix(about["below"]),
            kind="read" if method == "GET" or name in reads else "delete" if method == "DELETE" else "write",
            says=notes["says"].get(name, ""),
            held=held.get(name, ""),
            docs=about["docs"].format(section=each.get("section", ""), docs=each.get("docs", "")),
            sandbox=name in sandbox,
            host=each.get("host", ""),
            scope=each.get("scope", ""),
            tokens=tuple(each.get("tokens", ())),
            version=each.get("version", ""),
            media=each.get("media", "application/json"),
            inputs=tuple(_inputs(name, path, each, facts["shapes"])),
            body=each.get("body"),
            find=notes["find"].get(name),
            defaults=notes["defaults"].get(name, {}),
            fixed=tuple(about["fixed"]),
            shapes=facts["shapes"],
        )


def _inputs(name: str, path: str, facts: Mapping[str, Any], shapes: Mapping[str, Type]) -> Iterator[Input]:
    optional, required, types = (known()[part].get(name, {}) for part in ("optional", "required", "types"))
    for each in IN_PATH.findall(path):
        yield Input(each, "path", facts.get("path", {}).get(each, "string"), required=True)
    body = facts.get("body")
    while isinstance(body, str) and body in shapes:
        body = shapes[body]
    for place, kind in (("query", facts.get("query")), ("body", body)):
        if isinstance(kind, dict) and "fields" in kind:
            needed = {*kind.get("required", ()), *required} - {*optional}
            for each, its in kind["fields"].items():
                yield Input(each, place, types.get(each, its), each in needed)  # type: ignore[arg-type]  # one of the two
        elif kind is not None:
            yield Input("body", "body", kind, required=not isinstance(kind, str))


def counted(some: Iterable[Operation]) -> dict[str, int]:
    """How many operations there are of each kind, how many are held, and how many can be run."""
    every = list(some)
    found: dict[str, int] = {kind: sum(one.kind == kind for one in every) for kind in KINDS}
    return {**found, "held": sum(bool(one.held) for one in every), "runs": sum(one.runs for one in every)}


def _facts(system: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = orjson.loads(_file(f"{system}.json"))
    return found


def _file(name: str) -> bytes:
    return Path(__file__).with_name(name).read_bytes()
