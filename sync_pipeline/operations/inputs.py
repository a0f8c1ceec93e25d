"""The inputs of an operation: read from text by their types and checked before anything is sent, with the place of each fault."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from difflib import get_close_matches
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from sync_pipeline.errors import ConfigError
from sync_pipeline.operations.catalogue import IN_PATH, Input, Operation, Type
from sync_pipeline.printable import printable

ID = re.compile(r"[\w.:@+-]{1,200}")
"""What may be part of a path: no slash, no per cent."""
FAULTS = 10
SHOWN = 60
YES, NO = ("true", "yes", "1"), ("false", "no", "0")
LOOSE = ("any", "object", "binary")
"""Types that say nothing: Clockify's document has ``object`` where a value may be anything."""
PAGES = (
    ("page", ("page-size", "pageSize", "size", "limit", "pageLimit")),
    ("skip", ("limit",)),
    ("offset", ("limit",)),
    ("lastDoc", ("limit",)),
)
"""How lists are read on: the input that moves, and what the size of a page is called."""
CURSORS = {
    "searchAfter": ("row", "searchAfter"),
    "startAfter": ("meta", "startAfter"),
    "startAfterId": ("meta", "startAfterId"),
    "lastDoc": ("row", "id"),
}
"""Inputs that say after what the next page begins, and where an answer has it: in its last row, or its `meta`."""
COUNTED = ("skip", "offset")
"""Those of them that are numbers of rows."""
PAGE_SIZE = 100


class WrongInputs(ConfigError):
    """Inputs that do not fit; each of ``faults`` begins with its place."""

    def __init__(self, name: str, faults: Sequence[str]) -> None:
        more = f", and {len(faults) - FAULTS} more" if len(faults) > FAULTS else ""
        super().__init__(
            f"The inputs of {name} are not right. {'; '.join(faults[:FAULTS])}{more}.",
            fix=f"`sync-pipeline operations show {name}` has the inputs.",
        )
        self.faults = tuple(faults[:FAULTS])


@dataclass(frozen=True, slots=True)
class OperationCall:
    """An operation with inputs that fit it: what is sent."""

    operation: Operation
    ids: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any = None

    @property
    def path(self) -> str:
        """The path with its ids, and the query."""
        filled = IN_PATH.sub(lambda match: quote(self.ids[match[1]], safe=""), self.operation.path)
        pairs = [
            (n, _text(one)) for n, each in self.query.items() for one in (each if isinstance(each, list) else [each])
        ]
        return filled + (f"?{urlencode(pairs)}" if pairs else "")

    def document(self, base_url: str) -> dict[str, Any]:
        """The request, without what signs it."""
        found = {"method": self.operation.method, "url": base_url.rstrip("/") + self.path}
        return found if self.body is None else {**found, "body": self.body}

    def changed(self, name: str, value: Any) -> OperationCall:
        """The same with another value of one input of the query or the body; a nested one is named with dots."""
        head, *rest = name.split(".")
        its = next(each for each in self.operation.inputs if each.name == head and each.place != "path")
        put = str(value) if self.operation.resolved(_at(self.operation, its.type, rest)) == "string" else value
        if its.place == "query":
            return replace(self, query={**self.query, name: put})
        return replace(self, body=_with(self.body, [head, *rest], put))

    def value(self, name: str) -> Any:
        """The value of an input of the query or the body; None when it was not given."""
        found = self.query.get(name)
        if found is None:
            found = self.body
            for step in name.split("."):
                found = found.get(step) if isinstance(found, dict) else None
        return found

    @property
    def paged(self) -> tuple[str, str] | None:
        """The input that moves from page to page, and that with the size of a page; None where there are no pages."""
        names = {each.name: "" for each in self.operation.inputs if each.place != "path"}
        nested = {name: f"{each.name}." for each in self.operation.inputs for name in self._fields_of(each)}
        for within in (names, nested):
            for at, sizes in PAGES:
                size = next((size for size in sizes if at in within and within.get(size) == within[at]), None)
                if size is not None:
                    return within[at] + at, within[at] + size
        return None

    def _fields_of(self, one: Input) -> Iterable[str]:
        kind = self.operation.resolved(one.type)
        return kind["fields"] if one.place == "body" and isinstance(kind, dict) and "fields" in kind else ()

    def after(self, rows: Sequence[Any], meta: Any) -> OperationCall | None:
        """The next page where the answer says after what it begins; None where it does not."""
        names = [each.name for each in self.operation.inputs if each.name in CURSORS]
        places = {"row": rows[-1] if rows else None, "meta": meta}
        found = {name: _field(places[CURSORS[name][0]], CURSORS[name][1]) for name in names}
        if not found or None in found.values():
            return None
        form = self
        for name, value in found.items():
            form = form.changed(name, value)
        return form


