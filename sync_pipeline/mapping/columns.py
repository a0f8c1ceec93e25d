"""Typed pandas columns from and to Arrow: the declared dtypes, and nothing guessed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

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


_MASKED: dict[pa.DataType, Any] = {
    pa.large_string(): lambda: STR,
    pa.bool_(): pd.BooleanDtype,
    pa.int64(): pd.Int64Dtype,
    pa.float64(): pd.Float64Dtype,
}
