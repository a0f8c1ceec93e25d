"""Entity changes (experimental): what was created, updated or deleted in a window.

Two modes: ``documented`` follows Clockify's documentation; ``flaky`` behaves as users have reported it - some records
missing, truncated deleted documents, nothing in /updated.
"""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from zlib import crc32

import orjson

from sync_pipeline.sandbox.clockify.entry_rows import entry_body
from sync_pipeline.sandbox.clockify.http import Call, Json, Refusal, Reply
from sync_pipeline.sandbox.clockify.ids import created_at, id_floor
from sync_pipeline.sandbox.clockify.times import utc_text, zone, zoned_text

TABLES = {
    "CLIENTS": "clients",
    "PROJECTS": "projects",
    "TAGS": "tags",
    "TASKS": "tasks",
    "TIME_ENTRY": "time_entries",
    "CUSTOM_FIELDS": "custom_fields",
    "USER_GROUPS": "user_groups",
    "USER": "users",
}
# Known to the service, never changed in this sandbox.
SILENT = (
    "SCHEDULED_ASSIGNMENT", "TIME_ENTRY_RATE", "TIME_ENTRY_CUSTOM_FIELD_VALUE", "APPROVAL_REQUESTS", "BALANCE",
    "HOLIDAYS", "INVOICES", "PTO_POLICY", "TIME_OFF_REQUEST",
)  # fmt: skip
ENTRY = (
    "id", "workspaceId", "userId", "projectId", "taskId", "tagIds", "description", "billable", "type", "kioskId",
)  # fmt: skip
SPAN = timedelta(days=30)


def created(call: Call) -> Reply:
    """GET .../entities/created."""
    start, end = _window(call)
    condition = "id >= ? AND id < ?"
    return _answer(call, "", condition, (id_floor(start), id_floor(end)), "id")


def updated(call: Call) -> Reply:
    """GET .../entities/updated: what was created in the window too is not here."""
    start, end = _window(call)
    if call.world.options.entity_changes == "flaky":
        return Reply([])
    condition = "updated > 0 AND updated >= ? AND updated < ? AND id < ?"
    return _answer(call, "", condition, (start, end, id_floor(start)), "updated, id")


def deleted(call: Call) -> Reply:
    """GET .../entities/deleted: about a minute late, without what the window also saw created."""
    start, end = _window(call)
    end = min(end, int(call.world.clock.epoch() - call.world.options.deletion_delay))
    condition = "deleted_at >= ? AND deleted_at < ? AND id < ?"
    return _answer(call, "deleted", condition, (start, end, id_floor(start)), "deleted_at, id")


def _answer(call: Call, table: str, condition: str, values: tuple[object, ...], order: str) -> Reply:
    kinds = _types(call)
    number = max(0, _number(call, "page", 0) - call.world.options.entity_changes_page_base)
    limit = _number(call, "limit", 50)
    need = (number + 1) * limit
    records: list[Json] = []
    for kind in kinds:
        source = table or TABLES.get(kind)
        if source is None or (table and kind not in TABLES):
            continue
        only = f"kind = '{TABLES[kind]}' AND " if table else ""
        rows = call.db.execute(
            f"SELECT * FROM {source} WHERE {only}{condition} ORDER BY {order} LIMIT ?", (*values, need - len(records))
        )
        records += [_record(call, kind, row) for row in rows if not _lost(call, row["id"])]
    return Reply(records[number * limit : need])


def _types(call: Call) -> list[str]:
    kinds = call.many("type")
    if not kinds:
        raise Refusal(400, 3001, "Required parameter 'type' is not present.")
    for kind in kinds:
        if kind not in TABLES and kind not in SILENT:
            raise Refusal(400, 3000, f"type: {kind!r} is not one of {', '.join((*TABLES, *SILENT))}")
    return list(dict.fromkeys(kinds))


def _number(call: Call, name: str, default: int) -> int:
    value = call.number(name, default)
    if value < 0:
        raise Refusal(400, 501, f"{name} must not be negative")
    return value


def _window(call: Call) -> tuple[int, int]:
    start, end = (None if at is None else int(at.timestamp()) for at in (call.instant("start"), call.instant("end")))
    span = int(SPAN.total_seconds())
    if end is None:
        end = int(call.world.clock.epoch()) + 1 if start is None else start + span
    return (end - span if start is None else start), end


def _lost(call: Call, record_id: str) -> bool:
    return call.world.options.entity_changes == "flaky" and crc32(record_id.encode()) % 7 == 0


def _record(call: Call, kind: str, row: sqlite3.Row) -> Json:
    columns = row.keys()
    body: Json = orjson.loads(row["body"]) if "body" in columns else entry_body(row, call.workspace)
    if "deleted_at" in columns:
        return _deleted(call, kind, row, body)
    audit = {
        "createdAt": utc_text(created_at(row["id"])),
        "updatedAt": utc_text(row["updated"] or created_at(row["id"])),
    }
    if kind == "TIME_ENTRY":
        body = _entry(call, row, body)
    if kind == "USER":
        body = {"id": row["id"], "name": row["name"], "email": row["email"]}
    return body | {"documentType": kind, "auditMetadata": audit}


def _entry(call: Call, row: sqlite3.Row, body: Json) -> Json:
    in_zone = zone(call.caller.zone)
    zoned: Json = {}
    for name, epoch in (("Start", row["started"]), ("End", row["ended"])):
        text = None if epoch is None else zoned_text(epoch, in_zone)
        zoned[f"zoned{name}"] = text
        zoned[f"offset{name}"] = None if text is None else (0 if text.endswith("Z") else _offset(text))
    return {name: body[name] for name in ENTRY} | {
        "approvalStatus": row["approval"] or "UNSUBMITTED",
        "timeInterval": body["timeInterval"] | {"timeZone": call.caller.zone} | zoned,
    }


def _offset(text: str) -> int:
    sign, hours, minutes = text[-6], text[-5:-3], text[-2:]
    seconds = int(hours) * 3600 + int(minutes) * 60
    return -seconds if sign == "-" else seconds


def _deleted(call: Call, kind: str, row: sqlite3.Row, body: Json) -> Json:
    if call.world.options.entity_changes == "flaky":
        body = {"id": body["id"], "workspaceId": call.workspace}
    return {
        "id": row["id"],
        "deletionBinId": row["id"],
        "deletedAt": utc_text(row["deleted_at"]),
        "documentType": kind,
        "documentCode": kind,
        "document": body,
        "eligibleForRestore": kind == "TIME_ENTRY",
    }
