"""The current state of one record of any system, as a read by id returns it; the journal keeps versions of it."""

from __future__ import annotations

import sqlite3
from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.documents import document
from sync_pipeline.sandbox.clockify.entries import Lookup
from sync_pipeline.sandbox.clockify.entry_rows import entry_body
from sync_pipeline.sandbox.clockify.projects import SELECT_PROJECT, project_body
from sync_pipeline.sandbox.clockify.users import stored_user, user_roles
from sync_pipeline.sandbox.world import World


def read_record(world: World, system: str, kind: str, record_id: str) -> bytes | None:
    """The current record; None when it does not exist."""
    if system == "snapshots":
        found = world.db.execute(
            "SELECT body FROM snapshots_records WHERE entity = ? AND id = ?", (kind, record_id)
        ).fetchone()
        return None if found is None else bytes(found["body"])
    if system == "highlevel":
        return _highlevel_body(world.db, kind, record_id)
    select = f"{SELECT_PROJECT} WHERE p.id = ?" if kind == "projects" else f"SELECT * FROM {kind} WHERE id = ?"
    row = world.db.execute(select, (record_id,)).fetchone()
    return None if row is None else orjson.dumps(_clockify_body(world, kind, row))


def _highlevel_body(db: sqlite3.Connection, kind: str, record_id: str) -> bytes | None:
    table = "highlevel_locations" if kind == "locations" else "highlevel_records"
    found = db.execute(f"SELECT body FROM {table} WHERE id = ?", (record_id,)).fetchone()
    return None if found is None else str(found["body"]).encode()


def _clockify_body(world: World, kind: str, row: sqlite3.Row) -> dict[str, Any]:
    if kind == "projects":
        return project_body(row)
    if kind == "users":
        return stored_user(row) | {"status": row["membership_status"], "roles": user_roles(world.db, row["id"])}
    if kind == "clients":
        return document(row)
    body, lookup = entry_body(row, world.workspace), Lookup(world.db, world.workspace)
    return body | {"tags": [tag for tag_id in body["tagIds"] or [] if (tag := lookup.get("tags", tag_id))]}
