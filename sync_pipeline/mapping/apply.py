"""The mapping itself: raw records in, typed target fields out, column by column."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson
import pandas as pd

from sync_pipeline.gc_pause import gc_paused
from sync_pipeline.mapping.columns import STR, day_texts, text_list, text_series
from sync_pipeline.mapping.convert import convert
from sync_pipeline.mapping.facts import facts_of, labels_of
from sync_pipeline.mapping.spec import LEFT_OUT, EntitySpec, Field, UserFunction
from sync_pipeline.mapping.values import VALID_VALUES, WHOLE_RECORD, Bad, Problems, column_at, noun

Record = dict[str, Any]

_CHUNK = 128


@gc_paused()
def map_frame(spec: EntitySpec, raw: pd.DataFrame) -> pd.DataFrame:
    """The mapped frame of a raw one; a value that does not fit is missing and has a problem."""
    problems = Problems()
    columns: dict[str, pd.Series[Any]] = {}
    beside = _Beside([], [], [])
    for field, values in _gathered(spec, text_list(raw["record"]), problems, beside):
        converted = convert(field.type, values)
        columns[field.column] = converted.series
        for row, message, value in converted.issues:
            problems.add(row, field.name, VALID_VALUES, message, value)
    return pd.DataFrame(
        {
            "source_id": raw["source_id"].reset_index(drop=True).astype(STR),
            "partition": _partitions(spec, columns, len(raw)),
            **columns,
            "problems": problems.column(len(raw)),
            "record_label": text_series(beside.labels),
            "record_facts": text_series(beside.facts),
            "rule": text_series(beside.rules),
        }
    )


def resolve_links(
    spec: EntitySpec, frame: pd.DataFrame, find: Callable[[str, list[str]], Mapping[str, str]]
) -> pd.DataFrame:
    """A mapped frame with the values of ``link`` fields looked up: ``find`` gives those of an entity that it knows."""
    for name, entity in spec.links.items():
        column = spec.field(name).column
        values = [value or None for value in text_list(frame[column])]
        found = find(entity, sorted({value for value in values if value}))
        frame[column] = text_series([found.get(value) if value else None for value in values]).to_numpy()
    return frame


class _Beside(NamedTuple):
    """What is kept of the records beside their fields."""

    labels: list[str | None]
    facts: list[str | None]
    rules: list[str | None]


def _gathered(
    spec: EntitySpec, texts: list[str | None], problems: Problems, beside: _Beside
) -> list[tuple[Field, list[object]]]:
    """Each field's values of all records, as JSON has them after transforms."""
    gathered: list[tuple[Field, list[object]]] = [(field, []) for field in spec.fields]
    # Few parsed records at a time: they stay in the processor's cache and never pile up (twice as fast).
    for start in range(0, len(texts), _CHUNK):
        chunk = texts[start : start + _CHUNK]
        records = _records(chunk, start, problems)
        beside.labels.extend(labels_of(spec, records))
        beside.facts.extend(facts_of(spec, records))
        beside.rules.extend(str(record[LEFT_OUT]) if LEFT_OUT in record else None for record in records)
        for field, values in gathered:
            values.extend(_values(field, records, chunk))
    return gathered


def _records(texts: list[str | None], start: int, problems: Problems) -> list[Record]:
    """The records as dicts; what is none becomes an empty one with a problem."""
    records: list[Record] = []
    for row, text in enumerate(texts, start):
        record = _parsed(text)
        if type(record) is not dict:
            message = record.message if type(record) is Bad else f"is {noun(record)}, expected an object"
            problems.add(row, WHOLE_RECORD, VALID_VALUES, message, text)
            record = {}
        records.append(record)
    return records


def _parsed(text: str | None) -> object:
    try:
        return orjson.loads(text or "null")
    except orjson.JSONDecodeError:
        return _decoded(text or "")


def _decoded(text: str) -> object:
    """What the strict decoder refuses, read by the lenient one: NaN, half characters, huge numbers."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return Bad("is not JSON", text)


def _values(field: Field, records: list[Record], texts: list[str | None]) -> list[object]:
    if not field.source:
        values: list[object] = [*records] if field.function else [field.constant] * len(records)
    else:
        values = column_at(records, field.source)
        if field.type != "number" and float in set(map(type, values)):
            values = _exact(field, records, texts, values)
    for step in field.transforms:
        values = step.run(values)
    if field.function:
        values = _called(field.function, values)
    if field.default is not None:
        values = [field.default if value is None else value for value in values]
    return values


def _exact(field: Field, records: list[Record], texts: list[str | None], values: list[object]) -> list[object]:
    """An integer beyond 64 bits was read as a float: read it again, digit by digit."""
    for row, value in enumerate(values):
        if type(value) is float:
            again = _decoded(texts[row] or "")
            if type(again) is dict:
                records[row] = again
    return column_at(records, field.source)


def _called(function: UserFunction, values: list[object]) -> list[object]:
    def call(value: object) -> object:
        if value is None or type(value) is Bad:
            return value
        try:
            # A copy: what the user's code does to a record must not reach the other fields.
            return function.call(copy.deepcopy(value) if type(value) is dict else value)
        except Exception as error:  # noqa: BLE001  # the user's code may raise anything: it concerns one record
            return Bad(f"{function.name} raised {type(error).__name__}: {error}", value)

    return [call(value) for value in values]


def _partitions(spec: EntitySpec, columns: dict[str, pd.Series[Any]], length: int) -> pd.Series[str]:
    if spec.partition_by is None:
        return text_series([None] * length)
    return text_series(day_texts(columns[spec.field(spec.partition_by).column]))
