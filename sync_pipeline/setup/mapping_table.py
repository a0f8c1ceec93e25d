"""One entity's mapping as a table: source, example, steps, target and result of a record that can be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Any

from sync_pipeline.mapping.load import load_specs
from sync_pipeline.settings import setup_text
from sync_pipeline.setup.document import with_changes
from sync_pipeline.setup.examples import LIMIT, source_fields
from sync_pipeline.setup.field_form import FieldForm, beyond, form_of, values_of
from sync_pipeline.setup.fields import (
    BeforeAfter,
    EntityFields,
    SourceField,
    TargetField,
    entity_fields,
    mapping_of,
    preview_records,
)
from sync_pipeline.setup.service import SetupService

NOT_OFFERED = ("object", "objects")
LONGEST_TITLE = 60


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One target field, with what it is made of and becomes in the chosen record."""

    field: TargetField
    example: str
    result: Any
    has_result: bool
    """Whether the record has the field at the target; a field that is not delivered has no result."""
    kept: str
    """Why it cannot be removed; "" when it can."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A source field that nothing is made of, and a name for it at the target."""

    source: SourceField
    name: str


@dataclass(frozen=True, slots=True)
class MappingTable:
    """An entity's mapping, shown by one record."""

    found: EntityFields
    rows: tuple[FieldRow, ...]
    records: tuple[str, ...]
    """The records that can be chosen, as people call them, in the order of their numbers."""
    chosen: BeforeAfter | None
    suggestions: tuple[Suggestion, ...]
    file: Path | None
    """The user's own file that decides about this entity; None when there is none."""


def mapping_table(setup: SetupService, entity: str, record: int) -> MappingTable:
    """The table, with the record of this number (the first one where there is none)."""
    layers, found = mapping_of(setup, entity), entity_fields(setup, entity)
    seen = preview_records(setup, entity, None, LIMIT)
    chosen = chosen_of(seen, record)
    examples = source_fields((chosen.source,) if chosen else (), layers.spec.fields)
    values = {each.path: each.example for each in examples}
    after, needed = chosen.after if chosen else {}, layers.spec.needed_fields
    rows = tuple(
        FieldRow(
            field,
            values.get(field.source, field.constant),
            after.get(field.name),
            field.name in after,
            needed.get(field.name, ""),
        )
        for field in found.target_fields
    )
    return MappingTable(found, rows, titles(setup, entity, seen), chosen, _suggestions(found), file_of(setup, entity))


def chosen_of(seen: Sequence[BeforeAfter], record: int) -> BeforeAfter | None:
    """The record of this number, or the first one."""
    return seen[record if 0 <= record < len(seen) else 0] if seen else None


def titles(setup: SetupService, entity: str, seen: Sequence[BeforeAfter]) -> tuple[str, ...]:
    """What people call these records: their label, or else their id."""
    label = mapping_of(setup, entity).spec.label
    return tuple(_title(each, label.source if label else ()) for each in seen)


def name_of(source: str) -> str:
    """A name for what a source field is delivered as: customFields.0.value becomes value."""
    last = source.rpartition(".")[2].strip("'")
    letters = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in last)
    return "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in letters).strip("_")


def file_of(setup: SetupService, entity: str) -> Path | None:
    """The user's file of an entity."""
    directory = setup.settings().mappings_dir
    files = [directory / f"{entity}{suffix}" for suffix in (".yaml", ".yml")] if directory else []
    return next((file for file in files if file.is_file()), None)


def patch_of(setup: SetupService, entity: str, form: FieldForm, file: Path) -> str:
    """What has to be changed in the user's file for a field to be as the form has it, as a patch; "" when nothing has."""
    shipped = load_specs(profile=setup.settings().snapshots_profile).get(entity)
    base = next((field for field in shipped.fields if field.name == form.name), None) if shipped else None
    wanted = beyond(values_of(form_of(base)) if base else None, values_of(form))
    before = setup_text(file)
    after = with_changes(before, {("fields", form.name): wanted or (None if base else {})})
    lines = unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{file.name}", f"b/{file.name}"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _suggestions(found: EntityFields) -> tuple[Suggestion, ...]:
    """Simple source fields with a value that are not mapped; those named like a field that is not delivered come first."""
    delivered = {field.name for field in found.target_fields if not field.dropped}
    known = {field.name for field in found.target_fields}
    free = [
        Suggestion(source, name_of(source.path))
        for source in found.source_fields
        if not source.mapped_to and source.type not in NOT_OFFERED and source.example
    ]
    named = [each for each in free if each.name and each.name not in delivered]
    return tuple(sorted(named, key=lambda each: (each.name not in known, each.source.path)))


def _title(record: BeforeAfter, label: tuple[str, ...]) -> str:
    value: Any = record.source
    for key in label:
        value = value.get(key) if isinstance(value, dict) else None
    text = str(value or "")[:LONGEST_TITLE]
    return f"{text} ({record.record})" if text else record.record
