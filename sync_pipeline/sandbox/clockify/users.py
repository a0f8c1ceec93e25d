"""Users of the workspace: who they are, what they may do, whether they are still here."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import orjson

from sync_pipeline.sandbox.clockify.clients import EMAIL
from sync_pipeline.sandbox.clockify.documents import dump, find, integer, one_of, strings
from sync_pipeline.sandbox.clockify.http import Call, Json, Refusal, Reply, invalid, unavailable
from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.clockify.paging import DIRECTIONS, Page, Where, select_page
from sync_pipeline.sandbox.clockify.workspaces import currencies, workspace_body, workspace_membership

SHOWN_BY_DEFAULT = ("ACTIVE", "PENDING_EMAIL_VERIFICATION", "NOT_REGISTERED")
STATUSES = ("PENDING", "ACTIVE", "DECLINED", "INACTIVE", "ALL")
MEMBERSHIPS = ("ALL", "NONE", "WORKSPACE", "PROJECT", "USERGROUP")
MANAGED_ROLES = ("WORKSPACE_ADMIN", "TEAM_MANAGER", "PROJECT_MANAGER")
ROLE_NAMES = {
    "OWNER": "Admin",
    "WORKSPACE_ADMIN": "Admin",
    "TEAM_MANAGER": "Team Manager",
    "PROJECT_MANAGER": "Project Manager",
}
READ_AS = {"OWNER": "WORKSPACE_OWN"}
"""Roles that are called otherwise where they are read than where they are asked for."""
# membership before and after -> what webhooks hear
STATUS_EVENTS = {
    ("PENDING", "ACTIVE"): "USER_JOINED_WORKSPACE",
    ("INACTIVE", "ACTIVE"): "USER_ACTIVATED_ON_WORKSPACE",
    ("ACTIVE", "INACTIVE"): "USER_DEACTIVATED_ON_WORKSPACE",
}
RATE_EVENTS = {"hourlyRate": "BILLABLE_RATE_UPDATED", "costRate": "COST_RATE_UPDATED"}
SORT = {
    "ID": "id",
    "EMAIL": "email",
    "NAME": "name",
    "NAME_LOWERCASE": "lower(name)",
    "ACCESS": "membership_status",
    "HOURLYRATE": "json_extract(body, '$.hourlyRate.amount')",
    "COSTRATE": "json_extract(body, '$.costRate.amount')",
}


def get_me(call: Call) -> Reply:
    """GET /user: the caller, with the account's own status."""
    row = find(call, "users", call.caller.user_id)
    wanted = "ALL" if call.flag("include-memberships") else "NONE"
    return Reply(_render(call, [row], wanted, roles=False)[0] | {"status": row["account_status"]})


def list_users(call: Call) -> Reply:
    """GET .../users."""
    asked: Json = {
        "email": call.query.get("email"),
        "name": call.query.get("name"),
        "projectId": call.query.get("project-id"),
        "status": call.choice("status", STATUSES, "ALL"),
        "accountStatuses": call.many("account-statuses"),
        "memberships": call.choice("memberships", MEMBERSHIPS, "NONE"),
        "includeRoles": call.flag("include-roles", False),
        "sortColumn": call.choice("sort-column", tuple(SORT), "EMAIL"),
        "sortOrder": call.choice("sort-order", tuple(DIRECTIONS), "ASCENDING"),
    }
    return _search(call, asked, Page.asked(call))


def users_info(call: Call) -> Reply:
    """POST .../users/info: the same search with its filters in the body."""
    asked = call.json()
    cleaned = asked | {
        "status": one_of(asked, "status", STATUSES, "ALL"),
        "memberships": one_of(asked, "memberships", MEMBERSHIPS, "NONE"),
        "sortColumn": one_of(asked, "sortColumn", tuple(SORT), "EMAIL"),
        "sortOrder": one_of(asked, "sortOrder", tuple(DIRECTIONS), "ASCENDING"),
        "accountStatuses": strings(asked, "accountStatuses"),
        "userGroups": strings(asked, "userGroups"),
        "roles": strings(asked, "roles"),
    }
    page = Page.of(integer(asked, "page", 1), integer(asked, "pageSize", 50), call.world.options.list_page_cap)
    return _search(call, cleaned, page)


