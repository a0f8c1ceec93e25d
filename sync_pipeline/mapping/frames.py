"""The kinds of frame of one batch, their dtypes, and the exact way of a raw one through Parquet.

raw      source_id, record (JSON of the untouched source record; missing of one that is known to be unchanged), source_hash
mapped   source_id, partition, one column a target field, problems, and the rule by which its source leaves a record out
checked  ... and status (accepted | rejected | excluded | waiting) and rule
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import orjson
import pandas as pd
import pyarrow as pa

from sync_pipeline.mapping.columns import series_of, text_series
from sync_pipeline.mapping.json_types import LONGEST_ID, id_or_none
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.mapping.values import noun, value_at

ACCEPTED, REJECTED, EXCLUDED = "accepted", "rejected", "excluded"

_TEXT = pa.large_string()
RAW = pa.schema([("source_id", _TEXT), ("record", _TEXT), ("source_hash", _TEXT)])
"""The columns of a raw frame, in order, with their Arrow types."""


def to_arrow(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """The frame as a table of exactly this schema."""
    arrays = [pa.array(frame[name], schema.field(name).type, from_pandas=True) for name in schema.names]
    return pa.Table.from_arrays(arrays, schema=schema)


def from_arrow(table: pa.Table) -> pd.DataFrame:
    """The frame :func:`to_arrow` was given: same columns, dtypes, values and missing values."""
    return pd.DataFrame({name: series_of(table.column(name)) for name in table.column_names})


def raw_frame(spec: EntitySpec, records: Iterable[object]) -> pd.DataFrame:
    """Records as the connector read them; an id that is null or no id at all is missing."""
    return frame_of_rows(raw_rows(spec, records))


class RawRow(NamedTuple):
    """A record's id, all of it as JSON with sorted keys (equal records, equal bytes), and the hash of that."""

    source_id: str | None
    content: bytes
    source_hash: str


def raw_rows(spec: EntitySpec, records: Iterable[object]) -> list[RawRow]:
    """Records as rows of a raw frame."""
    path, rows = spec.source.id_path, []
    for record in records:
        content = _record_json(record)
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        rows.append(RawRow(_id_at(record, path), content, digest))
    return rows


def _id_at(record: object, path: Sequence[str]) -> str | None:
    found = record.get(path[0]) if len(path) == 1 and type(record) is dict else value_at(record, path)
    # Nearly all ids are plain text, which needs no conversion.
    is_plain = type(found) is str and found.isascii() and len(found) <= LONGEST_ID and "\0" not in found
    return found or None if is_plain else id_or_none(found)  # type: ignore[return-value]  # it is text, by the line above


def frame_of_rows(rows: Sequence[RawRow], unchanged: Collection[str | None] = ()) -> pd.DataFrame:
    """Rows as a raw frame; of those that are ``unchanged`` it has no record."""
    contents = [None if row.source_id in unchanged else row.content for row in rows]
    return pd.DataFrame(
        {
            "source_id": text_series([row.source_id for row in rows]),
            "record": series_of(pa.array(contents, pa.large_binary()).cast(_TEXT)),
            "source_hash": text_series([row.source_hash for row in rows]),
        }
    )


def _record_json(record: object) -> bytes:
    try:
        return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return _lenient_json(record).encode()


def _lenient_json(record: object) -> str:
    """Half characters and integers beyond 64 bits: the slower encoder keeps both unchanged."""
    try:
        return json.dumps(record, default=repr, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        # Nested without end, or an integer too long to print: the mapping rejects it as no object.
        return json.dumps(f"{noun(record)} that cannot be written as JSON")
