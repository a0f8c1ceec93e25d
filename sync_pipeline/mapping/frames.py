"""The three kinds of frame between the ops, their dtypes, and their exact way through Parquet.

raw      source_id, record (JSON of the untouched source record)
mapped   source_id, partition, one column a target field, problems
checked  ... and status (accepted | rejected | excluded | waiting) and rule
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Literal

import orjson
import pandas as pd
import pyarrow as pa

from sync_pipeline.mapping.columns import ARROW, series_of, text_series
from sync_pipeline.mapping.convert import id_or_none
from sync_pipeline.mapping.paths import value_at
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.mapping.values import noun

Kind = Literal["raw", "mapped", "checked"]

ACCEPTED, REJECTED, EXCLUDED, WAITING = "accepted", "rejected", "excluded", "waiting"

_TEXT = pa.large_string()


def arrow_schema(spec: EntitySpec, kind: Kind) -> pa.Schema:
    """The columns of a frame of this kind, in order, with their Arrow types."""
    if kind == "raw":
        return pa.schema([("source_id", _TEXT), ("record", _TEXT)])
    columns: list[tuple[str, pa.DataType]] = [("source_id", _TEXT), ("partition", _TEXT)]
    columns += [(field.column, ARROW[field.type]) for field in spec.fields]
    columns += [("problems", _TEXT)]
    if kind == "checked":
        columns += [("status", _TEXT), ("rule", _TEXT)]
    return pa.schema(columns)


def to_arrow(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """The frame as a table of exactly this schema."""
    arrays = [pa.array(frame[name], schema.field(name).type, from_pandas=True) for name in schema.names]
    return pa.Table.from_arrays(arrays, schema=schema)


def from_arrow(table: pa.Table) -> pd.DataFrame:
    """The frame :func:`to_arrow` was given: same columns, dtypes, values and missing values."""
    return pd.DataFrame({name: series_of(table.column(name)) for name in table.column_names})


def raw_frame(spec: EntitySpec, records: Iterable[object]) -> pd.DataFrame:
    """Records as the connector read them; an id that is null or no id at all is missing."""
    return frame_of_rows([raw_row(spec, record) for record in records])


RawRow = tuple[str | None, bytes]
"""A record's id, and all of it as JSON with sorted keys: equal records, equal bytes."""


def raw_row(spec: EntitySpec, record: object) -> RawRow:
    """One record as a row of a raw frame."""
    return id_or_none(value_at(record, spec.source.id_path)), _record_json(record)


def frame_of_rows(rows: Sequence[RawRow]) -> pd.DataFrame:
    """Rows as a raw frame."""
    records = pa.array([row[1] for row in rows], pa.large_binary()).cast(_TEXT)
    return pd.DataFrame({"source_id": text_series([row[0] for row in rows]), "record": series_of(records)})


def _record_json(record: object) -> bytes:
    try:
        return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return _lenient_json(record).encode()


def _lenient_json(record: object) -> str:
    """Half characters and integers beyond 64 bits: the slower encoder keeps both as they are."""
    try:
        return json.dumps(record, default=repr, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        # Nested without end, or an integer too long to print: the mapping rejects it as no object.
        return json.dumps(f"{noun(record)} that cannot be written as JSON")
