"""From JSON values to typed columns: what does not fit becomes missing, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from sync_pipeline.mapping.columns import ARROW, parse_instants, series_of
from sync_pipeline.mapping.json_types import AN_INSTANT, TYPES
from sync_pipeline.mapping.values import Bad


class Converted(NamedTuple):
    """A typed column, and the values that did not fit: (row, message, value)."""

    series: pd.Series[Any]
    issues: list[tuple[int, str, object]]


def convert(type_name: str, values: list[object]) -> Converted:
    """The values as a column of the declared type; never raises, whatever the values are."""
    kind = TYPES[type_name]
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
    return Converted(series, [(row, f"is not {AN_INSTANT}", values[row]) for row in rows])
