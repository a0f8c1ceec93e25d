"""Projects: list filters, unique names within a client, archive before delete, PUT that resets two flags."""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from sync_pipeline.sandbox.clockify.documents import (
    boolean,
    demand_free_name,
    document,
    exists,
    insert,
    name_of,
    one_of,
    remove,
    replace,
    strings,
    text,
)
from sync_pipeline.sandbox.clockify.http import Call, Json, Refusal, Reply, invalid, not_ours, unavailable
from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.clockify.paging import DIRECTIONS, Page, Where, select_page
from sync_pipeline.sandbox.clockify.tasks import build_task, tasks_of
from sync_pipeline.sandbox.clockify.times import duration_seconds, duration_text
from sync_pipeline.sandbox.clockify.workspaces import currencies, demand_creator, settings
from sync_pipeline.sandbox.database import transaction

COLOR = re.compile(r"^#[0-9a-fA-F]{6}$")
SELECT = (
    "SELECT p.id, p.parent, p.archived, p.tracked, p.updated, p.body, c.name AS client_name, c.archived AS client_archived"
    " FROM projects p LEFT JOIN clients c ON c.id = p.parent"
)
SORT = {
    "ID": "p.id",
    "NAME": "p.name",
    "CLIENT_NAME": "client_name",
    "DURATION": "p.tracked",
    "BUDGET": "json_extract(p.body, '$.budgetEstimate.estimate')",
    "PROGRESS": "p.tracked",
}


def list_projects(call: Call) -> Reply:
    """GET .../projects."""
    where = _filters(call)
    column = SORT[call.choice("sort-column", tuple(SORT), "NAME")]
    direction = DIRECTIONS[call.choice("sort-order", tuple(DIRECTIONS), "ASCENDING")]
    hydrated = bool(call.flag("hydrated"))

    def render(rows: list[sqlite3.Row]) -> list[Json]:
        return [hydrated_project(call, row) if hydrated else project_body(row) for row in rows]

    return select_page(call, SELECT, where, f"{column} {direction}, p.id {direction}", Page.asked(call), render)


def _filters(call: Call) -> Where:
    where = Where()
    if name := call.query.get("name"):
        if call.flag("strict-name-search"):
            where.add("p.name = ?", name)
        else:
            where.contains("p.name", name)
    archived = call.flag("archived")
    if archived is not None:
        where.add("p.archived = ?", archived)
    for parameter, path in (("billable", "billable"), ("is-template", "template")):
        wanted = call.flag(parameter)
        if wanted is not None:
            where.add(f"json_extract(p.body, '$.{path}') = ?", wanted)
    access = call.choice("access", ("", "PUBLIC", "PRIVATE"), "")
    if access:
        where.add("json_extract(p.body, '$.public') = ?", access == "PUBLIC")
    _client_filter(call, where)
    _member_filter(call, where)
    return where


def _client_filter(call: Call, where: Where) -> None:
    if clients := call.many("clients"):
        where.any_of("p.parent", clients, contains=call.flag("contains-client", True) is True)
    status = call.choice("client-status", ("", "ACTIVE", "ARCHIVED", "ALL"), "")
    if status in ("ACTIVE", "ARCHIVED"):
        where.add("client_archived = ?", status == "ARCHIVED")


_MEMBER = "EXISTS (SELECT 1 FROM json_each(p.body, '$.memberships') m WHERE json_extract(m.value, '$.userId') IN ({}))"


def _member_filter(call: Call, where: Where) -> None:
    if users := call.many("users"):
        clause = _MEMBER.format(",".join("?" * len(users)))
        where.add(clause if call.flag("contains-user", True) else f"NOT {clause}", *users)
    if not call.caller.admin:
        # Members see public projects and their own.
        where.add(f"(json_extract(p.body, '$.public') = 1 OR {_MEMBER.format('?')})", call.caller.user_id)


def project_body(row: sqlite3.Row) -> Json:
    """A project as Clockify returns it; client name and tracked time are looked up, not stored."""
    body = document(row)
    body["clientId"] = row["parent"]
    body["clientName"] = row["client_name"] or ""
    body["duration"] = duration_text(row["tracked"])
    return body


def hydrated_project(call: Call, row: sqlite3.Row) -> Json:
    """A project with its tasks, client and custom-field defaults inside."""
    client = call.db.execute("SELECT body FROM clients WHERE id = ?", (row["parent"],)).fetchone()
    return project_body(row) | {
        "tasks": tasks_of(call.db, row["id"]),
        "client": None if client is None else document(client),
        "customFields": _field_defaults(call, row["id"]),
        "expenses": [],
    }


