"""The fields of an entity: what the source has, what the target gets, and changing that; for console and terminal.

Changes are in the set-up's ``mappings``, over the shipped files and those in SYNC_MAPPINGS_DIR; taking one out
brings back what is below it. Whether a change is valid is for the parser of mappings to say, over all of them together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sync_pipeline.errors import ConfigError, MappingFileError, SyncError
from sync_pipeline.mapping.load import fields_in, load_specs, no_such_entity, specs_of
from sync_pipeline.mapping.spec import EntitySpec, Field
from sync_pipeline.mapping.text import step_text, value_text
from sync_pipeline.mapping.transforms import TRANSFORMS
from sync_pipeline.setup.examples import Examples, SourceField, examples, source_fields, unknown_source
from sync_pipeline.setup.field_form import FieldForm, beyond, check_name, form_of, values_of
from sync_pipeline.setup.service import SetupService
from sync_pipeline.yaml_source import closest

if TYPE_CHECKING:
    from sync_pipeline.mapping.samples import SampleOutcome

__all__ = [
    "BeforeAfter", "EntityFields", "FieldForm", "SourceField", "TargetField", "TransformHelp", "change_field", "check_drop", "check_field",
    "drop_field", "entity_fields", "field_form", "field_warning", "mapping_of", "preview_records", "restore_field", "target_fields", "would_be",
]  # fmt: skip

_LONGEST_DETAIL = 300
SHOWN_RECORDS = 5


@dataclass(frozen=True, slots=True)
class TargetField:
    """A field the target gets, everything of it in the texts of a form."""

    name: str
    source: str
    constant: str
    transforms: tuple[str, ...]
    function: str
    type: str
    required: bool
    references: str
    owner: str
    personal: bool
    description: str
    is_own: bool
    """Whether the set-up says something about it: restoring takes that out."""
    dropped: bool
    form: FieldForm
    """The form to change it, filled in."""


@dataclass(frozen=True, slots=True)
class TransformHelp:
    """One transform of the vocabulary, with its syntax and an example."""

    name: str
    does: str
    argument: str
    written: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class EntityFields:
    """Everything there is to see of one entity's mapping."""

    entity: str
    description: str
    source_fields: tuple[SourceField, ...]
    target_fields: tuple[TargetField, ...]
    transforms: tuple[TransformHelp, ...]
    note: str
    """Why the examples are samples; "" when they are of real records."""


@dataclass(frozen=True, slots=True)
class Layers:
    """One entity's mapping: without the set-up (None: it is only there), the set-up's part, and both together."""

    base: EntitySpec | None
    tx: dict[str, Any]
    spec: EntitySpec

    @property
    def below(self) -> dict[str, Field]:
        """The fields as they would be without the set-up."""
        return {field.name: field for field in self.base.fields} if self.base else {}

    @property
    def now(self) -> dict[str, Field]:
        """The fields in force."""
        return {field.name: field for field in self.spec.fields}


def mapping_of(setup: SetupService, entity: str) -> Layers:
    """The current mapping of an entity; NotFound when there is no such entity."""
    settings = setup.settings()
    specs = specs_of(settings)
    if entity not in specs:
        raise no_such_entity(entity, specs)
    base = load_specs(settings.mappings_dir, profile=settings.snapshots_profile).get(entity)
    return Layers(base, fields_in(settings.setup_document, entity), specs[entity])


def entity_fields(setup: SetupService, entity: str) -> EntityFields:
    """The source's fields with examples of real records, the target's, and what can be done on the way."""
    layers = mapping_of(setup, entity)
    found: Examples = examples(setup, layers.spec)
    return EntityFields(
        entity,
        layers.spec.description,
        source_fields(found.records, layers.spec.fields),
        _target_fields(layers),
        transform_help(),
        found.why,
    )


def target_fields(setup: SetupService, entity: str) -> tuple[TargetField, ...]:
    """The target's fields alone; no request is sent."""
    return _target_fields(mapping_of(setup, entity))


