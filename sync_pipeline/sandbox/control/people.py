"""What people do on Clockify's own pages, for which its API has no request: profiles, leaving, locks, approval, restores."""

from __future__ import annotations

from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.documents import dump
from sync_pipeline.sandbox.clockify.entry_rows import INSERT, UPDATE, entry_body, stored
from sync_pipeline.sandbox.clockify.entry_writes import set_approval, track
from sync_pipeline.sandbox.clockify.http import Happened, Json
from sync_pipeline.sandbox.clockify.times import parse_instant
from sync_pipeline.sandbox.clockify.users import stored_user
from sync_pipeline.sandbox.clockify.workspaces import change_settings
from sync_pipeline.sandbox.database import transaction
from sync_pipeline.sandbox.webhooks.publish import publish
from sync_pipeline.sandbox.world import World

NEWEST = "newest"


def change_user(world: World, sent: Any) -> Json:
    """``{"id", "name"?, "email"?}`` changes a profile, ``{"id", "remove": true}`` removes a user for good.

    The id ``newest`` is that of the newest user.
    """
    if unknown := sent.keys() - {"id", "name", "email", "remove"}:
        raise ValueError(f"a user has no {', '.join(sorted(unknown))} here; there are id, name, email and remove")
    user = _newest(world, "users ORDER BY id DESC") if sent["id"] == NEWEST else sent["id"]
    row = world.db.execute("SELECT * FROM users WHERE id = ?", (user,)).fetchone()
    if row is None:
        raise ValueError(f"there is no user {user}")
    stored = stored_user(row)
    return _remove(world, stored) if sent.get("remove") else _change(world, stored, sent)


def _change(world: World, old: Json, sent: Any) -> Json:
    new = old | {name: str(sent[name]) for name in ("name", "email") if name in sent}
    taken = world.db.execute("SELECT 1 FROM users WHERE email = ? AND id <> ?", (new["email"], new["id"])).fetchone()
    if taken is not None:
        raise ValueError(f"{new['email']} belongs to another user")
    happened = []
    if new["name"] != old["name"]:
        happened.append(Happened("USER_UPDATED", "users", new))
    if new["email"] != old["email"]:
        happened.append(Happened("USER_EMAIL_CHANGED", "users", new | {"oldEmail": old["email"]}))
    world.db.execute(
        "UPDATE users SET name = ?, email = ?, updated = ? WHERE id = ?",
        (new["name"], new["email"], int(world.clock.epoch()), new["id"]),
    )
    publish(world, happened)
    return {name: new[name] for name in ("id", "name", "email")}


def _remove(world: World, old: Json) -> Json:
    with transaction(world.db):
        world.db.execute("DELETE FROM users WHERE id = ?", (old["id"],))
        world.db.execute("DELETE FROM roles WHERE user_id = ?", (old["id"],))
        world.db.execute(
            "INSERT OR REPLACE INTO deleted (id, kind, deleted_at, body) VALUES (?, 'users', ?, ?)",
            (old["id"], int(world.clock.epoch()), dump(old)),
        )
    publish(world, [Happened("USER_DELETED_FROM_WORKSPACE", "users", old)])
    return {"id": old["id"], "removed": True}


def change_workspace(world: World, sent: Any) -> Json:
    """``{setting: value}`` as ``workspaceSettings`` names them: ``lockTimeEntries``, ``forceProjects``, ... Answers all."""
    with transaction(world.db):
        return change_settings(world, dict(sent))


def approve_entries(world: World, sent: Any) -> Json:
    """``{"ids": [...], "approved"?: false}``: approve time entries, or withdraw that; approved ones cannot be changed."""
    ids, approved = [str(entry_id) for entry_id in sent["ids"]], sent.get("approved", True)
    if not isinstance(approved, bool):
        raise ValueError(f"approved={approved!r} is not of the right type")
    with transaction(world.db):
        if set_approval(world, ids, "APPROVED" if approved else None) != len(set(ids)):
            raise ValueError("ids: not all of these are time entries")
    return {"changed": len(set(ids))}


def restore_entries(world: World, sent: Any) -> Json:
    """``{"ids": [...]}``: undo the deletion of time entries; each comes back under its old id."""
    with transaction(world.db):
        bodies = [_restore(world, str(entry_id)) for entry_id in sent["ids"]]
    publish(world, [Happened("TIME_ENTRY_RESTORED", "time_entries", body) for body in bodies])
    return {"restored": len(bodies)}


def edit_entry(world: World, sent: Any) -> Json:
    """``{"id", "description"}``: edits a time entry; the id ``newest`` is that of the last one that has ended."""
    ended = "time_entries WHERE ended IS NOT NULL ORDER BY started DESC, id DESC"
    entry_id = _newest(world, ended) if sent["id"] == NEWEST else sent["id"]
    row = world.db.execute("SELECT * FROM time_entries WHERE id = ?", (entry_id,)).fetchone()
    if row is None:
        raise ValueError(f"there is no time entry {entry_id}")
    body: Json = entry_body(row, world.workspace) | {"description": str(sent["description"])}
    searched = (body["projectId"], body["taskId"], row["started"], row["ended"], body["billable"])
    with transaction(world.db):
        world.db.execute(UPDATE, (*searched, int(world.clock.epoch()), *stored(body), row["seq"]))
    publish(world, [Happened("TIME_ENTRY_UPDATED", "time_entries", body)])
    return {"id": body["id"], "description": body["description"]}


def _newest(world: World, rows: str) -> Any:
    row = world.db.execute(f"SELECT id FROM {rows} LIMIT 1").fetchone()
    return None if row is None else row["id"]


def _restore(world: World, entry_id: str) -> Json:
    row = world.db.execute("SELECT body FROM deleted WHERE id = ? AND kind = 'time_entries'", (entry_id,)).fetchone()
    if row is None:
        raise ValueError(f"{entry_id} is not a deleted time entry")
    body: Json = orjson.loads(row["body"])
    started, ended = (_epoch(body["timeInterval"][name]) for name in ("start", "end"))
    searched = (body["id"], body["userId"], body["projectId"], body["taskId"], started, ended, body["billable"])
    world.db.execute(INSERT, (*searched, *stored(body)))
    world.db.execute("DELETE FROM deleted WHERE id = ?", (entry_id,))
    track(world.db, body, started or 0, ended, 1)
    return body


def _epoch(text: Any) -> int | None:
    moment = parse_instant(text)
    return None if moment is None else int(moment.timestamp())
