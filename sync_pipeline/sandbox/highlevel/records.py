"""Records of custom objects: created, read by id, merged and deleted; the search has an index of its own."""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Callable
from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.highlevel.ids import RECORD_ID, letters
from sync_pipeline.sandbox.highlevel.index import index_write
from sync_pipeline.sandbox.highlevel.keys import APP_ID
from sync_pipeline.sandbox.highlevel.objects import PLURAL, CustomObject, find_object, stamp
from sync_pipeline.sandbox.highlevel.refusals import Refusal, unprocessable
from sync_pipeline.sandbox.highlevel.resource import Answer, Call, Json
from sync_pipeline.sandbox.highlevel.settings import Settings
from sync_pipeline.sandbox.highlevel.webhooks import record_event
from sync_pipeline.sandbox.world import World

LISTS = frozenset({"CHECKBOX", "MULTIPLE_OPTIONS", "FILE_UPLOAD"})
DATE = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")


def create_record(call: Call) -> Answer:
    """``POST /objects/{schemaKey}/records``."""
    sent = call.json({"locationId": str}, {"properties": dict, "owner": list, "owners": list, "followers": list})
    found = find_object(call.world.db, call.location(sent["locationId"]), call.path["key"])
    record = add_record(call.world, call.settings, found, sent, author_of(call))
    return 201, {"record": shown(record)}


def read_record(call: Call) -> Json:
    """``GET /objects/{schemaKey}/records/{id}``."""
    return {"record": shown(_stored(call.world.db, _object(call), call.path["id"]))}


def update_record(call: Call) -> Json:
    """``PUT /objects/{schemaKey}/records/{id}``: merges; the location belongs into the query, not into the body."""
    location = call.location(call.query("locationId"))
    sent = call.json({}, {"properties": dict, "owner": dict, "owners": dict, "followers": dict})
    found = find_object(call.world.db, location, call.path["key"])
    record = merge_record(call.world, call.settings, found, call.path["id"], sent, author_of(call))
    return {"record": shown(record)}


def delete_record(call: Call) -> Json:
    """``DELETE /objects/{schemaKey}/records/{id}``: without the location."""
    if "locationId" in call.request.query_params:
        raise unprocessable("property locationId should not exist")
    remove_record(call.world, call.settings, _object(call), call.path["id"])
    return {"id": call.path["id"], "success": True}


def _object(call: Call) -> CustomObject:
    return find_object(call.world.db, call.caller.owner, call.path["key"])


def author_of(call: Call) -> Json:
    """Who wrote a record, as its row in the search states."""
    by = call.caller.token if call.caller.token.startswith("pit-") else APP_ID  # an app has a new token every day
    source = secrets.token_hex(12) if call.settings.sources_differ else letters(by)
    return {"channel": "OAUTH", "source": "PUBLIC_API", "sourceId": source}


def shown(record: Json) -> Json:
    """A record as a read by id shows it, from its row in the search."""
    kept = {name: record[name] for name in ("id", "owner", "followers", "properties")}
    return kept | {"dateAdded": record["createdAt"], "dateUpdated": record["updatedAt"]}


def add_record(world: World, settings: Settings, found: CustomObject, sent: Json, author: Json) -> Json:
    """Store a new record; its row in the search."""
    properties = _properties(found, sent, _created_value)
    if properties.get(found.body["primaryDisplayProperty"].rpartition(".")[2]) in (None, ""):
        raise unprocessable(f"{found.body['primaryDisplayProperty']} should not be empty")
    _check_room(world.db, settings, found)
    record_id, now = new_id(world.clock.epoch()), stamp(world)
    _check_unique(world.db, settings, found, record_id, properties)
    record = {
        "id": record_id,
        "owner": _people(sent.get("owners", sent.get("owner")), []),
        "followers": _people(sent.get("followers"), []),
        "properties": properties,
        "createdAt": now,
        "updatedAt": now,
        "locationId": found.location,
        "objectId": found.body["id"],
        "objectKey": found.body["key"],
        "createdBy": author | {"createdAt": now},
        "lastUpdatedBy": author | {"createdAt": now},
    }
    world.db.execute(
        "INSERT INTO highlevel_records (id, location_id, object_key, created_ms, body) VALUES (?, ?, ?, ?, ?)",
        (record_id, found.location, found.name, round(world.clock.epoch() * 1000), orjson.dumps(record).decode()),
    )
    _written(world, settings, "RecordCreate", record)
    return record


def _check_room(db: sqlite3.Connection, settings: Settings, found: CustomObject) -> None:
    (newest,) = db.execute("SELECT coalesce(max(arrival), 0) FROM highlevel_records").fetchone()
    if newest < settings.largest:  # so there are fewer in any object: counting takes long
        return
    query = "SELECT count(*) FROM highlevel_records WHERE location_id = ? AND object_key = ?"
    if db.execute(query, (found.location, found.name)).fetchone()[0] >= settings.largest:
        raise Refusal("too_many_records", largest=settings.largest)


