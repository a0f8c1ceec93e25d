"""What the contract states about each entity: its id, its fields, its scopes."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["id", "text", "email", "instant", "bool", "int", "number", "list"]
RESERVED = frozenset({"oauth", "analytics", "openapi.json", "batch"})
NAME, FIELD = re.compile(r"[a-z][a-z0-9_]{0,49}"), re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,49}")


@dataclass(frozen=True, slots=True)
class KnownField:
    """A field with a declared type. Undeclared fields are stored unchanged."""

    kind: Kind
    required: bool = False
    max_length: int = 255
    references: str | None = None


@dataclass(frozen=True, slots=True)
class Entity:
    """One kind of record behind ``/snapshots/{name}``."""

    name: str
    id_field: str
    fields: Mapping[str, KnownField] = field(default_factory=dict)
    window_field: str | None = None
    before: tuple[str, str] | None = None
    scope: str = ""

    @property
    def read_scope(self) -> str:
        """The scope its lists and single records take."""
        return f"{self.scope or self.name}.read"

    @property
    def write_scope(self) -> str:
        """The scope PUT, batch and DELETE take."""
        return f"{self.scope or self.name}.write"

    @property
    def empty(self) -> dict[str, None]:
        """Every known field, empty: what a record looks like before anything was sent."""
        return dict.fromkeys([self.id_field, *self.fields])


LOCATIONS = Entity(
    "locations",
    "location_id",
    {
        "location_name": KnownField("text", required=True),
        "address": KnownField("text", max_length=3000),
        "phone": KnownField("text"),
        "email": KnownField("email"),
        "time_zone": KnownField("text"),
    },
    scope="saas/location",
)
USERS = Entity(
    "users",
    "user_id",
    {
        "email": KnownField("email"),
        "role": KnownField("text"),
        "name": KnownField("text"),
        "status": KnownField("text"),
        "time_zone": KnownField("text"),
    },
)
PROJECTS = Entity(
    "projects",
    "project_id",
    {
        "project_name": KnownField("text", required=True),
        "client_id": KnownField("id"),
        "client_name": KnownField("text"),
        "billable": KnownField("bool"),
        "archived": KnownField("bool"),
        "color": KnownField("text"),
        "note": KnownField("text", max_length=16_384),
    },
)
TIME_ENTRIES = Entity(
    "time_entries",
    "time_entry_id",
    {
        "start_time": KnownField("instant", required=True),
        "end_time": KnownField("instant", required=True),
        "task_id": KnownField("id"),
        "project_id": KnownField("id", references="projects"),
        "user_id": KnownField("id", references="users"),
        "user_name": KnownField("text"),
        "description": KnownField("text", max_length=3000),
        "billable": KnownField("bool"),
        "duration_seconds": KnownField("int"),
        "tags": KnownField("list", max_length=1000),
        "type": KnownField("text"),
    },
    window_field="start_time",
    before=("start_time", "end_time"),
)
BUILT_IN: Mapping[str, Entity] = {e.name: e for e in (LOCATIONS, USERS, PROJECTS, TIME_ENTRIES)}


def known_entities(db: sqlite3.Connection) -> dict[str, Entity]:
    """The four of the contract and whatever was registered through ``/_control/entities``."""
    rows = db.execute("SELECT entity, id_field FROM snapshots_entities ORDER BY entity").fetchall()
    return {**BUILT_IN, **{name: Entity(name, id_field) for name, id_field in rows}}


def find_entity(db: sqlite3.Connection, name: str) -> Entity | None:
    """The entity of that name, or None."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    row = db.execute("SELECT id_field FROM snapshots_entities WHERE entity = ?", (name,)).fetchone()
    return None if row is None else Entity(name, row[0])


def register_entity(db: sqlite3.Connection, name: str, id_field: str) -> Entity:
    """Add a custom entity; raises ValueError when it is not valid."""
    if not NAME.fullmatch(name):
        raise ValueError(f"entity must be lower-case letters, digits and underscores, not {name!r}")
    if not FIELD.fullmatch(id_field):
        raise ValueError(f"id_field must be letters, digits and underscores, not {id_field!r}")
    if name in BUILT_IN or name in RESERVED:
        raise ValueError(f"{name} exists already")
    db.execute("INSERT OR REPLACE INTO snapshots_entities (entity, id_field) VALUES (?, ?)", (name, id_field))
    return Entity(name, id_field)


def all_scopes(db: sqlite3.Connection) -> tuple[str, ...]:
    """Every scope there is, in the order the documents list them."""
    entities = known_entities(db).values()
    return (*(scope for e in entities for scope in (e.read_scope, e.write_scope)), "analytics.read")
