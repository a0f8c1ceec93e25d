"""Random actions that only reconciliation or an event can repair: on what we delivered, and on what was deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sync_pipeline_tests.harness import Json, Team
from sync_pipeline_tests.properties.life import Action, _pick

CLIENT_FIELDS = ("name", "address", "note", "archived", "currencyId", "ccEmails", "email")


def _restore_entry(team: Team, action: Action, _number: int) -> None:
    """Someone takes a deletion back: the entry is there again, under its old id."""
    deleted = team.sandbox.world.db.execute("SELECT id FROM deleted WHERE kind = 'time_entries' ORDER BY id").fetchall()
    if deleted:
        team.control("POST", "time_entries/restore", {"ids": [deleted[action.which % len(deleted)]["id"]]})


def _edit_target(team: Team, action: Action, _number: int) -> None:
    """Someone changes a delivered record in the Snapshots system."""
    entity, field = [("time_entries", "description"), ("projects", "project_name"), ("users", "email")][
        action.which % 3
    ]
    if found := sorted(team.at_snapshots(entity)):
        team.snapshots(
            "PUT", f"/{entity}/{found[action.which % len(found)]}", {field: f"meddled{action.which}@x.example"}
        )


def _delete_target(team: Team, action: Action, _number: int) -> None:
    """Someone deletes a delivered record in the Snapshots system."""
    entity = ("time_entries", "projects", "users")[action.which % 3]
    if found := sorted(team.at_snapshots(entity)):
        team.snapshots("DELETE", f"/{entity}/{found[action.which % len(found)]}")


def _client(team: Team, action: Action) -> Json | None:
    return _pick(team.clients(), action)


def _put(team: Team, client: Json, **changes: Any) -> None:
    team.clockify("PUT", f"/clients/{client['id']}", {name: client[name] for name in CLIENT_FIELDS} | changes)


def _edit_client(team: Team, action: Action, number: int) -> None:
    if client := _client(team, action):
        _put(team, client, address=f"{action.text} {number}")


def _archive_client(team: Team, action: Action, _number: int) -> None:
    if client := _client(team, action):
        _put(team, client, archived=not client["archived"])


def _rename_client(team: Team, action: Action, number: int) -> None:
    if client := _client(team, action):
        _put(team, client, name=f"Meddled {client['id']} {number}")


def _delete_client(team: Team, action: Action, _number: int) -> None:
    if client := _client(team, action):
        _put(team, client, archived=True)
        team.clockify("DELETE", f"/clients/{client['id']}")


def _edit_user(team: Team, action: Action, number: int) -> None:
    user = _pick(team.users(), action)
    assert user is not None
    team.control("POST", "users", {"id": user["id"], "name": f"{action.text.strip()} {number}"})


MEDDLING: dict[str, Callable[[Team, Action, int], None]] = {
    "restore entry": _restore_entry,
    "edit target": _edit_target,
    "delete target": _delete_target,
    "edit client": _edit_client,
    "archive client": _archive_client,
    "rename client": _rename_client,
    "delete client": _delete_client,
    "edit user": _edit_user,
}
