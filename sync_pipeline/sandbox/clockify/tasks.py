"""Tasks: one list per project, DONE before delete."""

from __future__ import annotations

import sqlite3

from sync_pipeline.sandbox.clockify.documents import (
    boolean,
    demand_free_name,
    document,
    find,
    insert,
    name_of,
    one_of,
    remove,
    replace,
    strings,
)
from sync_pipeline.sandbox.clockify.http import Call, Json, Reply, invalid
from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.clockify.paging import DIRECTIONS, Page, Where, select_page
from sync_pipeline.sandbox.clockify.times import duration_seconds, duration_text
from sync_pipeline.sandbox.clockify.workspaces import demand_creator

STATUS = ("ACTIVE", "DONE")


def list_tasks(call: Call) -> Reply:
    """GET .../projects/{project}/tasks."""
    find(call, "projects", call.ids["project"])
    where = Where()
    where.add("parent = ?", call.ids["project"])
    if name := call.query.get("name"):
        if call.flag("strict-name-search"):
            where.add("name = ?", name)
        else:
            where.contains("name", name)
    active = call.flag("is-active")
    if active is not None:
        where.add("archived = ?", not active)
    column = {"ID": "id", "NAME": "name"}[call.choice("sort-column", ("ID", "NAME"), "NAME")]
    direction = DIRECTIONS[call.choice("sort-order", tuple(DIRECTIONS), "ASCENDING")]
    query = "SELECT body, tracked FROM tasks"
    return select_page(call, query, where, f"{column} {direction}, id {direction}", Page.asked(call), _bodies)


def _bodies(rows: list[sqlite3.Row]) -> list[Json]:
    return [task_body(row) for row in rows]


def task_body(row: sqlite3.Row) -> Json:
    """A task as Clockify returns it."""
    return document(row) | {"duration": duration_text(row["tracked"])}


def tasks_of(db: sqlite3.Connection, project_id: str) -> list[Json]:
    """All tasks of a project."""
    rows = db.execute("SELECT body, tracked FROM tasks WHERE parent = ? ORDER BY name, id", (project_id,))
    return _bodies(rows.fetchall())


def get_task(call: Call) -> Reply:
    """GET .../projects/{project}/tasks/{id}."""
    return Reply(task_body(find(call, "tasks", call.ids["id"], parent=call.ids["project"])))


def create_task(call: Call) -> Reply:
    """POST .../projects/{project}/tasks."""
    demand_creator(call, "whoCanCreateTasks")
    project = call.ids["project"]
    find(call, "projects", project)
    body = build_task(call, project, call.json())
    demand_free_name(call, "tasks", body["name"], parent=project)
    insert(call, "tasks", body, parent=project, archived=body["status"] == "DONE")
    return Reply(body, 201)


def build_task(call: Call, project: str, asked: Json) -> Json:
    """A new task's document from a request body."""
    return {
        "id": new_id(call.now),
        "name": name_of(asked, most=1000),
        "projectId": project,
        "assigneeIds": strings(asked, "assigneeIds") or [],
        "assigneeId": asked.get("assigneeId"),
        "userGroupIds": strings(asked, "userGroupIds") or [],
        "estimate": _estimate(asked),
        "status": one_of(asked, "status", STATUS, "ACTIVE"),
        "budgetEstimate": asked.get("budgetEstimate") or 0,
        "duration": "PT0S",
        "billable": boolean(asked, "billable", False),
        "hourlyRate": None,
        "costRate": None,
    }


def update_task(call: Call) -> Reply:
    """PUT .../projects/{project}/tasks/{id}: name required, the rest replaced."""
    demand_creator(call, "whoCanCreateTasks")
    row = find(call, "tasks", call.ids["id"], parent=call.ids["project"])
    old = task_body(row)
    new = build_task(call, row["parent"], call.json())
    demand_free_name(call, "tasks", new["name"], parent=row["parent"], own_id=old["id"])
    kept = {name: old[name] for name in ("id", "duration", "hourlyRate", "costRate")}
    body = new | kept
    replace(call, "tasks", body, parent=row["parent"], archived=body["status"] == "DONE")
    return Reply(body)


def delete_task(call: Call) -> Reply:
    """DELETE .../projects/{project}/tasks/{id}: done tasks only."""
    demand_creator(call, "whoCanCreateTasks")
    body = task_body(find(call, "tasks", call.ids["id"], parent=call.ids["project"]))
    if body["status"] != "DONE":
        raise invalid("Cannot delete an active task")
    remove(call, "tasks", body)
    return Reply(body)


def _estimate(asked: Json) -> str:
    value = asked.get("estimate")
    if value is None:
        return "PT0S"
    if not isinstance(value, str) or duration_seconds(value) is None:
        raise invalid("estimate: must be an ISO-8601 duration")
    return value
