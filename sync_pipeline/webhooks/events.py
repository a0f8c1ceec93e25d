"""The events that the entities' files name, which record each one is about, and the order of subscribing."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sync_pipeline.mapping.load import load_specs
from sync_pipeline.mapping.spec import EntitySpec

EVENT_NAME = re.compile(r"[A-Z][A-Z0-9_]{1,63}")
SENDABLE_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Subject:
    """Which entity an event dirties, and where in its body the record's id is."""

    entity: str | None = None
    id_path: str = "id"


UNKNOWN = Subject()
"""Of an event that no entity names: what it changes is found by polling and re-scans, if it is synced at all."""


@dataclass(frozen=True, slots=True)
class WebhookEvents:
    """The events of all entities."""

    subjects: Mapping[str, Subject]
    order: tuple[str, ...]
    """What to subscribe to, as many from the top as the plan allows. What is missing is found by polling and re-scans."""
    only_named: frozenset[str]
    """Events that are sent for the records a webhook names, never for a whole workspace."""
    entities: tuple[str, ...]
    hooks: frozenset[str]
    """What a webhook of ours can be named for: these events, and those of the shipped files that a user's file leaves out."""

    @classmethod
    def of(cls, specs: Collection[EntitySpec]) -> WebhookEvents:
        """The events that these entities name."""
        all_of = [(spec.entity, spec.webhooks) for spec in specs]
        wanted = [(place, event) for _, hooks in all_of for event, place in hooks.subscribe.items()]
        return cls(
            {event: Subject(entity, hooks.id) for entity, hooks in all_of for event in hooks.events},
            tuple(event for _, event in sorted(wanted)),
            frozenset(event for _, hooks in all_of for event in hooks.only_named),
            tuple(spec.entity for spec in specs),
            frozenset(event for spec in (*specs, *load_specs().values()) for event in spec.webhooks.events),
        )

    def entity_of(self, event: str) -> str | None:
        """The entity that an event is about; None when no entity names it."""
        return self.subjects.get(event, UNKNOWN).entity

    def about(self, event: str, body: Mapping[str, Any]) -> tuple[str | None, str | None]:
        """Entity and record id of an event; no id when the body has none that could be asked for."""
        subject = self.subjects.get(event, UNKNOWN)
        found: Any = body
        for name in subject.id_path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        is_id = isinstance(found, str) and SENDABLE_ID.fullmatch(found) is not None
        return subject.entity, found if is_id else None
