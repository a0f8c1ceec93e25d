"""Tags: a name-only PUT un-archives, deleting needs no archiving first."""

from __future__ import annotations

from sync_pipeline.sandbox.clockify.documents import (
    boolean,
    demand_free_name,
    document,
    find,
    insert,
    name_of,
    remove,
    replace,
)
from sync_pipeline.sandbox.clockify.http import Call, Reply
from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.clockify.paging import DIRECTIONS, Page, Where, bodies, select_page
from sync_pipeline.sandbox.clockify.workspaces import demand_creator


def list_tags(call: Call) -> Reply:
    """GET .../tags."""
    where = Where()
    if name := call.query.get("name"):
        if call.flag("strict-name-search"):
            where.add("name = ?", name)
        else:
            where.contains("name", name)
    archived = call.flag("archived")
    if archived is not None:
        where.add("archived = ?", archived)
    if excluded := call.many("excluded-ids"):
        where.any_of("id", excluded, contains=False)
    column = {"ID": "id", "NAME": "name"}[call.choice("sort-column", ("ID", "NAME"), "NAME")]
    direction = DIRECTIONS[call.choice("sort-order", tuple(DIRECTIONS), "ASCENDING")]
    order = f"{column} {direction}, id {direction}"
    return select_page(call, "SELECT body FROM tags", where, order, Page.asked(call), bodies)


def get_tag(call: Call) -> Reply:
    """GET .../tags/{id}."""
    return Reply(document(find(call, "tags", call.ids["id"])))


def create_tag(call: Call) -> Reply:
    """POST .../tags."""
    demand_creator(call, "whoCanCreateTags")
    name = name_of(call.json(), most=100)
    demand_free_name(call, "tags", name)
    body = {"id": new_id(call.now), "name": name, "workspaceId": call.workspace, "archived": False}
    insert(call, "tags", body)
    return Reply(body, 201)


def update_tag(call: Call) -> Reply:
    """PUT .../tags/{id}: ``archived`` left out means false."""
    demand_creator(call, "whoCanCreateTags")
    old = document(find(call, "tags", call.ids["id"]))
    asked = call.json()
    name = old["name"] if asked.get("name") is None else name_of(asked, most=100)
    demand_free_name(call, "tags", name, own_id=old["id"])
    body = old | {"name": name, "archived": boolean(asked, "archived", False)}
    replace(call, "tags", body, archived=body["archived"])
    return Reply(body)


def delete_tag(call: Call) -> Reply:
    """DELETE .../tags/{id}."""
    demand_creator(call, "whoCanCreateTags")
    body = document(find(call, "tags", call.ids["id"]))
    remove(call, "tags", body)
    return Reply(body)