def _search(call: Call, asked: Json, page: Page) -> Reply:
    direction = DIRECTIONS[asked["sortOrder"]]
    order = f"{SORT[asked['sortColumn']]} {direction}, id {direction}"

    def render(rows: list[sqlite3.Row]) -> list[Json]:
        return _render(call, rows, asked["memberships"], roles=bool(asked.get("includeRoles")))

    return select_page(call, "SELECT * FROM users", _filters(asked), order, page, render)


def _filters(asked: Json) -> Where:
    where = Where()
    for column in ("email", "name"):
        if asked.get(column):
            where.contains(column, str(asked[column]))
    if asked["status"] != "ALL":
        where.add("membership_status = ?", asked["status"])
    accounts = asked.get("accountStatuses") or SHOWN_BY_DEFAULT
    where.any_of("account_status", list(accounts))
    if asked.get("projectId"):
        where.add(
            "id IN (SELECT json_extract(m.value, '$.userId') FROM projects p, json_each(p.body, '$.memberships') m"
            " WHERE p.id = ?)",
            str(asked["projectId"]),
        )
    if asked.get("roles"):
        # Owners count as admins here, unlike in GET /workspaces.
        roles = set(asked["roles"]) | ({"OWNER"} if "WORKSPACE_ADMIN" in asked["roles"] else set())
        marks = ",".join("?" * len(roles))
        where.add(f"id IN (SELECT user_id FROM roles WHERE role IN ({marks}))", *sorted(roles))
    if asked.get("userGroups"):
        marks = ",".join("?" * len(asked["userGroups"]))
        where.add(
            f"id IN (SELECT m.value FROM user_groups g, json_each(g.body, '$.userIds') m WHERE g.id IN ({marks}))",
            *asked["userGroups"],
        )
    return where


def stored_user(row: sqlite3.Row) -> Json:
    """All fields of a user that a webhook can hold."""
    stored = orjson.loads(row["body"])
    return {"id": row["id"], "email": row["email"], "name": row["name"]} | {
        name: stored[name] for name in ("profilePicture", "settings")
    }


def _wrote(call: Call, user_id: str, event: str | None = None) -> None:
    call.world.wrote("users")
    if event is not None:
        call.happened(event, "users", stored_user(find(call, "users", user_id)))


def _render(call: Call, rows: Sequence[sqlite3.Row], memberships: str, *, roles: bool) -> list[Json]:
    projects = _project_memberships(call) if memberships in ("ALL", "PROJECT") else {}
    return [_user_body(call, row, memberships, projects.get(row["id"], []), roles=roles) for row in rows]


def _user_body(call: Call, row: sqlite3.Row, wanted: str, projects: list[Json], *, roles: bool) -> Json:
    memberships = [workspace_membership(row, call.workspace)] if wanted in ("ALL", "WORKSPACE") else []
    body = whole_user(row, call.workspace, memberships + projects)
    if roles:
        body["roles"] = user_roles(call.db, row["id"])
    return body


def whole_user(row: sqlite3.Row, workspace: str, memberships: Sequence[Json] = ()) -> Json:
    """A user as lists and hydrated entries show them."""
    stored = orjson.loads(row["body"])
    return {
        "id": row["id"],
        "email": row["email"],
        "name": row["name"],
        "memberships": list(memberships),
        "profilePicture": stored["profilePicture"],
        "activeWorkspace": workspace,
        "defaultWorkspace": workspace,
        "settings": stored["settings"],
        # On this route Clockify shows the membership's status, not the account's.
        "status": row["membership_status"],
        "customFields": stored["customFields"],
    }


def _project_memberships(call: Call) -> dict[str, list[Json]]:
    found: dict[str, list[Json]] = {}
    for row in call.db.execute("SELECT json_extract(body, '$.memberships') AS members FROM projects ORDER BY id"):
        for member in orjson.loads(row["members"]):
            found.setdefault(member["userId"], []).append(member)
    return found


def user_roles(db: sqlite3.Connection, user_id: str) -> list[Json]:
    """The user's roles, each with what it covers: the workspace, a project, or another user."""
    rows = db.execute(
        "SELECT r.role, r.entity_id, r.source, coalesce(p.name, u.name, w.name, '') AS name FROM roles r"
        " LEFT JOIN projects p ON p.id = r.entity_id LEFT JOIN users u ON u.id = r.entity_id"
        " LEFT JOIN workspaces w ON w.id = r.entity_id WHERE r.user_id = ? ORDER BY r.role, r.entity_id",
        (user_id,),
    )
    grouped: dict[str, list[Json]] = {}
    for row in rows:
        source = None if row["source"] is None else {"id": row["source"], "type": "USER_GROUP"}
        grouped.setdefault(row["role"], []).append({"id": row["entity_id"], "name": row["name"], "source": source})
    return [
        {"role": READ_AS.get(role, role), "formatterRoleName": ROLE_NAMES[role], "entities": entities}
        for role, entities in grouped.items()
    ]