def field_form(setup: SetupService, entity: str, name: str) -> FieldForm:
    """The form of a field - for a dropped one with its former values, for a new one empty."""
    layers = mapping_of(setup, entity)
    field = layers.now.get(name) or layers.below.get(name)
    return form_of(field) if field else FieldForm(name)


def transform_help() -> tuple[TransformHelp, ...]:
    """The vocabulary of transforms."""
    return tuple(
        TransformHelp(
            known.name,
            known.does,
            known.argument,
            step_text(known.name, known.example[0]),
            value_text(known.example[1]),
            value_text(known.example[2]),
        )
        for known in TRANSFORMS.values()
    )


def check_field(setup: SetupService, entity: str, form: FieldForm) -> str:
    """What is wrong with a filled-in field, in one sentence and without changing anything; "" when nothing is."""
    return _problem(lambda: would_be(setup, entity, form))


def field_warning(setup: SetupService, entity: str, form: FieldForm) -> str:
    """What is probably a mistake in a valid field; "" when nothing is."""
    spec = would_be(setup, entity, form)
    return unknown_source(setup, spec, spec.field(form.name))


def check_drop(setup: SetupService, entity: str, name: str) -> str:
    """What is wrong with dropping a field; "" when nothing is."""
    return _problem(lambda: would_be(setup, entity, drop=name))


def would_be(setup: SetupService, entity: str, form: FieldForm | None = None, *, drop: str = "") -> EntitySpec:
    """The mapping as it would be with one field changed or dropped; ConfigError says what is wrong with that."""
    layers = mapping_of(setup, entity)
    if form is None and not drop:
        return layers.spec
    name, value = (form.name, _changed(layers, form)) if form else (drop, _dropped(layers, drop))
    try:
        return setup.validate_change({_key(entity, name): value})[entity]
    except MappingFileError as error:
        raise _without_place(error, name) from None


def change_field(setup: SetupService, entity: str, form: FieldForm, *, since: str | None) -> str:
    """Change a field or add one; returns the new revision. ChangedMeanwhile, or ConfigError when it is not valid."""
    layers = mapping_of(setup, entity)
    value = _changed(layers, form)
    return _store(setup, entity, form.name, value, _summary(value) if value else "as it was", since)


def drop_field(setup: SetupService, entity: str, name: str, *, since: str | None) -> str:
    """Deliver a field no more; what is at the target is not changed. Returns the new revision."""
    return _store(setup, entity, name, _dropped(mapping_of(setup, entity), name), "dropped", since)


def restore_field(setup: SetupService, entity: str, name: str, *, since: str | None) -> str:
    """Take what the set-up says about a field out again; returns the new revision."""
    layers = mapping_of(setup, entity)
    _must_be_known(layers, name)
    return _store(setup, entity, name, None, "as it was", since) if name in layers.tx else setup.revision()


def _changed(layers: Layers, form: FieldForm) -> dict[str, Any] | None:
    """What the set-up has to say for a field to be as the form has it; None: nothing."""
    check_name(form.name, [*layers.now, *layers.below])
    below = layers.below.get(form.name)
    inherited = values_of(form_of(below)) if below else None
    return beyond(inherited, values_of(form)) or (None if below else {})


def _dropped(layers: Layers, name: str) -> str | None:
    _must_be_known(layers, name)
    return "drop" if name in layers.below else None


def _must_be_known(layers: Layers, name: str) -> None:
    known = {**layers.below, **layers.tx, **layers.now}
    if name not in known:
        raise ConfigError(f"{layers.spec.entity} has no field {name[:80]!r}.", fix=closest(name[:80], known))
    check_name(name, known)


def _store(setup: SetupService, entity: str, name: str, value: Any, detail: str, since: str | None) -> str:
    try:
        return setup.change({_key(entity, name): value}, "mapping changed", f"{entity}.{name}: {detail}", since=since)
    except MappingFileError as error:
        raise _without_place(error, name) from None


