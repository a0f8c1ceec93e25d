"""Custom fields: a bare list that ignores paging, a paid feature, values on entries and users."""

from __future__ import annotations

from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.documents import (
    boolean,
    demand_free_name,
    document,
    dump,
    find,
    insert,
    name_of,
    one_of,
    remove,
    replace,
    strings,
)
from sync_pipeline.sandbox.clockify.http import Call, Json, Refusal, Reply, invalid, not_ours, unavailable
from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.clockify.paging import Where

TYPES = ("TXT", "NUMBER", "DROPDOWN_SINGLE", "DROPDOWN_MULTIPLE", "CHECKBOX", "LINK")
STATUSES = ("INACTIVE", "VISIBLE", "INVISIBLE")
ENTITIES = ("TIMEENTRY", "USER")
MOST_FIELDS = 50


def list_fields(call: Call) -> Reply:
    """GET .../custom-fields: everything at once, whatever page is asked for."""
    _demand_feature(call)
    return Reply(_fields(call))


def _fields(call: Call) -> list[Json]:
    where = Where()
    if name := call.query.get("name"):
        where.contains("name", name)
    if status := call.choice("status", ("", *STATUSES), ""):
        where.add("json_extract(body, '$.status') = ?", status)
    if entities := call.many("entity-type"):
        where.any_of("json_extract(body, '$.entityType')", entities)
    rows = call.db.execute(f"SELECT body FROM custom_fields{where.sql()} ORDER BY id", where.values)
    return [document(row) for row in rows]


def create_field(call: Call) -> Reply:
    """POST .../custom-fields: at most 50."""
    _demand_feature(call)
    body = _field(call.json(), new_id(call.now), call.workspace)
    demand_free_name(call, "custom_fields", body["name"])
    if call.db.execute("SELECT count(*) FROM custom_fields").fetchone()[0] >= MOST_FIELDS:
        raise Refusal(400, 4033, f"Custom fields limit of {MOST_FIELDS} is reached")
    insert(call, "custom_fields", body)
    return Reply(body, 201)


def update_field(call: Call) -> Reply:
    """PUT .../custom-fields/{id}: name and type required."""
    _demand_feature(call)
    old = document(find(call, "custom_fields", call.ids["id"]))
    body = _field(call.json(), old["id"], call.workspace) | {"projectDefaultValues": old["projectDefaultValues"]}
    demand_free_name(call, "custom_fields", body["name"], own_id=old["id"])
    replace(call, "custom_fields", body)
    return Reply(body)


def delete_field(call: Call) -> Reply:
    """DELETE .../custom-fields/{id}."""
    _demand_feature(call)
    remove(call, "custom_fields", document(find(call, "custom_fields", call.ids["id"])))
    return Reply(status=204)


def list_project_fields(call: Call) -> Reply:
    """GET .../projects/{project}/custom-fields."""
    _demand_feature(call)
    find(call, "projects", call.ids["project"])
    return Reply(_fields(call))


def set_project_default(call: Call) -> Reply:
    """PATCH .../projects/{project}/custom-fields/{id}."""
    asked = call.json()
    default = {
        "projectId": call.ids["project"],
        "status": one_of(asked, "status", STATUSES, "VISIBLE"),
        "value": asked.get("defaultValue"),
    }
    return _change_defaults(call, [default])


def drop_project_default(call: Call) -> Reply:
    """DELETE .../projects/{project}/custom-fields/{id}."""
    return _change_defaults(call, [])


def _change_defaults(call: Call, new: list[Json]) -> Reply:
    _demand_feature(call)
    find(call, "projects", call.ids["project"])
    body = document(find(call, "custom_fields", call.ids["id"]))
    others = [old for old in body["projectDefaultValues"] if old["projectId"] != call.ids["project"]]
    body["projectDefaultValues"] = others + new
    replace(call, "custom_fields", body)
    return Reply(body)


def set_user_value(call: Call) -> Reply:
    """PUT .../users/{user}/custom-field/{id}/value."""
    _demand_feature(call)
    field = document(find(call, "custom_fields", call.ids["id"]))
    row = call.db.execute("SELECT id, body FROM users WHERE id = ?", (call.ids["user"],)).fetchone()
    if row is None:
        raise not_ours("User")
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
    """``customFieldValues`` of an entry: what the request's ``customFields`` says, defaults for the rest.

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
    items = asked.get("customFields")
    if items is None:
        return {}
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Refusal(400, 3002, "JSON parse error: customFields must be a list of objects")
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
    return {
        "id": field_id,
        "workspaceId": workspace,
        "name": name_of(asked, least=2, most=250),
        "description": asked.get("description"),
        "placeholder": asked.get("placeholder"),
        "type": kind,
        "allowedValues": strings(asked, "allowedValues") or [],
        "workspaceDefaultValue": asked.get("workspaceDefaultValue"),
        "projectDefaultValues": [],
        "onlyAdminCanEdit": boolean(asked, "onlyAdminCanEdit", False),
        "status": one_of(asked, "status", STATUSES, "VISIBLE"),
        "required": boolean(asked, "required", False),
        "entityType": one_of(asked, "entityType", ENTITIES, "TIMEENTRY"),
    }


def _demand_feature(call: Call) -> None:
    if call.world.options.plan == "free":
        raise unavailable()