def _field(of: Any, name: str) -> Any:
    return of.get(name) if isinstance(of, Mapping) else None


def _with(body: Any, steps: Sequence[str], value: Any) -> dict[str, Any]:
    known = body if isinstance(body, dict) else {}
    return {**known, steps[0]: _with(known.get(steps[0]), steps[1:], value) if steps[1:] else value}


def formed(one: Operation, given: Mapping[str, Any], known: Mapping[str, str]) -> OperationCall:
    """The operation with these inputs, texts read by their types; ``known`` fills what the connection decides.

    A nested field is named with dots. ConfigError names each fault with its place.
    """
    values: dict[str, Any] = {}
    faults = [fault for name, raw in given.items() for fault in _take(one, name, raw, values)]
    for each in one.inputs:
        if each.name not in values and each.required and each.name in (filled := {**one.defaults, **known}):
            values[each.name] = filled[each.name]
        if each.name in values:
            faults += _faults(one, each.type, values[each.name], each.name)
            faults += _of_path(each, values[each.name])
        elif each.required and not any(fault.startswith(f"{each.name}:") for fault in faults):
            faults.append(f"{each.name}: is required, {one.words_of(each.type)}")
    faults = faults or [f"{name}: cannot be written as JSON" for name, value in values.items() if not _is_json(value)]
    if faults:
        raise WrongInputs(one.name, faults)
    return _placed(one, values)


def _placed(one: Operation, values: Mapping[str, Any]) -> OperationCall:
    places = {
        place: {each.name: values[each.name] for each in one.inputs if each.place == place and each.name in values}
        for place in ("path", "query", "body")
    }
    kind = one.resolved(one.body)
    is_whole = kind is not None and not (isinstance(kind, dict) and "fields" in kind)
    body = None if one.body is None else places["body"].get("body") if is_whole else places["body"]
    return OperationCall(
        one, places["path"], places["query"], {} if is_whole and body is None and kind == "object" else body
    )


def _take(one: Operation, name: str, raw: Any, values: dict[str, Any]) -> Iterator[str]:
    """Read one value and put it where its name says; what is wrong with it, otherwise."""
    inputs = {each.name: each for each in one.inputs}
    head, *rest = [name] if name in inputs else name.split(".")
    if head not in inputs:
        similar = get_close_matches(name, inputs, n=1)
        yield f"{name[:SHOWN]}: there is no such input" + (f", did you mean {similar[0]}" if similar else "")
    elif head in one.fixed:
        yield f"{head}: is set by the connection"
    else:
        try:
            kind = _at(one, inputs[head].type, rest)
            _put(values, [head, *rest], _read(one, kind, raw))
        except ValueError as error:
            yield f"{name}: {error}"


def _at(one: Operation, kind: Type, rest: Sequence[str]) -> Type:
    for step in rest:
        kind = one.resolved(kind)
        fields = kind.get("fields", {}) if isinstance(kind, dict) else {}
        if step not in fields and kind not in LOOSE:
            raise ValueError(f"{step} is not known there")
        kind = fields.get(step, "any")
    return kind


def _put(values: dict[str, Any], steps: Sequence[str], value: Any) -> None:
    for step in steps[:-1]:
        values = values.setdefault(step, {})
        if not isinstance(values, dict):
            raise ValueError(f"{step} was given as one value")
    values[steps[-1]] = value