def _field_defaults(call: Call, project_id: str) -> list[Json]:
    fields = [document(row) for row in call.db.execute("SELECT body FROM custom_fields ORDER BY id")]
    return [
        {
            "customFieldId": field["id"],
            "name": field["name"],
            "type": field["type"],
            "value": default["value"],
            "status": default["status"],
        }
        for field in fields
        for default in field["projectDefaultValues"]
        if default["projectId"] == project_id
    ]


def find_project(call: Call, project_id: str) -> sqlite3.Row:
    """The project's row with its client's name, or 400/501."""
    row: sqlite3.Row | None = call.db.execute(f"{SELECT} WHERE p.id = ?", (project_id,)).fetchone()
    if row is None:
        raise not_ours("Project")
    return row


def get_project(call: Call) -> Reply:
    """GET .../projects/{id}."""
    return _answer(call, call.ids["id"], hydrated=bool(call.flag("hydrated")))


def _answer(call: Call, project_id: str, *, status: int = 200, hydrated: bool = False) -> Reply:
    row = find_project(call, project_id)
    return Reply(hydrated_project(call, row) if hydrated else project_body(row), status)


def create_project(call: Call) -> Reply:
    """POST .../projects."""
    demand_creator(call, "whoCanCreateProjectsAndClients")
    asked = call.json()
    client = _client_of(call, asked.get("clientId"))
    name = name_of(asked, least=2, most=250)
    demand_free_name(call, "projects", name, parent=client)
    body = _new_project(call, asked, name, client)
    with transaction(call.db):
        insert(call, "projects", body, parent=client)
        for task in asked.get("tasks") or []:
            insert(call, "tasks", build_task(call, body["id"], task), parent=body["id"], quiet=True)
    return _answer(call, body["id"], status=201)


def _new_project(call: Call, asked: Json, name: str, client: str) -> Json:
    workspace = settings(call.world)
    project_id = new_id(call.now)
    public = boolean(asked, "isPublic", workspace["isProjectPublicByDefault"])
    estimate = _estimate(asked.get("estimate"))
    return {
        "id": project_id,
        "name": name,
        "hourlyRate": _rate(call, asked.get("hourlyRate")),
        "clientId": client,
        "workspaceId": call.workspace,
        "billable": boolean(asked, "billable", workspace["defaultBillableProjects"]),
        "memberships": _memberships(call, asked.get("memberships") or [{"userId": call.caller.user_id}], project_id),
        "color": _color(asked.get("color")) or "#03A9F4",
        "estimate": estimate,
        "archived": False,
        "note": text(asked, "note", most=16384) or "",
        "costRate": _rate(call, asked.get("costRate")),
        "timeEstimate": {
            "estimate": estimate["estimate"],
            "type": estimate["type"],
            "resetOption": None,
            "active": estimate["type"] == "MANUAL",
            "includeNonBillable": True,
        },
        "budgetEstimate": None,
        "estimateReset": None,
        "template": False,
        "public": public,
    }


def update_project(call: Call) -> Reply:
    """PUT .../projects/{id}: isPublic and billable fall back to false when left out, the rest is kept."""
    demand_creator(call, "whoCanCreateProjectsAndClients")
    row = find_project(call, call.ids["id"])
    asked, old = call.json(), document(row)
    name = old["name"] if asked.get("name") is None else name_of(asked, least=2, most=250)
    client = row["parent"] if "clientId" not in asked else _client_of(call, asked["clientId"])
    demand_free_name(call, "projects", name, parent=client, own_id=old["id"])
    note = text(asked, "note", most=16384)
    body = old | {
        "name": name,
        "clientId": client,
        "note": old["note"] if note is None else note,
        "color": _color(asked.get("color")) or old["color"],
        "public": boolean(asked, "isPublic", False),
        "billable": boolean(asked, "billable", False),
        "archived": boolean(asked, "archived", old["archived"]),
        "hourlyRate": _rate(call, asked.get("hourlyRate")) or old["hourlyRate"],
        "costRate": _rate(call, asked.get("costRate")) or old["costRate"],
    }
    replace(call, "projects", body, parent=client, archived=body["archived"])
    return _answer(call, body["id"])