def invite_user(call: Call) -> Reply:
    """POST .../users: a pending member; paid workspaces only."""
    if call.world.options.plan == "free":
        raise unavailable()
    email = call.json().get("email")
    if not isinstance(email, str) or not EMAIL.match(email):
        raise invalid("email: must be a well-formed email address")
    if call.db.execute("SELECT 1 FROM users WHERE email = ?", (email,)).fetchone() is not None:
        raise invalid("User is already a member of this workspace")
    stored: Json = {"profilePicture": None, "settings": None, "customFields": [], "hourlyRate": None, "costRate": None}
    user_id = new_id(call.now)
    call.db.execute(
        "INSERT INTO users (id, email, name, account_status, membership_status, updated, body)"
        " VALUES (?, ?, NULL, 'NOT_REGISTERED', 'PENDING', ?, ?)",
        (user_id, email, call.now, dump(stored)),
    )
    _wrote(call, user_id, "USERS_INVITED_TO_WORKSPACE")
    return Reply(workspace_body(call))


def set_status(call: Call) -> Reply:
    """PUT .../users/{id}: activate or deactivate a member."""
    row = find(call, "users", call.ids["id"])
    status = one_of(call.json(), "status", ("ACTIVE", "INACTIVE"), None)
    if status is None:
        raise invalid("status is required")
    if status == "INACTIVE" and any(role["role"] == READ_AS["OWNER"] for role in user_roles(call.db, row["id"])):
        raise invalid("Workspace owner can't be deactivated")
    call.db.execute("UPDATE users SET membership_status = ?, updated = ? WHERE id = ?", (status, call.now, row["id"]))
    _wrote(call, row["id"], STATUS_EVENTS.get((row["membership_status"], status)))
    return Reply(workspace_body(call))


def give_role(call: Call) -> Reply:
    """POST .../users/{id}/roles."""
    role, entity = _role(call)
    source = one_of(call.json(), "sourceType", ("USER_GROUP",), None) and entity
    call.db.execute(
        "INSERT OR IGNORE INTO roles (user_id, role, entity_id, source) VALUES (?, ?, ?, ?)",
        (call.ids["id"], role, entity, source),
    )
    call.world.wrote("users")
    details = {
        "userId": call.ids["id"],
        "workspaceId": call.workspace,
        "role": {"id": entity, "name": role, "source": None},
    }
    return Reply([details], 201)


def take_role(call: Call) -> Reply:
    """DELETE .../users/{id}/roles."""
    role, entity = _role(call)
    call.db.execute(
        "DELETE FROM roles WHERE user_id = ? AND role = ? AND entity_id = ?", (call.ids["id"], role, entity)
    )
    call.world.wrote("users")
    return Reply(status=204)


def _role(call: Call) -> tuple[str, str]:
    find(call, "users", call.ids["id"])
    asked = call.json()
    role = one_of(asked, "role", MANAGED_ROLES, None)
    entity = asked.get("entityId")
    if role is None or not isinstance(entity, str) or not entity:
        raise Refusal(400, 501, "role and entityId are required")
    return role, entity


def set_rate(call: Call, field: str) -> Reply:
    """PUT .../users/{id}/hourly-rate and .../cost-rate."""
    row = find(call, "users", call.ids["id"])
    amount = call.json().get("amount")
    if not isinstance(amount, int) or isinstance(amount, bool) or amount < 0:
        raise invalid("amount: must be greater than or equal to 0")
    stored = orjson.loads(row["body"]) | {field: {"amount": amount, "currency": "USD"}}
    call.db.execute("UPDATE users SET body = ?, updated = ? WHERE id = ?", (dump(stored), call.now, row["id"]))
    _wrote(call, row["id"])
    currency = next(iter(currencies(call)))
    membership = workspace_membership(find(call, "users", row["id"]), call.workspace)
    rate = {
        "workspaceId": call.workspace,
        "rateChangeSource": "WORKSPACE_USER",
        "modifiedEntity": membership,
        "currency": {"id": currency["id"], "code": currency["code"]},
        "amount": amount,
        "since": call.json().get("since"),
    }
    call.happened(RATE_EVENTS[field], "rates", rate)
    return Reply(workspace_body(call))
