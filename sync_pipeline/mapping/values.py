"""Values of a record by their dotted path, what a value is called in messages, and the problems found with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import pandas as pd

REQUIRED_FIELDS = "required_fields"
VALID_VALUES = "valid_values"

# The field name of a problem that concerns the whole record.
WHOLE_RECORD = "record"

_LONGEST_VALUE = 200
_NOUNS = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true/false",
    int: "a whole number",
    float: "a number",
    type(None): "nothing",
}


@dataclass(frozen=True, slots=True)
class Bad:
    """In a column in place of a value that could not be used: why, and what was found."""

    message: str
    value: object


def noun(value: object) -> str:
    """What a value is, in words: ``a list``, ``text``, ``a whole number``."""
    return _NOUNS.get(type(value), f"a {type(value).__name__}")


def shorten(value: object) -> str | None:
    """A value as printable, storable text of bounded length; missing stays missing."""
    if value is None:
        return None
    text = value if isinstance(value, str) else _as_json(value)
    cut = text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
    # Half characters cannot be encoded and PostgreSQL refuses NUL in text: both are spelt out.
    return cut.encode("utf-8", "backslashreplace").decode().replace("\0", "\\u0000")


def _as_json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return f"({noun(value)})"


class Problems:
    """The problems of a frame's records, gathered row by row and written as one column."""

    def __init__(self) -> None:
        self._by_row: dict[int, list[dict[str, Any]]] = {}

    @classmethod
    def of(cls, column: pd.Series[str]) -> Problems:
        """The problems a column made by :meth:`column` holds."""
        problems = cls()
        for row in column.notna().to_numpy().nonzero()[0].tolist():
            problems._by_row[row] = orjson.loads(str(column.iat[row]))
        return problems

    def add(self, row: int, field: str, rule: str, message: str, value: object = None) -> None:
        """Note one problem of one record."""
        problem = {"field": field, "rule": rule, "message": message, "value": shorten(value)}
        self._by_row.setdefault(row, []).append(problem)

    def fields(self, row: int) -> set[str]:
        """The fields of a record that have a problem already."""
        return {str(problem["field"]) for problem in self._by_row.get(row, ())}

    def first_rules(self) -> dict[int, str]:
        """Row -> the rule of its first problem."""
        return {row: str(problems[0]["rule"]) for row, problems in self._by_row.items()}

    def forget(self, rows: list[int]) -> None:
        """Drop the problems of these records."""
        for row in rows:
            self._by_row.pop(row, None)

    def column(self, length: int) -> pd.Series[str]:
        """The problems as a column of JSON lists, missing where a record has none."""
        from sync_pipeline.mapping.columns import text_series

        texts: list[str | None] = [None] * length
        for row, problems in self._by_row.items():
            texts[row] = orjson.dumps(problems).decode()
        return text_series(texts)


def value_at(record: object, path: Sequence[str]) -> object:
    """The value at a path; None where a key is absent, :class:`Bad` where something else is in the way."""
    value = record
    for depth, key in enumerate(path):
        if value is None:
            return None
        if type(value) is not dict:
            return _blocked(value, path[:depth])
        value = value.get(key)
    return value


def column_at(records: Sequence[dict[str, object]], path: Sequence[str]) -> list[object]:
    """The values at a path, one a record."""
    key = path[0]
    values = [record.get(key) for record in records]
    for depth, key in enumerate(path[1:], 1):
        values = [
            value.get(key) if type(value) is dict else value if value is None else _blocked(value, path[:depth])
            for value in values
        ]
    return values


def _blocked(value: object, path: Sequence[str]) -> Bad:
    if type(value) is Bad:
        return value
    return Bad(f"{'.'.join(path) or 'the record'} is {noun(value)}, expected an object", value)
