"""The fields of an entity as properties of a record, there and back: there are no instants, booleans or lists."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from sync_pipeline.connectors.answers import as_text
from sync_pipeline.connectors.highlevel.profile import HighLevelProfile, ObjectFacts
from sync_pipeline.mapping.spec import EntitySpec, Field

TITLE = 100
"""How much of a text is a title."""
SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Properties:
    """How the fields of one entity are written and read."""

    profile: HighLevelProfile
    spec: EntitySpec

    @property
    def facts(self) -> ObjectFacts:
        """The entity's object."""
        return self.profile.object_of(self.spec.entity)

    def written(self, row: Mapping[str, Any], *, new: bool) -> dict[str, Any]:
        """These fields, and what is made of them for people; what is empty is null in a change, and left out of a new record."""
        fields = {field.name: field for field in self.spec.fields}
        own = {name: self._write(fields.get(name), value) for name, value in row.items()}
        made = {name: value for name, value in self._made(row, new=new).items() if name not in fields}
        found = {**made, **own}
        return {name: value for name, value in found.items() if value is not None} if new else found

    def read(self, properties: Mapping[str, Any]) -> dict[str, Any]:
        """Properties, under bare or full keys, as fields of the types that the mapping has."""
        bare = by_bare_keys(properties)
        return bare | {field.name: self._read(field, bare.get(field.name)) for field in self.spec.fields}

    def shows(self, properties: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
        """Whether properties that were read hold what is derived from these fields, in whatever form it is returned."""
        own = {field.name for field in self.spec.fields}
        made = {name: value for name, value in self._made(row, new=True).items() if name not in own}
        return all(self._is(name, value, properties.get(name)) for name, value in made.items())

    def _is(self, name: str, value: Any, found: Any) -> bool:
        if name in self.facts.day and isinstance(found, str):
            found = found[:10]
        if isinstance(value, float) and isinstance(found, int | str):
            with suppress(ValueError):
                found = float(found)
        return bool((found or None) == (value or None))

    def archived(self, *, is_archived: bool) -> dict[str, Any]:
        """The property that says whether a record is archived."""
        return {self.profile.objects.archived: self.profile.booleans[is_archived]}

    def _made(self, row: Mapping[str, Any], *, new: bool) -> dict[str, Any]:
        facts, made = self.facts, dict[str, Any]()
        names = facts.title or tuple(field.name for field in self.spec.fields if field.type in ("text", "email"))[:1]
        if new or any(name in row for name in names):
            texts = (" ".join(as_text(row.get(name) or "").split())[:TITLE] for name in names)
            made[self.profile.objects.title] = next(filter(None, texts), facts.empty)
        for day, source in facts.day.items():
            if source in row:
                made[day] = as_text(row[source])[:10] if row[source] else None
        for hours, source in facts.hours.items():
            if source in row:
                made[hours] = round(row[source] / SECONDS, 2) if isinstance(row[source], int | float) else None
        return made

    def _write(self, field: Field | None, value: Any) -> Any:
        kind = None if field is None else field.type
        if value is None or value in ("", []):
            return None
        if kind == "bool" and isinstance(value, bool):
            return self.profile.booleans[value]
        if kind == "list" and isinstance(value, list):
            lines = [as_text(item) for item in value]
            is_plain = not lines[0].startswith("[") and all(item and item.splitlines() == [item] for item in lines)
            return "\n".join(lines) if is_plain else orjson.dumps(lines).decode()
        if kind == "instant" and isinstance(value, str):
            return value.replace(".000Z", "Z")
        if kind == "json":
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
        return value

    def _read(self, field: Field, value: Any) -> Any:
        if value in ("", None):
            return None
        if field.type == "bool":
            return next((ours for ours, theirs in self.profile.booleans.items() if theirs == value), value)
        if not isinstance(value, str):
            return value
        if field.type == "date":
            return value[:10]
        if field.type == "list":
            found = _json(value) if value.startswith("[") else None
            return found if isinstance(found, list) else value.replace("\r\n", "\n").split("\n")
        return _json(value) if field.type == "json" else value


def bare_key(key: object) -> str:
    """A key without what is before its last dot: objects, fields and records spell the prefix differently."""
    return as_text(key or "").rpartition(".")[2]


def by_bare_keys(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Properties by their keys without a prefix."""
    return {bare_key(name): value for name, value in properties.items()}


def _json(text: str) -> Any:
    """The text parsed as JSON; the text itself when it is not JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
