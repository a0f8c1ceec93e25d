"""Tasks: one list per project, DONE before delete."""

from __future__ import annotations

import sqlite3

from sync_pipeline.sandbox.clockify.documents import (
    boolean,
    demand_free_name,
    document,
    integer,
    name_of,
    one_of,
    strings,
    text,
)
from sync_pipeline.sandbox.clockify.http import Call, Json, invalid
from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.clockify.named import NamedRecords, Render
from sync_pipeline.sandbox.clockify.templates import TASK
from sync_pipeline.sandbox.clockify.times import duration_seconds, duration_text

STATUS = ("ACTIVE", "DONE")


class Tasks(NamedRecords):
    """``.../projects/{project}/tasks``: PUT needs the name and replaces the rest."""

    table, permission, active, archived = "tasks", "whoCanCreateTasks", "task", "is-active"
    select = "SELECT body, tracked FROM tasks"

    def build(self, call: Call, asked: Json, old: sqlite3.Row | None) -> Json:
        """What the request leaves out is reset, but for rates and tracked time."""
        project = call.ids["project"]
        body = build_task(call, project, asked)
        demand_free_name(call, self.table, body["name"], project, old)
        if old is None:
            return body
        before = task_body(old)
        return body | {name: before[name] for name in ("id", "duration", "hourlyRate", "costRate")}

    def render(self, call: Call) -> Render:  # noqa: ARG002 - as declared
        """With the tracked time."""
        return task_bodies

    def body(self, row: sqlite3.Row) -> Json:
        """With the tracked time."""
        return task_body(row)


def task_body(row: sqlite3.Row) -> Json:
    """A task as Clockify returns it."""
    return document(row) | {"duration": duration_text(row["tracked"])}


def task_bodies(rows: list[sqlite3.Row]) -> list[Json]:
    """Tasks as Clockify returns them."""
    return [task_body(row) for row in rows]


def tasks_of(db: sqlite3.Connection, project_id: str) -> list[Json]:
    """All tasks of a project."""
    rows = db.execute("SELECT body, tracked FROM tasks WHERE parent = ? ORDER BY name, id", (project_id,))
    return task_bodies(rows.fetchall())


def build_task(call: Call, project: str, asked: Json) -> Json:
    """A new task's document from a request body."""
    return TASK | {
        "id": new_id(call.now),
        "name": name_of(asked, most=1000),
        "projectId": project,
        "assigneeIds": strings(asked, "assigneeIds") or [],
        "assigneeId": text(asked, "assigneeId", most=100),
        "userGroupIds": strings(asked, "userGroupIds") or [],
        "estimate": _estimate(asked),
        "status": one_of(asked, "status", STATUS, "ACTIVE"),
        "budgetEstimate": integer(asked, "budgetEstimate", 0),
        "billable": boolean(asked, "billable", False),
    }


def _estimate(asked: Json) -> str:
    value = asked.get("estimate")
    if value is None:
        return "PT0S"
    if not isinstance(value, str) or duration_seconds(value) is None:
        raise invalid("estimate: must be an ISO-8601 duration")
    return value
