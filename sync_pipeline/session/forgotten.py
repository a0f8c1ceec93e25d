"""Cleans records as they are read: those of forgotten people are dropped, others lose what is personal about them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from sync_pipeline.connectors.paging import Record
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.mapping.values import value_at
from sync_pipeline.store.forgotten import Forgotten


def cleaned(forgotten: Forgotten, spec: EntitySpec, record: Record) -> Record | None:
    """The record; None when it was forgotten; without personal values when it refers to a forgotten person."""
    if not forgotten.hashes:
        return record
    if forgotten.knows(value_at(record, spec.source.id_path)):
        return None
    referring = (field for field in spec.fields if field.references and field.source)
    if not any(forgotten.knows(value_at(record, field.source)) for field in referring):
        return record
    made = deepcopy(record)
    personal = [field.source for field in spec.fields if field.personal and field.source]
    if spec.label is not None and spec.label.personal:
        personal.append(spec.label.source)
    for path in personal:
        _clear(made, path)
    return made


def _clear(record: Any, path: tuple[str, ...]) -> None:
    parent = value_at(record, path[:-1]) if len(path) > 1 else record
    if isinstance(parent, dict) and path[-1] in parent:
        parent[path[-1]] = None