def merge_record(
    world: World, settings: Settings, found: CustomObject, record_id: str, sent: Json, author: Json
) -> Json:
    """Merge what was sent into a record: null removes a value, lists are changed by ``add`` and ``remove``."""
    record = _stored(world.db, found, record_id)
    old = record["properties"]
    changes = _properties(found, sent, lambda key, kind, value: _merged_value(old.get(key), key, kind, value))
    properties = {name: value for name, value in (old | changes).items() if value is not None}
    _check_unique(world.db, settings, found, record_id, changes)
    now = stamp(world)
    record |= {
        "owner": _people(sent.get("owners", sent.get("owner")), record["owner"], merges=True),
        "followers": _people(sent.get("followers"), record["followers"], merges=True),
        "properties": properties,
        "updatedAt": now,
        "lastUpdatedBy": author | {"createdAt": now},
    }
    world.db.execute("UPDATE highlevel_records SET body = ? WHERE id = ?", (orjson.dumps(record).decode(), record_id))
    _written(world, settings, "RecordUpdate", record)
    return record


def remove_record(world: World, settings: Settings, found: CustomObject, record_id: str) -> None:
    """Delete a record; it is remembered, since a deleted one may still block its unique values."""
    record = _stored(world.db, found, record_id)
    values = (record_id, found.location, found.name, orjson.dumps(record).decode())
    world.db.execute("INSERT OR REPLACE INTO highlevel_deleted VALUES (?, ?, ?, ?)", values)
    world.db.execute("DELETE FROM highlevel_records WHERE id = ?", (record_id,))
    _written(world, settings, "RecordDelete", record)


def _written(world: World, settings: Settings, event: str, record: Json) -> None:
    world.wrote(record["objectKey"].removeprefix(PLURAL))
    index_write(world, settings, record["id"], None if event == "RecordDelete" else record)
    record_event(world, settings, event, record)


def _stored(db: sqlite3.Connection, found: CustomObject, record_id: str) -> Json:
    if not RECORD_ID.fullmatch(record_id):
        raise Refusal("bad_id")
    query = "SELECT body FROM highlevel_records WHERE id = ? AND location_id = ? AND object_key = ?"
    row = db.execute(query, (record_id, found.location, found.name)).fetchone()
    if row is None:
        raise Refusal("record_not_found", id=record_id)
    record: Json = orjson.loads(row[0])
    return record


def _properties(found: CustomObject, sent: Json, value_of: Callable[[str, str, Any], Any]) -> Json:
    properties = sent.get("properties", {})
    if properties.keys() - found.types.keys():  # an unknown key, or a full one such as custom_objects.pet.name
        raise Refusal("bad_key")
    return {key: value_of(key, found.types[key], value) for key, value in properties.items()}


def _created_value(key: str, kind: str, value: Any) -> Any:
    if value is not None and not _fits(kind, value):
        raise Refusal("bad_value", key=key)
    return value


def _merged_value(old: Any, key: str, kind: str, value: Any) -> Any:
    if kind in LISTS and value is not None:
        return _changed_list(key, old or [], value)
    return _created_value(key, kind, value)


def _fits(kind: str, value: Any) -> bool:
    if kind in LISTS:
        return isinstance(value, list)
    if kind == "NUMERICAL":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "MONETORY":
        return isinstance(value, dict) and value.keys() == {"currency", "value"}
    return isinstance(value, str) and (kind != "DATE" or DATE.fullmatch(value) is not None)


def _people(sent: Any, old: list[str], *, merges: bool = False) -> list[str]:
    if sent is None:
        return old
    people = _changed_list("owner", old, sent if merges else {"add": sent})
    if not all(isinstance(one, str) for one in people):
        raise unprocessable("each value in owner must be a string")
    return people


def _changed_list(key: str, old: list[Any], sent: Any) -> list[Any]:
    if not isinstance(sent, dict) or not all(isinstance(sent.get(part, []), list) for part in ("add", "remove")):
        raise unprocessable(f"{key} must be an object with add and remove")
    kept = [one for one in old if one not in sent.get("remove", [])]
    return kept + [one for one in sent.get("add", []) if one not in kept]


def _check_unique(
    db: sqlite3.Connection, settings: Settings, found: CustomObject, record_id: str, changes: Json
) -> None:
    tables = ("highlevel_records", "highlevel_deleted") if settings.deleted_blocks else ("highlevel_records",)
    for key in changes:
        if f"{found.name}.{key}" not in settings.unique or changes[key] in (None, ""):
            continue
        for table in tables:
            value = f"json_extract(body, '$.properties.{key}')"
            columns = f"(location_id, object_key, {value})"
            db.execute(f"CREATE INDEX IF NOT EXISTS {table}_{key} ON {table} {columns}")
            query = f"SELECT 1 FROM {table} WHERE location_id = ? AND object_key = ? AND {value} = ? AND id <> ?"
            if db.execute(query, (found.location, found.name, changes[key], record_id)).fetchone():
                raise Refusal("unique", field=key)
