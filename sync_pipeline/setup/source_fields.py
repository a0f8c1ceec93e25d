"""What source records hold: every path that occurs, what kind of value it has, and one of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sync_pipeline.mapping.spec import Field
from sync_pipeline.mapping.text import path_text

LONGEST_EXAMPLE = 80
MOST_FIELDS = 500
DEEPEST = 8

Path = tuple[str, ...]

_SHAPES = (
    ("instant", re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:?\d\d)")),
    ("date", re.compile(r"\d{4}-\d\d-\d\d")),
    ("email", re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")),
    ("id", re.compile(r"[0-9a-f]{24}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")),
)


@dataclass(frozen=True, slots=True)
class SourceField:
    """One path of the source's records. ``type`` is a guess; "objects" is a list of objects, "object" holds others."""

    path: str
    example: str
    type: str
    mapped_to: tuple[str, ...]


def source_fields(records: Iterable[Mapping[str, Any]], fields: Sequence[Field]) -> tuple[SourceField, ...]:
    """All paths that occur, in order, with the target fields that are made of each."""
    values: dict[Path, list[Any]] = {}
    for record in records:
        for path, value in _walk(record, ()):
            values.setdefault(path, []).append(value)
    return tuple(_described(path, values[path], fields) for path in islice(sorted(values), MOST_FIELDS))


def _walk(value: Mapping[str, Any], above: Path) -> Iterator[tuple[Path, Any]]:
    for key, item in value.items():
        path = (*above, key)
        yield path, item
        if isinstance(item, Mapping) and len(path) < DEEPEST:
            yield from _walk(item, path)


def _described(path: Path, values: list[Any], fields: Sequence[Field]) -> SourceField:
    there = [value for value in values if value not in (None, "", [], {})]
    example = there[0] if there else next((value for value in values if value is not None), None)
    mapped = tuple(field.name for field in fields if field.source == path)
    return SourceField(path_text(path), _shown(example), _type(there or values), mapped)


def _type(values: list[Any]) -> str:
    found = {_type_of(value) for value in values if value is not None}
    if len(found) == 1:
        return found.pop()
    if found == {"int", "number"}:
        return "number"
    return "text" if found else ""


def _type_of(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "int" if isinstance(value, int) else "number"
    if isinstance(value, list):
        return "objects" if any(isinstance(item, dict) for item in value) else "list"
    if isinstance(value, dict):
        return "object"
    text = str(value)[:300]  # as long as an address or an instant may be
    return next((name for name, shape in _SHAPES if shape.fullmatch(text)), "text")


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        text = f"{len(value)} with {', '.join(map(str, value[0]))}"
    elif isinstance(value, dict):
        text = f"with {', '.join(map(str, value))}"
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = "".join(sign if sign.isprintable() else " " for sign in text[: 2 * LONGEST_EXAMPLE])
    return text if len(text) <= LONGEST_EXAMPLE else text[: LONGEST_EXAMPLE - 1] + "…"