def _key(entity: str, name: str) -> str:
    return f"mappings.{entity}.fields.{name}"


def _summary(value: dict[str, Any]) -> str:
    text = ", ".join(f"{key}: {value_text(item)}" for key, item in value.items())
    return text if len(text) <= _LONGEST_DETAIL else text[: _LONGEST_DETAIL - 1] + "…"


def _problem(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except SyncError as error:
        return str(error)
    return ""


def _without_place(error: MappingFileError, name: str) -> ConfigError:
    """The same error for a person who looks at a form and never saw the file."""
    bare = error.message.removeprefix(f"{error.file}:{error.line}: {error.field}: ")
    here = f"fields.{name}"
    if error.field == here:
        return ConfigError(f"{name} {bare}", fix=error.fix)
    return ConfigError(f"{error.field.removeprefix(here + '.')}: {bare}", fix=error.fix)


def _target_fields(layers: Layers) -> tuple[TargetField, ...]:
    fields = {**layers.below, **layers.now}
    return tuple(_target_field(field, layers, dropped=name not in layers.now) for name, field in fields.items())


def _target_field(field: Field, layers: Layers, *, dropped: bool) -> TargetField:
    form = form_of(field)
    return TargetField(
        name=field.name,
        source=form.source,
        constant=form.constant,
        transforms=_texts(field),
        function=form.function,
        type=form.type,
        required=form.required,
        references=form.references,
        owner=form.owner,
        personal=form.personal,
        description=form.description,
        is_own=field.name in layers.tx,
        dropped=dropped,
        form=form,
    )


def _texts(field: Field) -> tuple[str, ...]:
    return tuple(step_text(step.name, step.argument) for step in field.transforms)


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """One record before and after a change. ``is_real`` is false for a sample."""

    record: str
    source: dict[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]
    changed: tuple[str, ...]
    """The target fields that would be different, new ones and dropped ones included."""
    problems_before: tuple[str, ...]
    problems: tuple[str, ...]
    """What is wrong with it after the change: it would be rejected."""
    left_out: str
    """The rule that keeps it out of scope after the change; "" when none does."""
    is_real: bool


def preview_records(
    setup: SetupService, entity: str, form: FieldForm | None, limit: int = SHOWN_RECORDS, *, drop: str = ""
) -> list[BeforeAfter]:
    """Records of the entity under the current mapping, and with one field changed (or dropped).

    ConfigError when the change is not valid. Only what one record shows by itself is checked: whether a value is unique
    and whether what it refers to exists, the trial says.
    """
    from sync_pipeline.mapping.samples import outcomes

    present, future = mapping_of(setup, entity).spec, would_be(setup, entity, form, drop=drop)
    found = examples(setup, present)
    records = found.records[:limit]
    start = setup.settings().start_date
    pairs = zip(records, outcomes(present, records, start), outcomes(future, records, start), strict=True)
    return [_compared(present, record, now, then, is_real=found.are_real) for record, now, then in pairs]


def _compared(
    spec: EntitySpec, source: dict[str, Any], now: SampleOutcome, then: SampleOutcome, *, is_real: bool
) -> BeforeAfter:
    names = [*then.fields, *(name for name in now.fields if name not in then.fields)]
    nothing = object()  # a field that is not there differs from one that is empty
    changed = tuple(n for n in names if now.fields.get(n, nothing) != then.fields.get(n, nothing))
    return BeforeAfter(
        record=_id(spec, source),
        source=source,
        before=now.fields,
        after=then.fields,
        changed=changed,
        problems_before=tuple(map(str, now.problems)),
        problems=tuple(map(str, then.problems)),
        left_out=then.excluded,
        is_real=is_real,
    )


def _id(spec: EntitySpec, source: dict[str, Any]) -> str:
    from sync_pipeline.mapping.frames import raw_frame

    return str(raw_frame(spec, [source])["source_id"].fillna("").iat[0])
