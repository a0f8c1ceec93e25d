"""User groups; there is no reading of a single one."""

from __future__ import annotations

from sync_pipeline.sandbox.clockify.documents import (
    demand_free_name,
    document,
    find,
    insert,
    name_of,
    remove,
    replace,
)
from sync_pipeline.sandbox.clockify.http import Call, Json, Reply
from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.clockify.paging import DIRECTIONS, Page, Where, bodies, select_page
from sync_pipeline.sandbox.clockify.users import find_user


def list_groups(call: Call) -> Reply:
    """GET .../user-groups."""
    where = Where()
    if name := call.query.get("name"):
        where.contains("name", name)
    column = {"ID": "id", "NAME": "name"}[call.choice("sort-column", ("ID", "NAME"), "NAME")]
    direction = DIRECTIONS[call.choice("sort-order", tuple(DIRECTIONS), "ASCENDING")]
    order = f"{column} {direction}, id {direction}"
    return select_page(call, "SELECT body FROM user_groups", where, order, Page.asked(call), bodies)


def create_group(call: Call) -> Reply:
    """POST .../user-groups."""
    name = name_of(call.json(), most=100)
    demand_free_name(call, "user_groups", name)
    body = {
        "id": new_id(call.now),
        "name": name,
        "workspaceId": call.workspace,
        "userIds": [],
        "teamManagers": [],
    }
    insert(call, "user_groups", body)
    return Reply(body, 201)


def rename_group(call: Call) -> Reply:
    """PUT .../user-groups/{id}."""
    old = document(find(call, "user_groups", call.ids["id"]))
    name = name_of(call.json(), most=100)
    demand_free_name(call, "user_groups", name, own_id=old["id"])
    return _save(call, old | {"name": name})


def delete_group(call: Call) -> Reply:
    """DELETE .../user-groups/{id}."""
    body = document(find(call, "user_groups", call.ids["id"]))
    remove(call, "user_groups", body)
    return Reply(body)


def join_group(call: Call) -> Reply:
    """POST .../user-groups/{id}/users."""
    user = find_user(call, str(call.json().get("userId")))
    body = document(find(call, "user_groups", call.ids["id"]))
    return _save(call, body | {"userIds": [*(u for u in body["userIds"] if u != user["id"]), user["id"]]})


def leave_group(call: Call) -> Reply:
    """DELETE .../user-groups/{id}/users/{user}."""
    body = document(find(call, "user_groups", call.ids["id"]))
    return _save(call, body | {"userIds": [u for u in body["userIds"] if u != call.ids["user"]]})


def _save(call: Call, body: Json) -> Reply:
    replace(call, "user_groups", body)
    return Reply(body)
