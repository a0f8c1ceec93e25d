"""Custom fields: a bare list that ignores paging, a paid feature, values on entries and users."""

from __future__ import annotations

import sqlite3
from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.documents import (
    boolean,
    demand_free_name,
    document,
    dump,
    find,
    name_of,
    one_of,
    parts,
    replace,
    strings,
    text,
)
from sync_pipeline.sandbox.clockify.http import Call, Json, Refusal, Reply, invalid, not_ours, unavailable
from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.clockify.named import NamedRecords
from sync_pipeline.sandbox.clockify.paging import Where
from sync_pipeline.sandbox.clockify.templates import CUSTOM_FIELD

TYPES = ("TXT", "NUMBER", "DROPDOWN_SINGLE", "DROPDOWN_MULTIPLE", "CHECKBOX", "LINK")
STATUSES = ("INACTIVE", "VISIBLE", "INVISIBLE")
ENTITIES = ("TIMEENTRY", "USER")
MOST_FIELDS = 50


class CustomFields(NamedRecords):
    """``.../custom-fields``; a single one cannot be read: GET answers 405, naming the other two verbs."""

    table, readable = "custom_fields", False

    def demand(self, call: Call) -> None:
        """Only some plans have them."""
        if call.world.options.plan == "free":
            raise unavailable()

    def page(self, call: Call) -> Reply:
        """All of them, whatever page is requested; below a project, the same."""
        self.demand(call)
        self.parent_of(call)
        where = Where()
        if name := call.query.get("name"):
            where.contains("name", name)
        if status := call.choice("status", ("", *STATUSES), ""):
            where.add("json_extract(body, '$.status') = ?", status)
        if entities := call.many("entity-type"):
            where.any_of("json_extract(body, '$.entityType')", entities)
        rows = call.db.execute(f"SELECT body FROM custom_fields{where.sql()} ORDER BY id", where.values)
        return Reply([document(row) for row in rows])

    def build(self, call: Call, asked: Json, old: sqlite3.Row | None) -> Json:
        """Name and type are required; there are at most 50."""
        body = _field(asked, old["id"] if old else new_id(call.now), call.workspace)
        if old is not None:
            body["projectDefaultValues"] = document(old)["projectDefaultValues"]
        demand_free_name(call, self.table, body["name"], own=old)
        if old is None and call.db.execute("SELECT count(*) FROM custom_fields").fetchone()[0] >= MOST_FIELDS:
            raise Refusal(400, 4033, f"Custom fields limit of {MOST_FIELDS} is reached")
        return body

    def removed(self, body: Json) -> Reply:  # noqa: ARG002 - as declared
        """No body."""
        return Reply(status=204)

    def set_default(self, call: Call) -> Reply:
        """PATCH .../projects/{project}/custom-fields/{id}."""
        asked = call.json()
        default = {
            "projectId": call.ids["project"],
            "status": one_of(asked, "status", STATUSES, "VISIBLE"),
            "value": asked.get("defaultValue"),
        }
        return self._change_defaults(call, [default])

    def drop_default(self, call: Call) -> Reply:
        """DELETE .../projects/{project}/custom-fields/{id}."""
        return self._change_defaults(call, [])

    def _change_defaults(self, call: Call, new: list[Json]) -> Reply:
        self.demand(call)
        project = self.parent_of(call)
        body = document(find(call, self.table, call.ids["id"]))
        body["projectDefaultValues"] = [
            old for old in body["projectDefaultValues"] if old["projectId"] != project
        ] + new
        replace(call, self.table, body)
        return Reply(body)

    def set_user_value(self, call: Call) -> Reply:
        """PUT .../users/{user}/custom-field/{id}/value."""
        self.demand(call)
        field = document(self.row(call))
        row = find(call, "users", call.ids["user"])
        value = {
            "customFieldId": field["id"],
            "customFieldName": field["name"],
            "customFieldType": field["type"],
            "userId": row["id"],
            "value": call.json().get("value"),
        }
        stored = orjson.loads(row["body"])
        stored["customFields"] = [v for v in stored["customFields"] if v["customFieldId"] != field["id"]] + [value]
        call.db.execute("UPDATE users SET body = ?, updated = ? WHERE id = ?", (dump(stored), call.now, row["id"]))
        call.world.wrote("users")
        return Reply(value, 201)


def entry_values(call: Call, asked: Json, entry_id: str) -> list[Json]:
    """``customFieldValues`` of an entry: the request's ``customFields``, defaults for the rest.

    The read key ``customFieldValues`` is ignored on writes, as the real service ignores it.
    """
    if call.world.options.plan == "free":
        return []
    given = _given(asked)
    rows = call.db.execute(
        "SELECT body FROM custom_fields WHERE json_extract(body, '$.entityType') = 'TIMEENTRY'"
        " AND json_extract(body, '$.status') <> 'INACTIVE' ORDER BY id"
    )
    fields = {field["id"]: field for field in map(document, rows)}
    for field_id in given:
        if field_id not in fields:
            raise not_ours("Custom field")
    return [
        {
            "customFieldId": field["id"],
            "timeEntryId": entry_id,
            "value": given[field["id"]] if field["id"] in given else _default(field, asked.get("projectId")),
            "name": field["name"],
            "type": field["type"],
        }
        for field in fields.values()
    ]


def _given(asked: Json) -> dict[str, Any]:
    items = parts(asked, "customFields")
    if len(items) > MOST_FIELDS:
        raise invalid(f"customFields: size must be between 0 and {MOST_FIELDS}")
    return {str(item.get("customFieldId")): item.get("value") for item in items}


def _default(field: Json, project_id: object) -> Any:
    for default in field["projectDefaultValues"]:
        if default["projectId"] == project_id:
            return default["value"]
    return field["workspaceDefaultValue"]


def _field(asked: Json, field_id: str, workspace: str) -> Json:
    kind = one_of(asked, "type", TYPES, None)
    if kind is None:
        raise invalid("type is required")
    return CUSTOM_FIELD | {
        "id": field_id,
        "workspaceId": workspace,
        "name": name_of(asked, least=2, most=250),
        "description": text(asked, "description", most=3000),
        "placeholder": text(asked, "placeholder", most=3000),
        "type": kind,
        "allowedValues": strings(asked, "allowedValues") or [],
        "workspaceDefaultValue": asked.get("workspaceDefaultValue"),
        "onlyAdminCanEdit": boolean(asked, "onlyAdminCanEdit", False),
        "status": one_of(asked, "status", STATUSES, "VISIBLE"),
        "required": boolean(asked, "required", False),
        "entityType": one_of(asked, "entityType", ENTITIES, "TIMEENTRY"),
    }
