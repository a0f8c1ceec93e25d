"""The workspace: its settings, its plan, and what they allow."""

from __future__ import annotations

from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.documents import dump
from sync_pipeline.sandbox.clockify.http import Call, Json, Reply, denied
from sync_pipeline.sandbox.clockify.times import parse_instant
from sync_pipeline.sandbox.world import World

PAID_FEATURES = (
    "ADD_TIME_FOR_OTHERS", "ADMIN_PANEL", "APPROVAL", "AUTOMATIC_LOCK", "BULK_EDIT", "CUSTOM_FIELDS", "EXPENSES",
    "FORECASTING", "INVOICING", "LABOR_COST", "LOCATIONS", "MANAGER_ROLE", "ONE_YEAR_RANGE_REPORTS", "PROJECT_BUDGET",
    "PROJECT_ESTIMATE", "REQUIRED_FIELDS",
)  # fmt: skip
FREE_FEATURES = ("ONE_MONTH_RANGE_REPORTS",)
INSTANTS = ("lockTimeEntries",)


def list_workspaces(call: Call) -> Reply:
    """GET /workspaces: those the caller belongs to, or has one of the asked roles in."""
    roles = set(call.many("roles"))
    if roles:
        held = {
            row["role"] for row in call.db.execute("SELECT role FROM roles WHERE user_id = ?", (call.caller.user_id,))
        }
        if not roles & held:
            return Reply([])
    return Reply([workspace_body(call)])


def get_workspace(call: Call) -> Reply:
    """GET /workspaces/{ws}."""
    return Reply(workspace_body(call))


def workspace_body(call: Call) -> Json:
    """The workspace as Clockify returns it, members and plan included."""
    body: Json = orjson.loads(call.db.execute("SELECT body FROM workspaces").fetchone()["body"])
    paid = call.world.options.plan == "paid"
    members = call.db.execute("SELECT id, membership_status, body FROM users ORDER BY id").fetchall()
    body["memberships"] = [workspace_membership(row, call.workspace) for row in members]
    body["features"] = list(PAID_FEATURES if paid else FREE_FEATURES)
    body["featureSubscriptionType"] = "PRO" if paid else "FREE"
    return body


def workspace_membership(row: Any, workspace: str) -> Json:
    """A user's membership of the workspace."""
    stored = orjson.loads(row["body"])
    return {
        "userId": row["id"],
        "targetId": workspace,
        "membershipType": "WORKSPACE",
        "membershipStatus": row["membership_status"],
        "hourlyRate": stored.get("hourlyRate"),
        "costRate": stored.get("costRate"),
    }


def settings(world: World) -> Json:
    """The workspace's settings."""
    row = world.db.execute("SELECT json_extract(body, '$.workspaceSettings') AS settings FROM workspaces").fetchone()
    found: Json = orjson.loads(row["settings"])
    return found


def change_settings(world: World, changes: Json) -> Json:
    """Change workspace settings; Clockify has no API for this, its web pages do it."""
    row = world.db.execute("SELECT id, body FROM workspaces").fetchone()
    body = orjson.loads(row["body"])
    found: Json = body["workspaceSettings"]
    unknown = set(changes) - set(found)
    if unknown:
        raise ValueError(f"no such workspace setting: {', '.join(sorted(unknown))}")
    for name, value in changes.items():
        _demand_usable(name, value, found[name])
    found |= changes
    world.db.execute("UPDATE workspaces SET body = ? WHERE id = ?", (dump(body), row["id"]))
    return found


def _demand_usable(name: str, value: Any, present: Any) -> None:
    if name in INSTANTS and value is not None and parse_instant(value) is None:
        raise ValueError(f"{name}={value!r} is not an instant like 2026-07-01T00:00:00Z, nor null")
    if present is not None and name not in INSTANTS and type(value) is not type(present):
        raise ValueError(f"{name}={value!r} is not of the right type")


def currencies(call: Call) -> list[Json]:
    """The workspace's currencies, the default one first."""
    body = orjson.loads(call.db.execute("SELECT body FROM workspaces").fetchone()["body"])
    return sorted(body["currencies"], key=lambda currency: not currency["isDefault"])


def demand_creator(call: Call, permission: str) -> None:
    """Refuse a caller whom the workspace does not allow to manage this kind of record."""
    if call.caller.admin:
        return
    allowed = settings(call.world)["entityCreationPermissions"][permission]
    if allowed == "EVERYONE":
        return
    if allowed == "ADMINS_AND_PROJECT_MANAGERS" and _manages_projects(call):
        return
    raise denied()


def _manages_projects(call: Call) -> bool:
    found = call.db.execute(
        "SELECT 1 FROM roles WHERE user_id = ? AND role = 'PROJECT_MANAGER' LIMIT 1", (call.caller.user_id,)
    ).fetchone()
    return found is not None
