"""Reading and writing the small named records: clients, projects, tasks, tags, custom fields, groups."""

from __future__ import annotations

import sqlite3
from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.http import Call, Json, Refusal, invalid, not_ours
from sync_pipeline.sandbox.database import transaction

# table -> how error messages call its records
KINDS = {
    "clients": "Client",
    "projects": "Project",
    "tasks": "Task",
    "tags": "Tag",
    "custom_fields": "Custom field",
    "user_groups": "User group",
    "users": "User",
    "time_entries": "Time entry",
    "webhooks": "Webhook",
}
INSERT = "INSERT INTO {table} (id, updated, parent, name, archived, body) VALUES (?, ?, ?, ?, ?, ?)"
# table -> the field that names the record it belongs to
PARENTS = {"projects": "clientId", "tasks": "projectId"}
# table -> the events of creating, changing and deleting one; custom fields have none
EVENTS = {
    "clients": ("NEW_CLIENT", "CLIENT_UPDATED", "CLIENT_DELETED"),
    "projects": ("NEW_PROJECT", "PROJECT_UPDATED", "PROJECT_DELETED"),
    "tasks": ("NEW_TASK", "TASK_UPDATED", "TASK_DELETED"),
    "tags": ("NEW_TAG", "TAG_UPDATED", "TAG_DELETED"),
    "user_groups": ("USER_GROUP_CREATED", "USER_GROUP_UPDATED", "USER_GROUP_DELETED"),
}


def document(row: sqlite3.Row) -> Json:
    """The stored document of a row."""
    found: Json = orjson.loads(row["body"])
    return found


def find(call: Call, table: str, record_id: str, parent: str | None = None) -> sqlite3.Row:
    """The row of that id; an id that is not there - or not under ``parent`` - is refused with 400/501."""
    row: sqlite3.Row | None = call.db.execute(f"SELECT * FROM {table} WHERE id = ?", (record_id,)).fetchone()
    if row is None or (parent is not None and row["parent"] != parent):
        raise not_ours(KINDS[table])
    return row


def demand_free_name(call: Call, table: str, name: str, parent: str = "", own: sqlite3.Row | None = None) -> None:
    """Refuse a name another record of the same parent has, archived ones included."""
    taken = call.db.execute(
        f"SELECT 1 FROM {table} WHERE parent = ? AND name = ? AND id <> ? LIMIT 1",
        (parent, name, own["id"] if own else ""),
    ).fetchone()
    if taken is not None:
        raise invalid(f"{KINDS[table]} with name '{name}' already exists")


def columns(table: str, body: Json) -> tuple[str, str, bool, str]:
    """What is stored of a document: parent, name, whether it is archived, and its text."""
    parent = body[PARENTS[table]] if table in PARENTS else ""
    return parent, body["name"], body.get("archived") or body.get("status") == "DONE", dump(body)


def insert(call: Call, table: str, body: Json, *, quiet: bool = False) -> None:
    """Store a new record, count the write, and notify webhooks unless ``quiet``."""
    call.db.execute(INSERT.format(table=table), (body["id"], call.now, *columns(table, body)))
    call.world.wrote(table)
    _notify(call, 0, table, body, quiet)


def replace(call: Call, table: str, body: Json, *, quiet: bool = False) -> None:
    """Store the new state of a record, count the write, and notify webhooks unless ``quiet``."""
    call.db.execute(
        f"UPDATE {table} SET updated = ?, parent = ?, name = ?, archived = ?, body = ? WHERE id = ?",
        (call.now, *columns(table, body), body["id"]),
    )
    call.world.wrote(table)
    _notify(call, 1, table, body, quiet)


def remove(call: Call, table: str, body: Json, *, quiet: bool = False) -> None:
    """Delete a record, leaving a trace for the entity-change feed; webhooks are notified unless ``quiet``."""
    with transaction(call.db):
        call.db.execute(f"DELETE FROM {table} WHERE id = ?", (body["id"],))
        bury(call, table, body["id"], dump(body))
    call.world.wrote(table)
    _notify(call, 2, table, body, quiet)


def _notify(call: Call, verb: int, table: str, body: Json, quiet: bool) -> None:
    """Notify only about the requested change: whether the real service also reports what it caused is unknown."""
    if not quiet and table in EVENTS:
        call.happened(EVENTS[table][verb], table, body)


def bury(call: Call, kind: str, record_id: str, body: str) -> None:
    """Remember what was deleted and when."""
    call.db.execute(
        "INSERT OR REPLACE INTO deleted (id, kind, deleted_at, body) VALUES (?, ?, ?, ?)",
        (record_id, kind, call.now, body),
    )


def dump(body: Any) -> str:
    """Compact JSON text."""
    return orjson.dumps(body).decode()


def _typed(body: Json, name: str, kind: type, wanted: str) -> Any:
    value = body.get(name)
    if value is not None and not isinstance(value, kind):
        raise Refusal(400, 3002, f"JSON parse error: {name} must be {wanted}")
    return value


def _listed(body: Json, name: str, kind: type, wanted: str) -> Any:
    value = body.get(name)
    if value is not None and not (isinstance(value, list) and all(isinstance(item, kind) for item in value)):
        raise Refusal(400, 3002, f"JSON parse error: {name} must be a list of {wanted}")
    return value


def text(body: Json, name: str, *, least: int = 0, most: int, required: bool = False) -> str | None:
    """A text field of a request body, within its length limits."""
    value: str | None = _typed(body, name, str, "a string")
    if value is None and required:
        raise Refusal(400, 501, f"{name} is required")
    if value is not None and not least <= len(value) <= most:
        raise invalid(f"{name}: size must be between {least} and {most}")
    return value


def name_of(body: Json, *, least: int = 1, most: int) -> str:
    """The required name of a record."""
    value = text(body, "name", least=least, most=most, required=True) or ""
    if not value.strip():
        raise invalid("name must not be blank")
    return value


def boolean(body: Json, name: str, default: bool) -> bool:
    """A boolean field of a request body."""
    value: bool | None = _typed(body, name, bool, "a boolean")
    return default if value is None else value


def strings(body: Json, name: str) -> list[str] | None:
    """A list-of-strings field of a request body."""
    value: list[str] | None = _listed(body, name, str, "strings")
    return value


def one_of(body: Json, name: str, allowed: tuple[str, ...], default: str | None) -> str | None:
    """An enumerated field of a request body; 400/3002 lists what is allowed, as Clockify does."""
    value = body.get(name)
    if value is None:
        return default
    if value not in allowed:
        raise Refusal(400, 3002, f"JSON parse error: {name}: {value!r} not one of the values accepted: {list(allowed)}")
    return str(value)


def part(body: Json, name: str) -> Json | None:
    """An object inside a request body."""
    value: Json | None = _typed(body, name, dict, "an object")
    return value


def parts(body: Json, name: str) -> list[Json]:
    """A list of objects inside a request body."""
    return _listed(body, name, dict, "objects") or []


def integer(body: Json, name: str, default: int) -> int:
    """A number of a request body."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid(f"{name}: must be a number")
    return value