def _read(one: Operation, kind: Type, raw: Any) -> Any:
    """A text as its type; what is no text stays."""
    kind = one.resolved(kind)
    if isinstance(kind, dict) and "list" in kind:
        parts = _json(raw) if isinstance(raw, str) and raw.startswith("[") else raw
        parts = parts if isinstance(parts, list) else [parts]
        return [_read(one, kind["list"], each) for each in parts]
    if not isinstance(raw, str):
        return raw
    if isinstance(kind, list):
        return next((choice for choice in kind if str(choice) == raw), raw)
    return _basic("object" if isinstance(kind, dict) else kind, raw, is_json=isinstance(kind, dict))


def _basic(kind: str, raw: str, *, is_json: bool) -> Any:
    if kind in ("integer", "number"):
        return _number(raw, kind)
    if kind == "boolean":
        return True if raw.lower() in YES else False if raw.lower() in NO else raw
    return _json(raw) if is_json or (kind in LOOSE and raw[:1] in ("{", "[", '"')) else raw


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"is not JSON ({error})") from None


def _is_json(value: Any) -> bool:
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:  # a number of more than 64 bits, half a character, or too deep
        return False
    return True


def _number(text: str, kind: str) -> Any:
    try:
        return int(text) if kind == "integer" or re.fullmatch(r"-?\d+", text) else float(text)
    except ValueError:
        return text


def _of_path(each: Input, value: Any) -> Iterator[str]:
    is_id = isinstance(value, str) and ID.fullmatch(value) and set(value) != {"."}
    if each.place == "path" and not is_id:
        yield f"{each.name}: {_shown(value)} cannot be an id"


def _faults(one: Operation, kind: Type, value: Any, place: str) -> Iterator[str]:
    kind = one.resolved(kind)
    if isinstance(kind, list) and value not in kind:
        yield f"{place}: {_shown(value)} is none of {', '.join(map(str, kind[:FAULTS]))}"
    elif isinstance(kind, str) and (wanted := _unlike(kind, value)) is not None:
        yield f"{place}: {_shown(value)} is not {wanted}"
    elif isinstance(kind, dict):
        yield from _faults_inside(one, kind, value, place)


def _faults_inside(one: Operation, kind: Mapping[str, Any], value: Any, place: str) -> Iterator[str]:
    if "list" in kind and isinstance(value, list):
        for number, each in enumerate(value):
            yield from _faults(one, kind["list"], each, f"{place}[{number}]")
    elif "list" in kind or not isinstance(value, dict):
        yield f"{place}: {_shown(value)} is not {'a list' if 'list' in kind else 'an object'}"
    elif "fields" in kind:
        yield from _of_fields(one, kind, value, place)
    else:
        for name, each in value.items():
            yield from _faults(one, kind["map"], each, f"{place}.{name}")


def _of_fields(one: Operation, kind: Type, value: Mapping[str, Any], place: str) -> Iterator[str]:
    for name in value.keys() - kind["fields"].keys():
        yield f"{place}.{name}: there is no such field"
    for name, its in kind["fields"].items():
        if name not in value:
            if name in kind.get("required", ()):
                yield f"{place}.{name}: is required"
        elif value[name] is not None or name not in kind.get("nullable", ()):
            yield from _faults(one, its, value[name], f"{place}.{name}")


def _unlike(kind: str, value: Any) -> str | None:
    """What a value should be; None when it is."""
    if kind in LOOSE:
        return None
    if kind == "boolean":
        return None if isinstance(value, bool) else "true or false"
    if kind in ("integer", "number"):
        is_number = isinstance(value, int if kind == "integer" else int | float) and not isinstance(value, bool)
        is_number = is_number and (isinstance(value, int) or math.isfinite(value))
        return None if is_number else "a whole number" if kind == "integer" else "a number"
    if not isinstance(value, str):
        return "text"
    try:
        if kind == "date-time":
            datetime.fromisoformat(value)
        elif kind == "date":
            date.fromisoformat(value)
    except ValueError:
        return "a date and time such as 2026-03-02T09:00:00Z" if kind == "date-time" else "a date such as 2026-03-02"
    return "an e-mail address" if kind == "email" and "@" not in value else None


def _shown(value: Any) -> str:
    return printable(repr(value))[:SHOWN]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
