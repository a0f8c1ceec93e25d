"""Sealed batches: what the checks let through, in the canonical form in which it is stored, compared and sent."""

from __future__ import annotations

from typing import Any, Literal

import orjson
import pandas as pd
import pyarrow as pa

from sync_pipeline.mapping.canonical import canonical_rows
from sync_pipeline.mapping.columns import text_list, text_series
from sync_pipeline.mapping.frames import arrow_schema
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.store.staging import StagedRow

Kind = Literal["raw", "mapped", "sealed"]

SEALED = ("source_id", "partition", "fields", "fields_hash", "status", "rule", "waiting_for")
"""Columns of a sealed frame, all text: ``fields`` is canonical JSON, ``waiting_for`` a JSON list of [entity, id]."""


def schema(spec: EntitySpec, kind: Kind) -> pa.Schema:
    """The Arrow schema of a batch of this kind."""
    if kind == "sealed":
        return pa.schema([(name, pa.large_string()) for name in SEALED])
    return arrow_schema(spec, kind)


def seal(spec: EntitySpec, frame: pd.DataFrame) -> pd.DataFrame:
    """A checked frame (with ``waiting_for``) as a sealed one."""
    rows = canonical_rows(spec, frame)
    return pd.DataFrame(
        {
            "source_id": frame["source_id"].array,
            "partition": frame["partition"].array,
            "fields": text_series([fields.decode() for fields, _ in rows]).array,
            "fields_hash": text_series([digest for _, digest in rows]).array,
            "status": frame["status"].array,
            "rule": frame["rule"].array,
            "waiting_for": frame["waiting_for"].array,
        }
    )


def staged_rows(sealed: pd.DataFrame, delivered: frozenset[tuple[str, str]] = frozenset()) -> list[StagedRow]:
    """A sealed frame as rows to stage; a row without an id cannot be staged and stands in the rejects only.

    Rows that waited only for what is in ``delivered`` - pairs of entity and id - are accepted.
    """
    named = sealed[sealed["source_id"].notna()]
    columns: list[Any] = [text_list(named[name]) for name in SEALED]
    return [
        (source_id, partition, fields, digest, _status(status, waiting_for, delivered), rule)
        for source_id, partition, fields, digest, status, rule, waiting_for in zip(*columns, strict=True)
    ]


def is_wanted(row: StagedRow) -> bool:
    """Whether the record should stand at the target; not so one that waits for another that was set aside."""
    status, rule = row[4], row[5]
    return status == "accepted" or (status == "waiting" and rule is None)


def _status(status: str, waiting_for: str | None, delivered: frozenset[tuple[str, str]]) -> str:
    if status != "waiting" or waiting_for is None:
        return status
    return "accepted" if all((entity, key) in delivered for entity, key in orjson.loads(waiting_for)) else "waiting"
