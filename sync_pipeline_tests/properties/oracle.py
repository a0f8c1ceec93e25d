"""What should stand at the targets, said a second time and without any code of the pipeline: the oracle of law 1."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

from sync_pipeline_tests.harness import Json, Team

ROLES = ("OWNER", "WORKSPACE_ADMIN", "TEAM_MANAGER", "PROJECT_MANAGER")
DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?")

FIELDS = {
    "users": ("user_id", "email", "role", "name", "status", "time_zone"),
    "projects": (
        "project_id", "project_name", "client_id", "client_name", "archived", "billable", "color", "note",
    ),
    "time_entries": (
        "time_entry_id", "start_time", "end_time", "task_id", "project_id", "user_id", "description", "billable",
        "duration_seconds", "tags", "type",
    ),
    "locations": ("name", "address", "archived"),
}  # fmt: skip


def expected_users(team: Team) -> dict[str, Json]:
    """Each user, with the highest role."""
    return {user["id"]: _user(user) for user in team.users()}


def _user(user: Json) -> Json:
    held = {role["role"] for role in user["roles"]}
    return {
        "user_id": user["id"],
        "email": user["email"],
        "role": next((role for role in ROLES if role in held), "MEMBER"),
        "name": user["name"],
        "status": user["status"],
        "time_zone": (user["settings"] or {}).get("timeZone"),
    }


def expected_projects(team: Team) -> dict[str, Json]:
    """Each project."""
    return {project["id"]: _project(project) for project in team.projects()}


def _project(project: Json) -> Json:
    same = {name: project[name] for name in ("archived", "billable", "color")}
    return {
        "project_id": project["id"],
        "project_name": project["name"],
        "client_id": project["clientId"] or None,
        "client_name": project["clientName"] or None,
        "note": project["note"] or None,
        **same,
    }


def expected_entries(team: Team) -> dict[str, Json]:
    """Each stopped entry with a length that starts in the team's days."""
    entries = (_entry(row) for row in team.entries() if row["timeInterval"]["end"])
    return {
        entry["time_entry_id"]: entry
        for entry in entries
        if entry["start_time"] < entry["end_time"] and in_days(team, entry["start_time"])
    }


def in_days(team: Team, start: str) -> bool:
    """Whether an instant lies in the team's days."""
    return team.days.first <= date.fromisoformat(start[:10]) <= team.days.last


def _entry(row: Json) -> Json:
    interval = row["timeInterval"]
    hours, minutes, seconds = (int(part or 0) for part in DURATION.fullmatch(interval["duration"]).groups())  # type: ignore[union-attr]
    return {
        "time_entry_id": row["id"],
        "start_time": interval["start"],
        "end_time": interval["end"],
        "task_id": row["taskId"],
        "project_id": row["projectId"],
        "user_id": row["userId"],
        "description": row["description"] or None,
        "billable": row["billable"],
        "duration_seconds": hours * 3600 + minutes * 60 + seconds,
        "tags": sorted(tag["name"] for tag in row["tags"] or []),
        "type": row["type"],
    }


def expected_clients(team: Team) -> dict[str, Json]:
    """Each location whose name no other location has, by that name."""
    found = [(row["location_name"].strip(), row["address"]) for row in team.at_snapshots("locations").values()]
    names = [name for name, _ in found]
    return {
        name: {"name": name, "address": address or None, "archived": False}
        for name, address in found
        if names.count(name) == 1 and len(name) <= 100
    }


def found(team: Team, entity: str) -> dict[str, Json]:
    """What stands at the target, cut to the fields we map; clients by name, and only those of locations."""
    if entity == "locations":
        ours = {client["name"]: client for client in team.clients()}
        return {name: _cut(ours[name], entity) for name in expected_clients(team) if name in ours}
    return {key: _cut(row, entity) for key, row in team.at_snapshots(entity).items()}


def expected(team: Team, entity: str) -> dict[str, Json]:
    """What should stand at the target."""
    make: dict[str, Any] = {
        "users": expected_users,
        "projects": expected_projects,
        "time_entries": expected_entries,
        "locations": expected_clients,
    }
    wanted: dict[str, Json] = make[entity](team)
    return wanted


def _cut(row: Json, entity: str) -> Json:
    cut = {
        name: row.get(name) or None if name in ("note", "address", "description") else row.get(name)
        for name in FIELDS[entity]
    }
    if entity == "time_entries":
        cut["tags"] = sorted(row["tags"] or [])
    return cut
