"""Small records with a parent: contacts and businesses of a location, tasks of a contact; all in one table."""

from __future__ import annotations

import sqlite3

import orjson

from sync_pipeline.sandbox.highlevel.refusals import Refusal
from sync_pipeline.sandbox.highlevel.resource import Json


def add_item(db: sqlite3.Connection, kind: str, parent: str, body: Json) -> Json:
    """Store a new one, unless its id is stored; its body."""
    values = (kind, parent, body["id"], orjson.dumps(body).decode())
    db.execute("INSERT OR IGNORE INTO highlevel_items (kind, parent, id, body) VALUES (?, ?, ?, ?)", values)
    return body


def items_of(db: sqlite3.Connection, kind: str, parent: str, *, limit: int = -1, skip: int = 0) -> list[Json]:
    """Those of a parent, the oldest first."""
    query = "SELECT body FROM highlevel_items WHERE kind = ? AND parent = ? ORDER BY arrival LIMIT ? OFFSET ?"
    return [orjson.loads(body) for (body,) in db.execute(query, (kind, parent, limit, skip))]


def find_item(db: sqlite3.Connection, kind: str, parent: str, item_id: str) -> Json:
    """The one of a parent with this id, or the refusal."""
    query = "SELECT body FROM highlevel_items WHERE kind = ? AND parent = ? AND id = ?"
    row = db.execute(query, (kind, parent, item_id)).fetchone()
    if row is None:
        raise Refusal("item_not_found", kind=kind.capitalize(), id=item_id)
    found: Json = orjson.loads(row[0])
    return found


def remove_item(db: sqlite3.Connection, kind: str, parent: str, item_id: str) -> None:
    """Delete one that exists, or refuse."""
    find_item(db, kind, parent, item_id)
    db.execute("DELETE FROM highlevel_items WHERE kind = ? AND id = ?", (kind, item_id))


def next_number(db: sqlite3.Connection) -> int:
    """A number for a new id."""
    query = "SELECT coalesce(max(arrival), 0) + 1 FROM highlevel_items"
    number: int = db.execute(query).fetchone()[0]
    return number
