"""Custom objects of a location and their fields: what may be written there."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.highlevel.ids import letters
from sync_pipeline.sandbox.highlevel.refusals import Refusal, unprocessable
from sync_pipeline.sandbox.highlevel.resource import Answer, Call, Json
from sync_pipeline.sandbox.world import World

MOST_OBJECTS = 10
PLURAL, SINGULAR = "custom_objects.", "custom_object."
NAME = re.compile(r"[a-z0-9_]{1,60}")
STANDARD = {"contact": "Contact", "opportunity": "Opportunity", "business": "Company"}
TYPES = frozenset({
    "TEXT", "LARGE_TEXT", "NUMERICAL", "PHONE", "MONETORY", "CHECKBOX", "SINGLE_OPTIONS", "MULTIPLE_OPTIONS", "DATE",
    "TEXTBOX_LIST", "FILE_UPLOAD", "RADIO", "EMAIL",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class CustomObject:
    """One object of one location, by the bare part of its key."""

    location: str
    name: str
    body: Json
    types: dict[str, str]
    """The type of each field."""


def instant(at: datetime) -> str:
    """An instant as HighLevel writes it."""
    return f"{at:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


def stamp(world: World) -> str:
    """Now, as HighLevel writes it."""
    return instant(world.clock.now())


def find_object(db: sqlite3.Connection, location: str, key: str) -> CustomObject:
    """The object of a key such as ``custom_objects.pet``, or the refusal."""
    name = key.removeprefix(PLURAL)
    query = "SELECT body FROM highlevel_objects WHERE location_id = ? AND object_key = ?"
    row = db.execute(query, (location, name)).fetchone() if key.startswith(PLURAL) else None
    if row is None:
        raise Refusal("object_not_found", key=key)
    fields = [field for field in _fields(db, location, name) if "fieldKey" in field]
    types = {field["fieldKey"].rpartition(".")[2]: field["dataType"] for field in fields}
    return CustomObject(location, name, orjson.loads(row[0]), types)


def list_objects(call: Call) -> Json:
    """``GET /objects/``: the standard ones first."""
    location = call.location(call.query("locationId"))
    query = "SELECT body FROM highlevel_objects WHERE location_id = ? ORDER BY object_key"
    custom = [_shown(orjson.loads(body)) for (body,) in call.world.db.execute(query, (location,))]
    return {"objects": [_standard(location, key) for key in STANDARD] + custom}


def read_object(call: Call) -> Json:
    """``GET /objects/{key}``, with its fields unless they are not wanted."""
    location = call.location(call.query("locationId"))
    found = find_object(call.world.db, location, call.path["key"])
    answer: Json = {"object": _shown(found.body), "cache": False}
    if call.query("fetchProperties", "true") != "false":
        fields = _fields(call.world.db, location, found.name)
        answer["fields"] = [field for field in fields if "fieldKey" in field]
    return answer


def create_object(call: Call) -> Answer:
    """``POST /objects/``: at most ten in a location."""
    required = {"labels": dict, "key": str, "locationId": str, "primaryDisplayPropertyDetails": dict}
    sent = call.json(required, {"description": str})
    location, primary = call.location(sent["locationId"]), sent["primaryDisplayPropertyDetails"]
    name = sent["key"].removeprefix(PLURAL)
    if not sent["key"].startswith(PLURAL) or not NAME.fullmatch(name):
        raise unprocessable("key must be like custom_objects.pet")
    if not _texts(primary, "key", "name", "dataType"):
        raise unprocessable("primaryDisplayPropertyDetails must have key, name and dataType")
    prefix, _, title = primary["key"].rpartition(".")
    if prefix != PLURAL + name or not NAME.fullmatch(title) or primary["dataType"] not in ("TEXT", "NUMERICAL"):
        raise unprocessable("primaryDisplayPropertyDetails must be a TEXT or NUMERICAL property of the object")
    if not _texts(sent["labels"], "singular", "plural"):
        raise unprocessable("labels must have singular and plural")
    call.world.wrote("objects")
    found = make_object(call.world, location, name, sent["labels"], primary)
    return 201, {"object": _shown(found)}


def _texts(sent: Json, *names: str) -> bool:
    return all(isinstance(sent.get(name), str) for name in names)


def make_object(world: World, location: str, name: str, labels: Json, primary: Json) -> Json:
    """Store a new object with its primary field; its body."""
    count = "SELECT count(*), coalesce(sum(object_key = ?), 0) FROM highlevel_objects WHERE location_id = ?"
    existing, same = world.db.execute(count, (name, location)).fetchone()
    if same:
        raise Refusal("object_exists", key=PLURAL + name)
    if existing >= MOST_OBJECTS:
        raise Refusal("too_many_objects")
    body = {
        "id": new_id(world.clock.epoch()),
        "standard": False,
        "key": PLURAL + name,
        "labels": labels,
        "locationId": location,
        "primaryDisplayProperty": primary["key"],
        "dateAdded": stamp(world),
        "dateUpdated": stamp(world),
        "type": "USER_DEFINED",
        "searchableProperties": [primary["key"]],
    }
    _store_object(world.db, location, name, body)
    folder = make_folder(world, location, name, "Details")
    field = {"name": primary["name"], "dataType": primary["dataType"], "parentId": folder["id"], "showInForms": True}
    make_field(world, location, name, primary["key"].rpartition(".")[2], field)
    return body


def update_object(call: Call) -> Json:
    """``PUT /objects/{key}``: labels, description and searchable properties."""
    sent = call.json({"locationId": str, "searchableProperties": list}, {"labels": dict, "description": str})
    location = call.location(sent.pop("locationId"))
    found = find_object(call.world.db, location, call.path["key"])
    known = {f"{PLURAL}{found.name}.{field}" for field in found.types}
    if any(key not in known for key in map(str, sent["searchableProperties"])):
        raise Refusal("bad_key")
    if not _texts(sent.get("labels", {}), *sent.get("labels", {})):
        raise unprocessable("labels must be strings")
    call.world.wrote("objects")
    labels = found.body["labels"] | sent.get("labels", {})
    body = found.body | sent | {"labels": labels, "dateUpdated": stamp(call.world)}
    _store_object(call.world.db, location, found.name, body)
    return {"object": _shown(body)}


def list_fields(call: Call) -> Json:
    """``GET /custom-fields/object-key/{objectKey}``: the fields and the folders they are in."""
    location = call.location(call.query("locationId"))
    found = find_object(call.world.db, location, _plural(call.path["key"]))
    every = _fields(call.world.db, location, found.name)
    return {
        "fields": [one for one in every if "fieldKey" in one],
        "folders": [one for one in every if "fieldKey" not in one],
    }


def create_folder(call: Call) -> Answer:
    """``POST /custom-fields/folder``."""
    sent = call.json({"objectKey": str, "name": str, "locationId": str})
    location = call.location(sent["locationId"])
    found = find_object(call.world.db, location, _plural(sent["objectKey"]))
    call.world.wrote("fields")
    return 201, make_folder(call.world, location, found.name, sent["name"])


def create_field(call: Call) -> Answer:
    """``POST /custom-fields/``: a field cannot be marked as unique here."""
    required = dict.fromkeys(("locationId", "objectKey", "fieldKey", "parentId", "dataType"), str)
    optional = dict.fromkeys(("name", "description", "placeholder", "acceptedFormats"), str)
    more = {"options": list, "maxFileLimit": int, "allowCustomOption": bool}
    sent = call.json({**required, "showInForms": bool}, {**optional, **more})
    location = call.location(sent["locationId"])
    found = find_object(call.world.db, location, _plural(sent["objectKey"]))
    prefix, _, key = sent["fieldKey"].rpartition(".")
    if prefix != SINGULAR + found.name or not NAME.fullmatch(key):
        raise unprocessable(f"fieldKey must be like {SINGULAR}{found.name}.name")
    if sent["dataType"] not in TYPES:
        raise unprocessable(f"dataType must be one of the following values: {', '.join(sorted(TYPES))}")
    folders = "SELECT 1 FROM highlevel_fields WHERE id = ? AND location_id = ? AND object_key = ? AND field_key IS NULL"
    if not call.world.db.execute(folders, (sent["parentId"], location, found.name)).fetchone():
        raise Refusal("folder_not_found", id=sent["parentId"])
    if key in found.types:
        raise Refusal("field_exists", key=sent["fieldKey"])
    call.world.wrote("fields")
    return 201, {"field": make_field(call.world, location, found.name, key, sent)}


def make_folder(world: World, location: str, name: str, title: str) -> Json:
    """Store a folder of an object; its body."""
    body = {"objectKey": SINGULAR + name, "locationId": location, "name": title}
    return _store_field(world, location, name, None, body)


def make_field(world: World, location: str, name: str, key: str, field: Json) -> Json:
    """Store a field of an object; its body."""
    body = field | {
        "locationId": location,
        "objectKey": SINGULAR + name,
        "fieldKey": f"{SINGULAR}{name}.{key}",
        "dateAdded": stamp(world),
        "dateUpdated": stamp(world),
    }
    return _store_field(world, location, name, key, body)


def _store_field(world: World, location: str, name: str, key: str | None, body: Json) -> Json:
    number = world.db.execute("SELECT coalesce(max(arrival), 0) FROM highlevel_fields").fetchone()[0]
    stored = {"id": letters("field", number + 1), **body}
    world.db.execute(
        "INSERT INTO highlevel_fields (id, location_id, object_key, field_key, body) VALUES (?, ?, ?, ?, ?)",
        (stored["id"], location, name, key, orjson.dumps(stored).decode()),
    )
    return stored


def _store_object(db: sqlite3.Connection, location: str, name: str, body: Json) -> None:
    values = (location, name, orjson.dumps(body).decode())
    db.execute("INSERT OR REPLACE INTO highlevel_objects VALUES (?, ?, ?)", values)


def _fields(db: sqlite3.Connection, location: str, name: str) -> list[Json]:
    query = "SELECT body FROM highlevel_fields WHERE location_id = ? AND object_key = ? ORDER BY arrival"
    return [orjson.loads(body) for (body,) in db.execute(query, (location, name))]


def _shown(body: Json) -> Json:
    return {name: value for name, value in body.items() if name != "searchableProperties"}


def _standard(location: str, key: str) -> dict[str, Any]:
    return {
        "id": letters(location, key),
        "standard": True,
        "key": key,
        "labels": {"singular": STANDARD[key], "plural": f"{STANDARD[key]}s"},
        "locationId": location,
        "primaryDisplayProperty": f"{key}.name",
        "dateAdded": "2024-01-01T00:00:00.000Z",
        "dateUpdated": "2024-01-01T00:00:00.000Z",
        "type": "SYSTEM_DEFINED",
    }


def _plural(key: str) -> str:
    """Keys of fields use ``custom_object``, those of objects ``custom_objects``; both name the object."""
    return PLURAL + key.removeprefix(SINGULAR) if key.startswith(SINGULAR) else key
