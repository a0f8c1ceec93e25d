"""What Clockify allows a time entry to be, and who may write it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.custom_fields import entry_values
from sync_pipeline.sandbox.clockify.documents import boolean, document, find, one_of, strings
from sync_pipeline.sandbox.clockify.entries import locked_before
from sync_pipeline.sandbox.clockify.http import Call, Json, Refusal, invalid
from sync_pipeline.sandbox.clockify.projects import find_project
from sync_pipeline.sandbox.clockify.times import duration_text, parse_instant, utc_text
from sync_pipeline.sandbox.clockify.workspaces import settings


@dataclass(frozen=True, slots=True)
class Draft:
    """A checked entry, ready to be stored."""

    body: Json
    started: int
    ended: int | None


def draft(call: Call, asked: Json, user_id: str, entry_id: str) -> Draft:
    """The entry the request asks for, or a refusal."""
    started, ended = _interval(call, asked)
    project = _project(call, asked)
    body = {
        "id": entry_id,
        "isLocked": False,
        "description": _description(asked),
        "tagIds": _tags(call, asked),
        "userId": user_id,
        "billable": _billable(call, asked, project),
        "taskId": _task(call, asked),
        "projectId": asked.get("projectId") or None,
        "workspaceId": call.workspace,
        "timeInterval": interval(started, ended),
        "customFieldValues": entry_values(call, asked, entry_id),
        "type": one_of(asked, "type", ("REGULAR", "BREAK"), "REGULAR"),
        "kioskId": None,
        "hourlyRate": _rate(call, user_id, project, "hourlyRate"),
        "costRate": _rate(call, user_id, project, "costRate"),
    }
    _required(call, body, running=ended is None)
    return Draft(body, started, ended)


def interval(started: int, ended: int | None) -> Json:
    """The ``timeInterval`` object; a running entry has neither end nor duration."""
    return {
        "start": utc_text(started),
        "end": None if ended is None else utc_text(ended),
        "duration": None if ended is None else duration_text(ended - started),
    }


def _interval(call: Call, asked: Json) -> tuple[int, int | None]:
    started, ended = _instant(asked, "start"), _instant(asked, "end")
    if started is None and ended is not None:
        raise invalid("start: is required when end is given")
    started = call.now if started is None else started
    if ended is not None and ended < started:
        raise invalid("Start date must be before end date")
    return started, ended


def _instant(asked: Json, name: str) -> int | None:
    value = asked.get(name)
    if value is None:
        return None
    moment = parse_instant(value)
    if moment is None:
        raise Refusal(400, 3002, f"JSON parse error: {name}: {value!r} is not in yyyy-MM-ddThh:mm:ssZ format")
    return int(moment.timestamp())


def _description(asked: Json) -> str:
    value = asked.get("description")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Refusal(400, 3002, "JSON parse error: description must be a string")
    if len(value) > 3000:
        raise invalid("description: size must be between 0 and 3000")
    if "<" in value or ">" in value:
        raise invalid("description: contains invalid characters < or >")
    return value


def _project(call: Call, asked: Json) -> Json | None:
    project_id = asked.get("projectId")
    if not project_id:
        return None
    # Archived projects are accepted, as the real service does.
    return document(find_project(call, str(project_id)))


def _task(call: Call, asked: Json) -> str | None:
    task_id = asked.get("taskId")
    if not task_id:
        return None
    row = call.db.execute("SELECT parent FROM tasks WHERE id = ?", (str(task_id),)).fetchone()
    if row is None or row["parent"] != asked.get("projectId"):
        raise invalid("Task doesn't belong to Project")
    return str(task_id)


def _tags(call: Call, asked: Json) -> list[str] | None:
    tag_ids = strings(asked, "tagIds")
    for tag_id in tag_ids or []:
        if find(call, "tags", tag_id)["archived"]:
            raise invalid("Tag is archived")
    return tag_ids


def _billable(call: Call, asked: Json, project: Json | None) -> bool:
    workspace = settings(call.world)
    default = bool(workspace["defaultBillableProjects"] if project is None else project["billable"])
    if workspace["onlyAdminsCanChangeBillableStatus"] and not call.caller.admin:
        return default
    return boolean(asked, "billable", default if call.world.options.billable_default == "project" else False)


def _rate(call: Call, user_id: str, project: Json | None, name: str) -> Any:
    if project is not None and (project.get(name) or {}).get("amount"):  # 0 is no rate
        return project[name]
    row = call.db.execute("SELECT body FROM users WHERE id = ?", (user_id,)).fetchone()
    return None if row is None else orjson.loads(row["body"]).get(name)


def _required(call: Call, body: Json, *, running: bool) -> None:
    if running:
        # A running entry bypasses the required fields; they are demanded when it is edited complete.
        return
    workspace = settings(call.world)
    for setting, field in (
        ("forceProjects", "projectId"),
        ("forceTasks", "taskId"),
        ("forceTags", "tagIds"),
        ("forceDescription", "description"),
    ):
        if workspace[setting] and not body[field]:
            raise invalid(f"{field} is required")


def demand_manual_tracking(call: Call, asked: Json, *, admins_exempt: bool) -> None:
    """403/4030 when only the stopwatch may be used and the entry carries its end."""
    if asked.get("end") is None or settings(call.world)["timeTrackingMode"] != "STOPWATCH_ONLY":
        return
    if not (admins_exempt and call.caller.admin):
        raise Refusal(403, 4030, "Manual time tracking is disabled on this workspace")


def demand_unlocked(call: Call, started: int) -> None:
    """403/1003 for a member's entry in a locked period; admins are exempt."""
    lock = locked_before(call.world)
    if lock is not None and started < lock and not call.caller.admin:
        raise Refusal(403, 1003, "Time entry is in a locked period")


def demand_unapproved(row: sqlite3.Row) -> None:
    """403/4005 for an approved entry, for every caller."""
    if row["approval"] == "APPROVED":
        raise Refusal(403, 4005, "Time entry is approved and can't be changed")
