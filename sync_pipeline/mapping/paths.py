"""Reading a value at a dotted path from records of any shape."""

from __future__ import annotations

from collections.abc import Sequence

from sync_pipeline.mapping.values import Bad, noun


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
