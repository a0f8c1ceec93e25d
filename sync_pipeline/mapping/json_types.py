"""The types of mapped fields: which JSON values each of them accepts, one value at a time."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import orjson

from sync_pipeline.mapping.values import noun

_WHOLE = re.compile(r"[+-]?\d{1,19}")
_DECIMAL = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_INT64 = range(-(2**63), 2**63)
_EXACT_FLOAT = 2.0**53
LONGEST_ID = 500
"""Characters. With longer ones the keys of the tables would exceed what PostgreSQL takes into an index (2,704 bytes)."""
AN_INSTANT = "an instant with its zone, such as 2024-05-01T09:30:00Z"


def id_or_none(value: object, longest: float = LONGEST_ID) -> str | None:
    """A record's id as text, None for null, empty and whatever cannot be an id."""
    try:
        return _id(value, longest) or None
    except ValueError:
        return None


def fits(type_name: str, value: object) -> str | None:
    """Why a value does not fit a type, None when it does."""
    if value is None:
        return None
    try:
        accepted = TYPES[type_name].accept(value)
    except ValueError as error:
        return str(error)
    if type_name == "instant":
        from sync_pipeline.mapping.columns import parse_instants  # pandas reads instants; few mappings hold any

        if parse_instants([str(accepted)]).isna().all():
            return f"is not {AN_INSTANT}"
    return None


def _id(value: object, longest: float = LONGEST_ID) -> str:
    if type(value) is int:
        return _digits(value)
    if type(value) is not str:
        raise ValueError(f"is {noun(value)}, expected an id")
    if "\0" in value:
        raise ValueError("holds a NUL character, expected an id")
    if len(value) > longest:
        raise ValueError(f"has {len(value):,} characters, expected an id of at most {longest}")
    return _text(value)


def _text(value: object) -> str:
    if type(value) is str:
        return whole_characters(value)
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int:
        return _digits(value)
    if type(value) is float and value - value == 0:
        return repr(value)
    raise ValueError(f"is {noun(value)}, expected text")


def whole_characters(text: str) -> str:
    """The text itself; ``ValueError`` when it holds half a character (a lone surrogate)."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("holds half a character (a lone surrogate)") from None
    return text


def _digits(value: int) -> str:
    if value.bit_length() > 4096:  # Python refuses to print far longer integers
        raise ValueError("is a number with more than a thousand digits")
    return str(value)


def _instant(value: object) -> str:
    if type(value) is not str:
        raise ValueError(f"is {noun(value)}, expected {AN_INSTANT}")
    return whole_characters(value)


def _date(value: object) -> str:
    if type(value) is str and len(value) == 10:
        try:
            return date.fromisoformat(value).isoformat()
        except ValueError:
            pass
    raise ValueError("is not a date such as 2024-05-01")


def _bool(value: object) -> bool:
    if type(value) is bool:
        return value
    if type(value) is str and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError(f"is {noun(value)}, expected true or false")


def _int(value: object) -> int:
    exact = type(value) is float and value.is_integer() and abs(value) <= _EXACT_FLOAT
    digits = type(value) is str and _WHOLE.fullmatch(value)
    if not (type(value) is int or exact or digits):
        raise ValueError(f"is {noun(value)}, expected a whole number")
    whole: int = int(value)  # type: ignore[call-overload]  # one of the three, by the line above
    if whole not in _INT64:
        raise ValueError("is too large for a whole number of 64 bits")
    return whole


def _number(value: object) -> float:
    if type(value) in (int, float) or (type(value) is str and _DECIMAL.fullmatch(value)):
        try:
            number = float(value)  # type: ignore[arg-type]  # narrowed by the line above
        except OverflowError:
            raise ValueError("is too large for a number") from None
        if number - number == 0:
            return number
    raise ValueError(f"is {noun(value)} that is not finite or no number, expected a number")


def _list(value: object) -> list[str]:
    if type(value) is not list:
        raise ValueError(f"is {noun(value)}, expected a list")
    try:
        quick = "".join(value).isascii()
    except TypeError:
        quick = False
    if quick:
        return value if len(value) < 2 else sorted(set(value))
    return sorted({_text(item) for item in value if item is not None})


def _json(value: object) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        raise ValueError("cannot be written as JSON") from None


@dataclass(frozen=True, slots=True)
class JsonType:
    """How one value is accepted - ``ValueError`` says why it is not - and the Python types that need no look."""

    accept: Callable[[Any], object]
    quick: frozenset[type] = frozenset()


_STR: frozenset[type] = frozenset({str, type(None)})
_BOOL: frozenset[type] = frozenset({bool, type(None)})
_INT: frozenset[type] = frozenset({int, type(None)})
TYPES: dict[str, JsonType] = {
    "id": JsonType(_id, _STR),
    "text": JsonType(_text, _STR),
    "email": JsonType(_text, _STR),
    "instant": JsonType(_instant, _STR),
    "date": JsonType(_date),
    "bool": JsonType(_bool, _BOOL),
    "int": JsonType(_int, _INT),
    "number": JsonType(_number),
    "list": JsonType(_list),
    "json": JsonType(_json),
}
