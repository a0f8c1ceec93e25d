"""Typed pandas columns from and to Arrow: the declared dtypes, and nothing guessed. Instants are read strictly, with their offset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

# Missing is NaN in a `str` column (pandas' own default dtype), NA in the masked ones.
STR: Any = pd.StringDtype(storage="pyarrow", na_value=np.nan)
INSTANT = pd.DatetimeTZDtype(unit="us", tz="UTC")

ARROW: dict[str, pa.DataType] = {
    "id": pa.large_string(),
    "text": pa.large_string(),
    "email": pa.large_string(),
    "date": pa.large_string(),
    "json": pa.large_string(),
    "instant": pa.timestamp("us", tz="UTC"),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "number": pa.float64(),
    "list": pa.list_(pa.large_string()),
}
_MASKED: dict[pa.DataType, Any] = {
    pa.large_string(): lambda: STR,
    pa.bool_(): pd.BooleanDtype,
    pa.int64(): pd.Int64Dtype,
    pa.float64(): pd.Float64Dtype,
}
_SHAPE = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})$"
_USUAL = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$"
_TOO_FINE = r"(\.\d{6})\d+"
# One day inside what four-digit years can say, so that no offset leads out of it.
_FIRST = pd.Timestamp("0001-01-02", tz="UTC")
_LAST = pd.Timestamp("9999-12-30", tz="UTC")


def series_of(array: pa.Array[Any] | pa.ChunkedArray[Any]) -> pd.Series[Any]:
    """An Arrow array as a Series of the declared dtype for its type."""
    if pa.types.is_list(array.type):
        return pd.Series(array.to_pylist(), dtype=object)
    if pa.types.is_timestamp(array.type):
        return pd.Series(array.to_pandas()).astype(INSTANT)
    return pd.Series(_MASKED[array.type]().__from_arrow__(array))


def text_series(values: Sequence[str | None]) -> pd.Series[str]:
    """A `str` column; raises ``UnicodeEncodeError`` on half a character."""
    return series_of(pa.array(values, pa.large_string()))


def text_list(series: pd.Series[Any]) -> list[str | None]:
    """A `str` column as a list with None for missing."""
    values: list[str | None] = pa.array(series, pa.large_string()).to_pylist()
    return values


def parse_instants(texts: Sequence[str | None]) -> pd.Series[Any]:
    """ISO instants with a zone as a UTC column; anything else becomes missing."""
    array: Any = pa.array(texts, pa.large_string())
    instants = _written_alike(array)
    return _parsed(array) if instants is None else instants


def _written_alike(array: Any) -> pd.Series[Any] | None:
    """The same where all are written as our connectors write them, in half the time; None where one is not."""
    if not pc.all(pc.match_substring_regex(array, _USUAL)).as_py():
        return None
    try:
        instants = pd.Series(pc.cast(array, pa.timestamp("us", tz="UTC")).to_pandas()).astype(INSTANT)
    except pa.ArrowInvalid:  # no such day, or second
        return None
    return instants.where(instants.between(_FIRST, _LAST))


def _parsed(array: Any) -> pd.Series[Any]:
    shaped = pc.fill_null(pc.match_substring_regex(array, _SHAPE), False)
    array = pc.if_else(shaped, array, None)
    # Nanoseconds would make pandas choose a unit that cannot hold distant years.
    array = pc.replace_substring_regex(array, _TOO_FINE, r"\1")
    series = pd.Series(STR.__from_arrow__(array))
    instants = pd.to_datetime(series, format="ISO8601", utc=True, errors="coerce").astype(INSTANT)
    return instants.where(instants.between(_FIRST, _LAST))


def instant_texts(series: pd.Series[Any]) -> list[str | None]:
    """A column of instants as ``YYYY-MM-DDTHH:MM:SS.mmmZ``."""
    return _formatted(series, "ms", "Z")


def day_texts(series: pd.Series[Any]) -> list[str | None]:
    """The UTC day of each instant as ``YYYY-MM-DD``."""
    return _formatted(series, "D", "")


def _formatted(series: pd.Series[Any], unit: Any, suffix: str) -> list[str | None]:
    naive = series.dt.tz_localize(None).to_numpy()
    texts = np.datetime_as_string(naive, unit=unit).tolist()
    return [None if text == "NaT" else text + suffix for text in texts]
