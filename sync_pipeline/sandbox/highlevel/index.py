"""The index of the search: a copy of the records that shows each write only after a while."""

from __future__ import annotations

from datetime import datetime

import orjson

from sync_pipeline.sandbox.highlevel.objects import PLURAL
from sync_pipeline.sandbox.highlevel.resource import Json
from sync_pipeline.sandbox.highlevel.settings import Settings
from sync_pipeline.sandbox.world import World


def index_write(world: World, settings: Settings, record_id: str, record: Json | None) -> None:
    """Remember what the index will show of a record, None for a deleted one."""
    body = None if record is None else orjson.dumps(record).decode()
    values = (world.clock.epoch() + settings.index_lag, record_id, body)
    world.db.execute("INSERT INTO highlevel_pending (shows_at, id, body) VALUES (?, ?, ?)", values)
    settle(world)


def settle(world: World) -> None:
    """Let the index show every write whose time has come."""
    db, now = world.db, world.clock.epoch()
    due = db.execute("SELECT * FROM highlevel_pending WHERE shows_at <= ? ORDER BY arrival", (now,)).fetchall()
    for row in due:
        if row["body"] is None:
            db.execute("DELETE FROM highlevel_index WHERE id = ?", (row["id"],))
            continue
        record = orjson.loads(row["body"])
        created = round(datetime.fromisoformat(record["createdAt"]).timestamp() * 1000)
        name = record["objectKey"].removeprefix(PLURAL)
        values = (row["id"], record["locationId"], name, created, row["shows_at"], row["body"])
        db.execute("INSERT OR REPLACE INTO highlevel_index VALUES (?, ?, ?, ?, ?, ?)", values)
    if due:
        db.execute("DELETE FROM highlevel_pending WHERE shows_at <= ?", (now,))


def shorten(world: World, lag: float) -> None:
    """Nothing waits longer than ``lag`` any more."""
    latest = world.clock.epoch() + lag
    world.db.execute("UPDATE highlevel_pending SET shows_at = min(shows_at, ?)", (latest,))
    settle(world)
