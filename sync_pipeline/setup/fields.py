"""Stand-in of the mapping's side of the set-up, until the real one is merged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.load import specs_of
from sync_pipeline.mapping.transforms import TRANSFORMS
from sync_pipeline.setup.desk import Desk


@dataclass(frozen=True, slots=True)
class SourceField:
    """A field of the source."""

    path: str
    example: str
    type: str
    mapped_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TargetField:
    """A field of the target."""

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
    is_own: bool = False
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class EntityFields:
    """The fields of an entity."""

    entity: str
    description: str
    source_fields: tuple[SourceField, ...]
    target_fields: tuple[TargetField, ...]
    transforms: Any


@dataclass(frozen=True, slots=True)
class FieldForm:
    """What was entered."""

    name: str
    source: str = ""
    constant: str = ""
    transform: str = ""
    function: str = ""
    type: str = "text"
    required: bool = False
    owner: str = "source"
    references: str = ""
    one_of: str = ""
    max_length: str = ""
    personal: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class RecordPreview:
    """One record before and after."""

    source: dict[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]
    problems: tuple[str, ...] = field(default=())


def entity_fields(desk: Desk, entity: str) -> EntityFields:
    """The fields."""
    spec = specs_of(desk.settings())[entity]
    return EntityFields(
        entity,
        spec.description,
        tuple(SourceField(f.source_path, "x", "text", (f.name,)) for f in spec.fields if f.source),
        tuple(
            TargetField(
                f.name,
                f.source_path,
                "" if f.constant is None else str(f.constant),
                tuple(map(str, f.transforms)),
                f.function.name if f.function else "",
                f.type,
                f.required,
                f.references or "",
                f.owner,
                f.personal,
                f.description,
            )
            for f in spec.fields
        ),
        tuple(TRANSFORMS.values()) if isinstance(TRANSFORMS, dict) else TRANSFORMS,
    )


def check_field(desk: Desk, entity: str, form: FieldForm) -> str:
    """What is wrong."""
    return "" if form.name else "A field needs a name."


def change_field(desk: Desk, entity: str, form: FieldForm, *, since: str | None) -> None:
    """Change."""
    raise ConfigError("Not built yet.")


def drop_field(desk: Desk, entity: str, name: str, *, since: str | None) -> None:
    """Drop."""
    raise ConfigError("Not built yet.")


def restore_field(desk: Desk, entity: str, name: str, *, since: str | None) -> None:
    """Restore."""
    raise ConfigError("Not built yet.")


def preview_records(desk: Desk, entity: str, form: FieldForm | None, limit: int = 5) -> list[RecordPreview]:
    """Records."""
    return [RecordPreview({"id": "1", "name": "Ada"}, {"name": "Ada"}, {"name": "Ada"})]
