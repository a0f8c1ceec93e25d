"""What should be at the targets, computed a second time and without any code of the pipeline: the oracle of law 1."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from operator import itemgetter
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
    held = {"OWNER" if role["role"] == "WORKSPACE_OWN" else role["role"] for role in user["roles"]}
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


def facts_of_entries(team: Team) -> dict[str, Json]:
    """What reports are made of: each stopped entry that starts in the team's days, also those that are not valid."""
    return {
        row["id"]: _facts(row)
        for row in team.entries()
        if row["timeInterval"]["end"] and in_days(team, row["timeInterval"]["start"])
    }


def _facts(row: Json) -> Json:
    entry = _entry(row)
    start, end = (datetime.fromisoformat(entry[name]) for name in ("start_time", "end_time"))
    rate, cost = row["hourlyRate"] if row["billable"] else None, row["costRate"]
    seconds = int((end - start).total_seconds())
    return {
        **{name: entry[name] for name in ("user_id", "project_id", "task_id", "billable")},
        "start_time": start,
        "end_time": end,
        "seconds": seconds,
        "amount": _earned(rate, seconds),
        "cost": _earned(cost, seconds),
        "currency": next((each["currency"] for each in (rate, cost) if each and each["amount"]), None),
        "tags": [tag["name"] for tag in sorted(row["tags"] or [], key=itemgetter("id"))],
    }


def _earned(rate: Json | None, seconds: int) -> int | None:
    if not rate or not rate["amount"]:
        return None
    earned = Decimal(rate["amount"]) * seconds / 3600
    return int(earned.quantize(Decimal(1), ROUND_HALF_UP))


def expected_clients(team: Team) -> dict[str, Json]:
    """Each location whose name no other location has, by that name."""
    found = [(row["location_name"].strip(), row["address"]) for row in team.at_snapshots("locations").values()]
    names = [name for name, _ in found]
    return {
        name: _client({"location_name": name, "address": address})
        for name, address in found
        if names.count(name) == 1 and len(name) <= 100
    }


def _client(location: Json) -> Json:
    return {"name": location["location_name"].strip(), "address": location["address"] or None, "archived": False}


def found(team: Team, entity: str) -> dict[str, Json]:
    """What is at the target, cut to the fields we map; clients by name, and only those of locations."""
    if entity == "locations":
        ours = {client["name"]: client for client in team.clients()}
        return {name: cut(ours[name], entity) for name in expected_clients(team) if name in ours}
    return {key: cut(row, entity) for key, row in team.at_snapshots(entity).items()}


def expected(team: Team, entity: str) -> dict[str, Json]:
    """What should be at the target."""
    make: dict[str, Any] = {
        "users": expected_users,
        "projects": expected_projects,
        "time_entries": expected_entries,
        "locations": expected_clients,
    }
    wanted: dict[str, Json] = make[entity](team)
    return wanted


def mapped(entity: str, source: Json) -> Json:
    """What one source record should look like at its target."""
    make: dict[str, Any] = {"users": _user, "projects": _project, "time_entries": _entry, "locations": _client}
    made: Json = make[entity](source)
    return made


def cut(row: Json, entity: str) -> Json:
    """A record of the target, cut to the fields we map."""
    cut = {
        name: row.get(name) or None if name in ("note", "address", "description") else row.get(name)
        for name in FIELDS[entity]
    }
    if entity == "time_entries":
        cut["tags"] = sorted(row["tags"] or [])
    return cut