def delete_project(call: Call) -> Reply:
    """DELETE .../projects/{id}: archived projects only; its tasks go with it."""
    demand_creator(call, "whoCanCreateProjectsAndClients")
    row = find_project(call, call.ids["id"])
    if not row["archived"]:
        raise invalid("Cannot delete an active project")
    body = project_body(row)
    with transaction(call.db):
        for task in call.db.execute("SELECT body FROM tasks WHERE parent = ?", (body["id"],)).fetchall():
            remove(call, "tasks", document(task), quiet=True)
        remove(call, "projects", body)
    return Reply(body)


def update_estimate(call: Call) -> Reply:
    """PATCH .../projects/{id}/estimate."""
    asked, body, client = _editable(call)
    time_estimate = asked.get("timeEstimate")
    if isinstance(time_estimate, dict):
        body["timeEstimate"] = body["timeEstimate"] | time_estimate
        body["estimate"] = _estimate({k: time_estimate.get(k) for k in ("estimate", "type")})
    if "budgetEstimate" in asked:
        body["budgetEstimate"] = asked["budgetEstimate"]
    if "estimateReset" in asked:
        body["estimateReset"] = asked["estimateReset"]
    replace(call, "projects", body, parent=client, archived=body["archived"])
    return _answer(call, body["id"])


def replace_memberships(call: Call) -> Reply:
    """PATCH .../projects/{id}/memberships: the list given is the list there is."""
    asked, body, client = _editable(call)
    body["memberships"] = _memberships(call, asked.get("memberships") or [], body["id"])
    replace(call, "projects", body, parent=client, archived=body["archived"])
    return _answer(call, body["id"])


def add_memberships(call: Call) -> Reply:
    """POST .../projects/{id}/memberships: adds users, or removes them."""
    asked, body, client = _editable(call)
    users = strings(asked, "userIds") or []
    kept = [member for member in body["memberships"] if member["userId"] not in users]
    added = [] if boolean(asked, "remove", False) else _memberships(call, [{"userId": u} for u in users], body["id"])
    body["memberships"] = kept + added
    replace(call, "projects", body, parent=client, archived=body["archived"])
    return _answer(call, body["id"])


def set_template(call: Call) -> Reply:
    """PATCH .../projects/{id}/template."""
    asked, body, client = _editable(call)
    if call.world.options.plan == "free":
        raise unavailable()
    body["template"] = boolean(asked, "isTemplate", False)
    replace(call, "projects", body, parent=client, archived=body["archived"])
    return _answer(call, body["id"])


def _editable(call: Call) -> tuple[Json, Json, str]:
    demand_creator(call, "whoCanCreateProjectsAndClients")
    row = find_project(call, call.ids["id"])
    return call.json(), document(row), row["parent"]


def _client_of(call: Call, client_id: object) -> str:
    if client_id is None or client_id == "":
        return ""
    if not isinstance(client_id, str) or not exists(call, "clients", client_id):
        raise not_ours("Client")
    return client_id


def _color(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not COLOR.match(value):
        raise invalid("color: must match #RRGGBB")
    return value


def _rate(call: Call, value: Any) -> Json | None:
    if value is None:
        return None
    amount = value.get("amount") if isinstance(value, dict) else None
    if not isinstance(amount, int) or amount < 0:
        raise invalid("rate: amount must be greater than or equal to 0")
    return {"amount": amount, "currency": next(iter(currencies(call)))["code"]}


def _estimate(value: Any) -> Json:
    if not isinstance(value, dict):
        return {"estimate": "PT0S", "type": "AUTO"}
    text_value = value.get("estimate") or "PT0S"
    if duration_seconds(text_value) is None:
        raise Refusal(400, 3002, f"JSON parse error: {text_value!r} is not an ISO-8601 duration")
    return {"estimate": text_value, "type": one_of(value, "type", ("AUTO", "MANUAL"), "AUTO")}


def _memberships(call: Call, asked: list[Json], project_id: str) -> list[Json]:
    for member in asked:
        if call.db.execute("SELECT 1 FROM users WHERE id = ?", (member.get("userId"),)).fetchone() is None:
            raise not_ours("User")
    return [
        {
            "userId": member["userId"],
            "targetId": project_id,
            "membershipType": "PROJECT",
            "membershipStatus": "ACTIVE",
            "hourlyRate": _rate(call, member.get("hourlyRate")),
            "costRate": _rate(call, member.get("costRate")),
        }
        for member in asked
    ]
