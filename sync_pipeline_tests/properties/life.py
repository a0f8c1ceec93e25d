"""Random things people do in both systems: the edits a property is tried with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from sync_pipeline_tests.harness import LOOK_BACK, Json, Team, instant, morning


@dataclass(frozen=True, slots=True)
class Action:
    """One thing someone does: to whom or what (an index into what there is), and the details."""

    kind: str
    which: int
    days: int
    text: str


TEXTS = st.sampled_from(["Löwen 桜", "a, b; 'c' \"d\"", " spaced  out ", "e\u0301clair", "-", "0012", "None", "x" * 90])
ACTIONS = st.builds(
    Action,
    kind=st.deferred(lambda: st.sampled_from(sorted(_ACTIONS))),
    which=st.integers(0, 50),
    days=st.integers(0, LOOK_BACK.days + 3),  # some before the start date
    text=TEXTS,
)
LIVES = st.lists(ACTIONS, min_size=3, max_size=12)


def live(team: Team, actions: list[Action]) -> None:
    """Do all of it, in order; what is not possible any more is left out."""
    for number, action in enumerate(actions):
        _ACTIONS[action.kind](team, action, number)


def _pick(rows: list[Json], action: Action) -> Json | None:
    return rows[action.which % len(rows)] if rows else None


def _add_entry(team: Team, action: Action, number: int) -> None:
    user, project = _pick(team.users(), action), _pick([*team.projects(), {"id": None}], action)
    assert user is not None
    assert project is not None
    team.add_entry(user["id"], morning(action.days), 1 + number, description=action.text, projectId=project["id"])


def _add_empty_entry(team: Team, action: Action, _number: int) -> None:
    """Clockify takes it, but it is no time worked: a reject."""
    user = _pick(team.users(), action)
    assert user is not None
    team.add_entry(user["id"], morning(action.days), 0)


def _stopped(team: Team) -> list[Json]:
    projects = {project["id"] for project in team.projects()}
    # In Clockify no one can edit an entry whose project is deleted.
    return [e for e in team.entries() if e["timeInterval"]["end"] and e["projectId"] in {*projects, None}]


def _edit_entry(team: Team, action: Action, _number: int) -> None:
    if entry := _pick(_stopped(team), action):
        team.change_entry(entry, description=action.text, billable=not entry["billable"], taskId=None)


def _move_entry(team: Team, action: Action, number: int) -> None:
    if entry := _pick(_stopped(team), action):
        start = morning(action.days, 12)
        team.change_entry(entry, start=instant(start), end=instant(start + timedelta(minutes=10 + number)))


def _restart_entry(team: Team, action: Action, _number: int) -> None:
    """Someone clears the end: it is running again."""
    if entry := _pick(_stopped(team), action):
        team.change_entry(entry, end=None)


def _delete_entry(team: Team, action: Action, _number: int) -> None:
    if entry := _pick(team.entries(), action):
        team.clockify("DELETE", f"/time-entries/{entry['id']}")


def _invite(team: Team, action: Action, number: int) -> None:
    team.clockify("POST", "/users", {"email": f"new{action.which}.{number}.{len(team.users())}@polaris.example"})


def _promote(team: Team, action: Action, _number: int) -> None:
    user = _pick(team.users(), action)
    assert user is not None
    body = {"role": "TEAM_MANAGER", "entityId": team.users()[0]["id"]}
    team.clockify("POST", f"/users/{user['id']}/roles", body)


def _add_project(team: Team, action: Action, number: int) -> None:
    name = f"{action.text} {action.which} {number} {len(team.projects())}"
    team.clockify("POST", "/projects", {"name": name, "note": action.text})


def _edit_project(team: Team, action: Action, number: int) -> None:
    if project := _pick(team.projects(), action):
        changes = {"name": f"{action.text}{number}{project['id']}", "billable": bool(number % 2), "archived": False}
        team.clockify("PUT", f"/projects/{project['id']}", changes)


def _delete_project(team: Team, action: Action, _number: int) -> None:
    """Its entries stay, and still arrive."""
    if (projects := team.projects()) and len(projects) > 2 and (project := _pick(projects, action)):
        team.delete_project(project["id"])


def _add_location(team: Team, action: Action, number: int) -> None:
    taken = len(team.at_snapshots("locations"))
    team.put_location(
        f"made-{taken}-{action.which}-{number}", location_name=action.text + str(action.which % 3), address=action.text
    )


def _locations(team: Team) -> list[Json]:
    return list(team.at_snapshots("locations").values())


def _rename_location(team: Team, action: Action, _number: int) -> None:
    """Perhaps to a name another one has, or one that is too long: rejects."""
    if location := _pick(_locations(team), action):
        other = _locations(team)[action.days % len(_locations(team))]
        name = [action.text, other["location_name"], "long " * 25][action.which % 3]
        team.put_location(location["location_id"], location_name=name, address=None)


def _swap_locations(team: Team, action: Action, _number: int) -> None:
    if len(locations := _locations(team)) > 1:
        a, b = locations[action.which % len(locations)], locations[(action.which + 1) % len(locations)]
        team.put_location(a["location_id"], location_name=b["location_name"])
        team.put_location(b["location_id"], location_name=a["location_name"])


def _delete_location(team: Team, action: Action, _number: int) -> None:
    if location := _pick(_locations(team), action):
        team.snapshots("DELETE", f"/locations/{location['location_id']}")


def _write_to_client(team: Team, action: Action, _number: int) -> None:
    """A person types into fields that are theirs."""
    if client := _pick(team.clients(), action):
        body: dict[str, Any] = {k: client[k] for k in ("name", "address", "note", "archived", "currencyId", "ccEmails")}
        team.clockify("PUT", f"/clients/{client['id']}", {**body, "email": f"c{action.which}@customer.example"})


_ACTIONS: dict[str, Callable[[Team, Action, int], None]] = {
    "add entry": _add_entry,
    "add empty entry": _add_empty_entry,
    "edit entry": _edit_entry,
    "move entry": _move_entry,
    "restart entry": _restart_entry,
    "delete entry": _delete_entry,
    "invite user": _invite,
    "promote user": _promote,
    "add project": _add_project,
    "edit project": _edit_project,
    "delete project": _delete_project,
    "add location": _add_location,
    "rename location": _rename_location,
    "swap locations": _swap_locations,
    "delete location": _delete_location,
    "write to client": _write_to_client,
}
