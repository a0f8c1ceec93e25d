"""From JSON values to typed columns: what does not fit becomes missing, with the reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import orjson
import pandas as pd
import pyarrow as pa

from sync_pipeline.mapping.columns import ARROW, series_of
from sync_pipeline.mapping.instants import parse_instants
from sync_pipeline.mapping.values import Bad, noun

_WHOLE = re.compile(r"[+-]?\d{1,19}")
_DECIMAL = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
_INT64 = range(-(2**63), 2**63)
_EXACT_FLOAT = 2.0**53
_AN_INSTANT = "an instant with its zone, such as 2024-05-01T09:30:00Z"


class Converted(NamedTuple):
    """A typed column, and the values that did not fit: (row, message, value)."""

    series: pd.Series[Any]
    issues: list[tuple[int, str, object]]


def convert(type_name: str, values: list[object]) -> Converted:
    """The values as a column of the declared type; never raises, whatever the values are."""
    kind = _TYPES[type_name]
    if kind.quick and set(map(type, values)) <= kind.quick and not (type_name == "id" and _any_nul(values)):
        try:
            return _instants(values) if type_name == "instant" else Converted(_build(type_name, values), [])
        except (UnicodeEncodeError, OverflowError, pa.ArrowInvalid):
            pass  # One value in the column is to blame: the slow way below finds which.
    fitting, issues = _one_by_one(kind.accept, values)
    if type_name != "instant":
        return Converted(_build(type_name, fitting), issues)
    series, late = _instants(fitting)
    return Converted(series, issues + late)


def id_or_none(value: object) -> str | None:
    """A record's id as text, None for null, empty and whatever cannot be an id."""
    try:
        return _id(value) or None
    except ValueError:
        return None


def fits(type_name: str, value: object) -> str | None:
    """Why a value does not fit a type, None when it does."""
    issues = convert(type_name, [value]).issues
    return issues[0][1] if issues else None


def _one_by_one(
    accept: Callable[[Any], object], values: list[object]
) -> tuple[list[object], list[tuple[int, str, object]]]:
    fitting: list[object] = [None] * len(values)
    issues: list[tuple[int, str, object]] = []
    for row, value in enumerate(values):
        if value is None:
            continue
        if type(value) is Bad:
            issues.append((row, value.message, value.value))
            continue
        try:
            fitting[row] = accept(value)
        except ValueError as error:
            issues.append((row, str(error), value))
    return fitting, issues


def _any_nul(values: list[Any]) -> bool:
    return "\0" in "".join(filter(None, values))


def _build(type_name: str, values: list[object]) -> pd.Series[Any]:
    if type_name == "id":
        values = [value or None for value in values]
    if type_name == "list":
        return pd.Series(values, dtype=object)
    return series_of(pa.array(values, ARROW[type_name]))


def _instants(values: list[Any]) -> Converted:
    series = parse_instants(values)
    unread = series.isna().to_numpy()
    rows = [row for row in unread.nonzero()[0].tolist() if values[row] is not None]
    return Converted(series, [(row, f"is not {_AN_INSTANT}", values[row]) for row in rows])


def _id(value: object) -> str:
    if type(value) is int:
        return _digits(value)
    if type(value) is not str:
        raise ValueError(f"is {noun(value)}, expected an id")
    if "\0" in value:
        raise ValueError("holds a NUL character, expected an id")
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
        raise ValueError(f"is {noun(value)}, expected {_AN_INSTANT}")
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
class _Type:
    accept: Callable[[Any], object]
    quick: frozenset[type] = frozenset()


_STR: frozenset[type] = frozenset({str, type(None)})
_BOOL: frozenset[type] = frozenset({bool, type(None)})
_INT: frozenset[type] = frozenset({int, type(None)})
_TYPES: dict[str, _Type] = {
    "id": _Type(_id, _STR),
    "text": _Type(_text, _STR),
    "email": _Type(_text, _STR),
    "instant": _Type(_instant, _STR),
    "date": _Type(_date),
    "bool": _Type(_bool, _BOOL),
    "int": _Type(_int, _INT),
    "number": _Type(_number),
    "list": _Type(_list),
    "json": _Type(_json),
}
