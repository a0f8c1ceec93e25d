"""Projects: list filters, unique names within a client, archive before delete, PUT that resets two flags."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from typing import Any

from sync_pipeline.sandbox.clockify.clients import without_code
from sync_pipeline.sandbox.clockify.documents import (
    boolean,
    demand_free_name,
    document,
    find,
    insert,
    integer,
    name_of,
    one_of,
    part,
    parts,
    remove,
    replace,
    strings,
    text,
)
from sync_pipeline.sandbox.clockify.entry_rows import CURRENCY
from sync_pipeline.sandbox.clockify.http import Call, Handler, Json, Refusal, Reply, invalid, not_ours, unavailable
from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.clockify.named import NamedRecords, Render
from sync_pipeline.sandbox.clockify.paging import Where
from sync_pipeline.sandbox.clockify.tasks import build_task, tasks_of
from sync_pipeline.sandbox.clockify.templates import MEMBERSHIP, PROJECT
from sync_pipeline.sandbox.clockify.times import duration_seconds, duration_text
from sync_pipeline.sandbox.clockify.workspaces import currencies, settings

INTERVALS = ("WEEKLY", "MONTHLY", "YEARLY")
WEEKDAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
MONTHS = (
    "JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE", "JULY", "AUGUST", "SEPTEMBER", "OCTOBER", "NOVEMBER", "DECEMBER",
)  # fmt: skip
NO_BUDGET: Json = {"estimate": 0, "type": "AUTO", "resetOption": None, "active": False, "includeExpenses": False}
COLOR = re.compile(r"^#[0-9a-fA-F]{6}$")
SELECT_PROJECT = (
    "SELECT p.id, p.parent, p.name, p.archived, p.tracked, p.updated, p.body, c.name AS client_name, c.archived AS client_archived"
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


class Projects(NamedRecords):
    """``.../projects``: PUT resets isPublic and billable when they are left out and keeps the rest."""

    table, permission, active, least, most = "projects", "whoCanCreateProjectsAndClients", "project", 2, 250
    sort, select, prefix, cascades = SORT, SELECT_PROJECT, "p.", True

    def filter(self, call: Call, where: Where) -> None:
        """By what it is, by its client, by its members."""
        for parameter, path in (("billable", "billable"), ("is-template", "template")):
            wanted = call.flag(parameter)
            if wanted is not None:
                where.add(f"json_extract(p.body, '$.{path}') = ?", wanted)
        access = call.choice("access", ("", "PUBLIC", "PRIVATE"), "")
        if access:
            where.add("json_extract(p.body, '$.public') = ?", access == "PUBLIC")
        _client_filter(call, where)
        _member_filter(call, where)

    def render(self, call: Call) -> Render:
        """Hydrated when asked for."""
        hydrated = bool(call.flag("hydrated"))
        return lambda rows: [hydrated_project(call, row) if hydrated else project_body(row) for row in rows]

    def get(self, call: Call) -> Reply:
        """Hydrated when asked for."""
        hydrated = bool(call.flag("hydrated"))
        row = self.row(call)
        return Reply(hydrated_project(call, row) if hydrated else project_body(row))

    def row(self, call: Call) -> sqlite3.Row:
        """With its client's name."""
        return find_project(call, call.ids["id"])

    def body(self, row: sqlite3.Row) -> Json:
        """With its client's name and the tracked time."""
        return project_body(row)

    def build(self, call: Call, asked: Json, old: sqlite3.Row | None) -> Json:
        """Names are unique within a client."""
        if old is None:
            client = client_of(call, asked.get("clientId"))
            return _new_project(call, asked, self.name(call, asked, old, client), client)
        name = str(old["name"]) if asked.get("name") is None else name_of(asked, least=self.least, most=self.most)
        client = old["parent"] if "clientId" not in asked else client_of(call, asked["clientId"])
        demand_free_name(call, self.table, name, client, old)
        return _changed(call, asked, document(old) | {"name": name, "clientId": client})

    def written(self, call: Call, body: Json, *, is_new: bool) -> None:
        """A new project may come with tasks."""
        if is_new:
            for task in parts(call.json(), "tasks"):
                insert(call, "tasks", build_task(call, body["id"], task), quiet=True)

    def detach(self, call: Call, body: Json) -> None:
        """The tasks of a deleted project go with it."""
        for task in call.db.execute("SELECT body FROM tasks WHERE parent = ?", (body["id"],)).fetchall():
            remove(call, "tasks", document(task), quiet=True)

    def answer(self, call: Call, body: Json, status: int = 200) -> Reply:
        """As it is read, not hydrated."""
        return Reply(project_body(find_project(call, body["id"])), status)

    def patched(self, change: Callable[[Call, Json, Json], None]) -> Handler:
        """PATCH .../projects/{id}/...: ``change`` gets the request's body and the document."""

        def answer(call: Call) -> Reply:
            self.demand(call)
            body = document(self.row(call))
            change(call, call.json(), body)
            replace(call, self.table, body)
            return self.answer(call, body)

        return answer


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
    """A project as Clockify returns it; client name and tracked time are looked up, not stored. No rate is a rate of 0."""
    body = document(row)
    body["clientId"] = row["parent"]
    body["clientName"] = row["client_name"] or ""
    body["hourlyRate"] = body["hourlyRate"] or {"amount": 0, "currency": CURRENCY}
    body["duration"] = duration_text(row["tracked"])
    return body


