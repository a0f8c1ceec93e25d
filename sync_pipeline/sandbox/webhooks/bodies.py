"""What a webhook's body holds: the record itself, flat, with the fields today's deliveries have.

No envelope, no event name, no actor, no time of the event; people's bodies do not even name the workspace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.documents import document
from sync_pipeline.sandbox.clockify.entries import Lookup, locked_before
from sync_pipeline.sandbox.clockify.entry_rows import CURRENCY
from sync_pipeline.sandbox.clockify.http import Happened, Json
from sync_pipeline.sandbox.clockify.ids import created_at
from sync_pipeline.sandbox.clockify.projects import SELECT_PROJECT, project_body
from sync_pipeline.sandbox.clockify.tasks import tasks_of
from sync_pipeline.sandbox.clockify.times import parse_instant, zone
from sync_pipeline.sandbox.world import World

ENTRY = ("id", "description", "userId", "workspaceId", "projectId", "billable")
PROJECT = (
    "id", "name", "clientId", "clientName", "workspaceId", "billable", "color", "archived", "note", "public", "template",
    "estimate", "duration", "hourlyRate",
)  # fmt: skip
NESTED_PROJECT = (
    "id", "name", "clientId", "clientName", "workspaceId", "billable", "archived", "color", "note", "public", "template",
    "memberships", "estimate", "activeEstimate", "timeEstimate", "budgetEstimate", "hourlyRate", "costRate", "duration",
    "auditMetadata",
)  # fmt: skip
NAMED = ("id", "name", "workspaceId", "archived")
# Records sent with some of their own fields only. Clients have neither address nor note here: read the client.
PLAIN = {
    "clients": NAMED,
    "tags": NAMED,
    "tasks": (
        "id", "name", "projectId", "assigneeId", "assigneeIds", "userGroupIds", "estimate", "status", "duration",
    ),
    "user_groups": ("id", "name", "workspaceId", "userIds", "teamManagers"),
}  # fmt: skip
PERSON = ("id", "email", "name")
# These hold more about a person than the others do.
WHOLE_PERSON = ("USER_JOINED_WORKSPACE", "USER_ACTIVATED_ON_WORKSPACE", "USER_DEACTIVATED_ON_WORKSPACE")


class Bodies:
    """Makes bodies from what happened and what is stored now; related records are read once per instance."""

    def __init__(self, world: World) -> None:
        self._db = world.db
        self._lookup = Lookup(world.db, world.workspace)
        self._lock = locked_before(world)
        self._seen: dict[tuple[str, str], Json | None] = {}

    def of(self, event: Happened) -> Json:
        """The body of one event."""
        if event.table in PLAIN:
            return _only(PLAIN[event.table], event.record)
        if event.table == "rates":
            changed = event.record["modifiedEntity"]
            return event.record | {"modifiedEntity": changed | _rates(changed)}
        return {"time_entries": self._entry, "projects": self._project, "users": _person}[event.table](event)

    def _entry(self, happened: Happened) -> Json:
        entry = happened.record
        project = self._related("projects", entry["projectId"], self._nested_project)
        user = self._related("users", entry["userId"], self._nested_user) or {}
        tags = (self._lookup.get("tags", tag) for tag in entry["tagIds"] or [])
        span = _span(entry["timeInterval"], user.get("timeZone", "UTC"))
        start = parse_instant(span["start"])
        return _only(ENTRY, entry) | {
            "isLocked": self._lock is not None and start is not None and start.timestamp() < self._lock,
            "type": entry["type"],
            "kioskId": entry["kioskId"],
            "currentlyRunning": span["end"] is None,
            "approvalStatus": None,
            "detailedApprovalStatus": None,
            "projectCurrency": None if project is None else CURRENCY,
            # Always null in deliveries, whatever the entry's rates are.
            "hourlyRate": None,
            "costRate": None,
            "timeInterval": span,
            "customFieldValues": [
                _only(("customFieldId", "timeEntryId", "value", "name"), value) for value in entry["customFieldValues"]
            ],
            "project": project,
            "task": self._lookup.get("tasks", entry["taskId"]),
            "user": _only(("id", "name", "status", "hourlyRate", "costRate"), user) if user else None,
            "tags": [_only(NAMED, tag) for tag in tags if tag is not None],
        }

    def _related(self, table: str, record_id: str | None, read: Callable[[str], Json | None]) -> Json | None:
        if not record_id:
            return None
        if (table, record_id) not in self._seen:
            self._seen[table, record_id] = read(record_id)
        return self._seen[table, record_id]

    def _nested_project(self, project_id: str) -> Json | None:
        row = self._db.execute(f"{SELECT_PROJECT} WHERE p.id = ?", (project_id,)).fetchone()
        if row is None:
            return None
        body = project_body(row)
        members = [{"userId": one["userId"]} | _rates(one) for one in body["memberships"]]
        changed = {"updatedAt": (row["updated"] or created_at(project_id)) * 1000}
        more = {"memberships": members, "activeEstimate": _estimate(body), "auditMetadata": changed}
        return _only(NESTED_PROJECT, body | _rates(body) | more)

    def _nested_user(self, user_id: str) -> Json | None:
        row = self._db.execute(
            "SELECT id, name, membership_status, body FROM users WHERE id = ?", (user_id,)
        ).fetchone()
        if row is None:
            return None
        stored = orjson.loads(row["body"])
        zone_name = (stored["settings"] or {}).get("timeZone", "UTC")
        body = {"id": row["id"], "name": row["name"], "status": row["membership_status"], "timeZone": zone_name}
        return body | _rates(stored)

    def _project(self, happened: Happened) -> Json:
        record = happened.record
        row = self._db.execute(f"{SELECT_PROJECT} WHERE p.id = ?", (record["id"],)).fetchone()
        # A deleted project is sent in its last state.
        body = record if row is None else project_body(row)
        client = self._db.execute("SELECT body FROM clients WHERE id = ?", (body["clientId"],)).fetchone()
        return _only(PROJECT, body | _rates(body)) | {
            "tasks": tasks_of(self._db, record["id"]),
            "client": None if client is None else _only(NAMED, document(client)),
        }


def _person(happened: Happened) -> Json:
    more = ("profilePicture", "settings") if happened.event in WHOLE_PERSON else ()
    old = ("oldEmail",) if happened.event == "USER_EMAIL_CHANGED" else ()
    return _only((*PERSON, *more, *old), happened.record)


def _only(names: Iterable[str], record: Json) -> Json:
    return {name: record[name] for name in names}


def _rates(record: Json) -> Json:
    """Both rates without their currency, as deliveries have them."""
    return {
        name: None if record.get(name) is None else {"amount": record[name]["amount"]}
        for name in ("hourlyRate", "costRate")
    }


def _estimate(project: Json) -> str:
    if project["budgetEstimate"]:
        return "BUDGET"
    return "TIME" if project["timeEstimate"]["active"] else "NONE"


def _span(interval: Json, zone_name: str) -> Json:
    """The interval with the owner's wall clock next to it."""
    span: Json = {name: interval[name] for name in ("start", "end", "duration")} | {"timeZone": zone_name}
    for name in ("start", "end"):
        offset, wall = _local(interval[name], zone_name)
        span |= {f"offset{name.title()}": offset, f"zoned{name.title()}": wall}
    return span


def _local(text: Any, zone_name: str) -> tuple[int | None, str | None]:
    moment = parse_instant(text)
    if moment is None:
        return None, None
    local = moment.astimezone(zone(zone_name))
    offset = local.utcoffset()
    wall = local.replace(tzinfo=None).isoformat(timespec="seconds")
    return (0 if offset is None else int(offset.total_seconds())), wall
