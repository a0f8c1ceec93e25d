"""The facts of HighLevel that a profile holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import Field

from sync_pipeline.connectors.profile import BaseProfile, Positive, ProfilePart, ScopeFacts, singular

NOT_SHOWN = 60.0
"""How long a search was watched that did not show a record."""
Seconds = Annotated[float, Field(ge=0)]


class VersionFacts(ProfilePart):
    """The Version header, by the first part of the path."""

    default: str
    paths: dict[str, str] = Field(default_factory=dict)


class ObjectFacts(ProfilePart):
    """One entity as a custom object: its key, and what people see of its records."""

    object: str
    title: tuple[str, ...] = ()
    """The fields to take a record's title from: the first one that is not empty."""
    empty: str = ""
    """The title of a record where all of them are empty."""
    day: dict[str, str] = Field(default_factory=dict)
    """Days that are made of instants, so that a list can be limited to a window: field, and what it is made of."""
    hours: dict[str, str] = Field(default_factory=dict)
    """Hours that are made of seconds, for people."""


class OwnersFacts(ProfilePart):
    """The owners of records: records ``of`` some entities hold a user's id under ``key``, and the user's record an ``email``."""

    entity: str
    key: str
    email: str
    of: tuple[str, ...]


class ObjectsFacts(ProfilePart):
    """How records of custom objects are named, found and read."""

    prefix: str
    field_prefix: str
    page_size: Positive
    keys_per_find: Positive
    needless: dict[str, Any] = Field(default_factory=dict)
    """Sent with each search although it says nothing: the documents require it."""
    find_lag_seconds: Seconds
    """How long after it was written a search may not show a record."""
    patience: tuple[Seconds, ...]
    """The waits between searches for a record that should exist and is not found."""
    at_once: Positive
    """How many records are created at the same time."""
    largest: Positive
    """How many records an object can hold."""
    own_source_id: str = ""
    """What records say that we have created, where it was measured; "": what anyone created through the API may be ours."""
    title: str
    """The property that people see in lists."""
    archived: str
    """The property that says that a record was archived."""
    owners: OwnersFacts
    entities: dict[str, ObjectFacts] = Field(default_factory=dict)


class ScopesFacts(ProfilePart):
    """The scopes, by what they are for."""

    locations: str
    saas: str
    users: str
    opportunities: str
    records: ScopeFacts
    objects: ScopeFacts
    fields: ScopeFacts


class HighLevelProfile(BaseProfile):
    """All facts."""

    catalogue: str = "highlevel"
    lists: tuple[str, ...] = ("locations", "opportunities")
    versions: VersionFacts
    location_page_size: Positive
    objects: ObjectsFacts
    types: dict[str, str]
    """The type of a field there, by ours; of text that may be longer than ``short_text``, by ``long_text``."""
    short_text: Positive
    booleans: dict[bool, str]
    """How yes and no are written."""
    scopes: ScopesFacts

    def scope(self, entity: str, *, write: bool = False) -> str:
        """The scope a read or write of ``entity`` needs: there is one for all records."""
        if entity == "locations":
            return self.scopes.locations
        return self.scopes.records.write if write else self.scopes.records.read

    def as_measured(self, facts: Sequence[Mapping[str, Any]]) -> Self:
        """Where the search lags longer than assumed, the wait is twice as long as the longest lag that was seen.

        What says of a record that it is ours counts only when it is the same for all objects.
        """
        lags = [NOT_SHOWN if one.get("index_lag") is None else float(one["index_lag"]) for one in facts]
        longest = max([self.objects.find_lag_seconds, *(2 * lag for lag in lags)])
        sources = {str(one["source_id"]) for one in facts if one.get("source_id")}
        ours = sources.pop() if len(sources) == 1 else ""
        changes = {"find_lag_seconds": longest, "own_source_id": ours}
        return self.model_copy(update={"objects": self.objects.model_copy(update=changes)})

    @property
    def token_scopes(self) -> dict[str, tuple[str, ...]]:
        """The scopes to tick for each of the two tokens."""
        own, both = self.scopes, (self.scopes.locations, self.scopes.users)
        pairs = (own.objects, own.records, own.fields)
        return {
            "agency": (*both, own.saas),
            "account": (*both, *(each for one in pairs for each in (one.read, one.write)), own.opportunities),
        }

    def object_of(self, entity: str) -> ObjectFacts:
        """The custom object of an entity; a plain one, for one the file does not name."""
        plain = ObjectFacts(object=f"clockify_{entity}", empty=singular(entity).replace("_", " ").capitalize())
        return self.objects.entities.get(entity, plain)

    def object_key(self, entity: str) -> str:
        """What the object of an entity is called in paths."""
        return self.objects.prefix + self.object_of(entity).object