def hydrated_project(call: Call, row: sqlite3.Row) -> Json:
    """A project with its tasks, client and custom-field defaults inside."""
    client = call.db.execute("SELECT body FROM clients WHERE id = ?", (row["parent"],)).fetchone()
    return project_body(row) | {
        "tasks": tasks_of(call.db, row["id"]),
        "client": None if client is None else without_code(document(client)),
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
    row: sqlite3.Row | None = call.db.execute(f"{SELECT_PROJECT} WHERE p.id = ?", (project_id,)).fetchone()
    if row is None:
        raise not_ours("Project")
    return row


def _new_project(call: Call, asked: Json, name: str, client: str) -> Json:
    workspace = settings(call.world)
    project_id = new_id(call.now)
    public = boolean(asked, "isPublic", workspace["isProjectPublicByDefault"])
    estimate = _estimate(asked.get("estimate"))
    return PROJECT | {
        "id": project_id,
        "name": name,
        "hourlyRate": _rate(call, asked.get("hourlyRate")),
        "clientId": client,
        "workspaceId": call.workspace,
        "billable": boolean(asked, "billable", workspace["defaultBillableProjects"]),
        "memberships": _memberships(call, parts(asked, "memberships") or [{"userId": call.caller.user_id}], project_id),
        "color": color(asked.get("color")) or PROJECT["color"],
        "estimate": estimate,
        "note": text(asked, "note", most=16384) or "",
        "costRate": _rate(call, asked.get("costRate")),
        "timeEstimate": PROJECT["timeEstimate"] | estimate | {"active": estimate["type"] == "MANUAL"},
        "public": public,
    }


def _changed(call: Call, asked: Json, old: Json) -> Json:
    note = text(asked, "note", most=16384)
    return old | {
        "note": old["note"] if note is None else note,
        "color": color(asked.get("color")) or old["color"],
        "public": boolean(asked, "isPublic", False),
        "billable": boolean(asked, "billable", False),
        "archived": boolean(asked, "archived", old["archived"]),
        "hourlyRate": _rate(call, asked.get("hourlyRate")) or old["hourlyRate"],
        "costRate": _rate(call, asked.get("costRate")) or old["costRate"],
    }


def change_estimate(_call: Call, asked: Json, body: Json) -> None:
    """PATCH .../projects/{id}/estimate."""
    if (time := part(asked, "timeEstimate")) is not None:
        body["estimate"] = _estimate(
            body["estimate"] | {key: value for key, value in time.items() if value is not None}
        )
        body["timeEstimate"] = body["estimate"] | _options(time, body["timeEstimate"], "includeNonBillable")
    if "budgetEstimate" in asked:
        budget = part(asked, "budgetEstimate")
        body["budgetEstimate"] = None if budget is None else _budget(budget, body["budgetEstimate"] or NO_BUDGET)
    if "estimateReset" in asked:
        reset = part(asked, "estimateReset")
        body["estimateReset"] = None if reset is None else _reset(reset)


def replace_memberships(call: Call, asked: Json, body: Json) -> None:
    """PATCH .../projects/{id}/memberships: the list given is the list there is."""
    body["memberships"] = _memberships(call, parts(asked, "memberships"), body["id"])


def add_memberships(call: Call, asked: Json, body: Json) -> None:
    """POST .../projects/{id}/memberships: adds users, or removes them."""
    users = strings(asked, "userIds") or []
    kept = [member for member in body["memberships"] if member["userId"] not in users]
    added = [] if boolean(asked, "remove", False) else _memberships(call, [{"userId": u} for u in users], body["id"])
    body["memberships"] = kept + added


def set_template(call: Call, asked: Json, body: Json) -> None:
    """PATCH .../projects/{id}/template."""
    if call.world.options.plan == "free":
        raise unavailable()
    body["template"] = boolean(asked, "isTemplate", False)


def client_of(call: Call, client_id: object) -> str:
    """The id of the client that a request names, which exists; empty for none."""
    if client_id is None or client_id == "":
        return ""
    if not isinstance(client_id, str):
        raise not_ours("Client")
    return str(find(call, "clients", client_id)["id"])


def color(value: object) -> str | None:
    """The colour that a request names."""
    if value is None:
        return None
    if not isinstance(value, str) or not COLOR.match(value):
        raise invalid("color: must match #RRGGBB")
    return value


def _rate(call: Call, value: Any) -> Json | None:
    if value is None:
        return None
    amount = value.get("amount") if isinstance(value, dict) else None
    if not isinstance(amount, int) or isinstance(amount, bool) or amount < 0:
        raise invalid("rate: amount must be greater than or equal to 0")
    return {"amount": amount, "currency": next(iter(currencies(call)))["code"]}


def _estimate(value: Any) -> Json:
    if not isinstance(value, dict):
        return {"estimate": "PT0S", "type": "AUTO"}
    text_value = value.get("estimate") or "PT0S"
    if duration_seconds(text_value) is None:
        raise Refusal(400, 3002, f"JSON parse error: {text_value!r} is not an ISO-8601 duration")
    return {"estimate": text_value, "type": one_of(value, "type", ("AUTO", "MANUAL"), "AUTO")}


def _options(asked: Json, old: Json, flag: str) -> Json:
    """What both estimates have; what is left out stays."""
    return {
        "type": one_of(asked, "type", ("AUTO", "MANUAL"), old["type"]),
        "resetOption": one_of(asked, "resetOption", INTERVALS, old["resetOption"]),
        "active": boolean(asked, "active", old["active"]),
        flag: boolean(asked, flag, old[flag]),
    }


def _budget(asked: Json, old: Json) -> Json:
    return {"estimate": integer(asked, "estimate", old["estimate"]), **_options(asked, old, "includeExpenses")}


def _reset(asked: Json) -> Json:
    return {
        "interval": one_of(asked, "interval", INTERVALS, "MONTHLY"),
        "dayOfWeek": one_of(asked, "dayOfWeek", WEEKDAYS, "MONDAY"),
        "dayOfMonth": integer(asked, "dayOfMonth", 1),
        "month": one_of(asked, "month", MONTHS, "JANUARY"),
        "hour": integer(asked, "hour", 0),
    }


def _memberships(call: Call, asked: list[Json], project_id: str) -> list[Json]:
    for member in asked:
        find(call, "users", text(member, "userId", most=100) or "")
    return [
        MEMBERSHIP
        | {
            "userId": member["userId"],
            "targetId": project_id,
            "hourlyRate": _rate(call, member.get("hourlyRate")),
            "costRate": _rate(call, member.get("costRate")),
        }
        for member in asked
    ]
