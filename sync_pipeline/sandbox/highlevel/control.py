"""Controls of the HighLevel side: its switches, what is in it now, and what people change there by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import orjson

from sync_pipeline.sandbox.database import transaction
from sync_pipeline.sandbox.highlevel.auth import Budget
from sync_pipeline.sandbox.highlevel.ids import COMPANY, HOME, letters
from sync_pipeline.sandbox.highlevel.index import shorten
from sync_pipeline.sandbox.highlevel.objects import PLURAL, find_object, stamp
from sync_pipeline.sandbox.highlevel.records import add_record, merge_record, remove_record
from sync_pipeline.sandbox.highlevel.refusals import Refusal
from sync_pipeline.sandbox.highlevel.resource import Json
from sync_pipeline.sandbox.highlevel.seed import prepare_home, store_location
from sync_pipeline.sandbox.highlevel.settings import read_settings, write_settings
from sync_pipeline.sandbox.world import World

BY_HAND = {"channel": "APP", "source": "WEB_USER", "sourceId": "sandbox"}


def controls() -> dict[str, dict[str, Callable[..., Any]]]:
    """The controls below ``/_control``, by path and verb."""
    return {
        "/highlevel": {"GET": lambda world: asdict(read_settings(world.db)), "POST": _change},
        "/highlevel/records/{name}": {"GET": _records, "POST": _edit_record},
        "/highlevel/locations": {"GET": _locations, "POST": _edit_location},
    }


def _change(world: World, sent: Json) -> None:
    """Switches to change; ``"day_left": n`` and ``"prepare": true`` do something once."""
    changes = {name: value for name, value in sent.items() if name not in ("day_left", "prepare")}
    with transaction(world.db):
        settings = read_settings(world.db).with_changes(changes)
        write_settings(world.db, settings)
        shorten(world, settings.index_lag)
        if "day_left" in sent:
            Budget(world).leave(settings, int(sent["day_left"]))
    if sent.get("prepare"):
        world.options.highlevel_prepared = True  # fresh data have them, too
        prepare_home(world)


def _records(world: World, name: str) -> Json:
    query = "SELECT body FROM highlevel_records WHERE object_key = ? ORDER BY arrival"
    return {"records": [orjson.loads(body) for (body,) in world.db.execute(query, (name,))]}


def _edit_record(world: World, sent: Json, name: str) -> Json:
    """``{"properties": {...}}`` adds a record, with ``"id"`` it changes one, with ``"remove": true`` it deletes it."""
    settings = read_settings(world.db)
    try:
        found = find_object(world.db, sent.get("locationId", HOME), PLURAL + name)
        with transaction(world.db):
            if "id" not in sent:
                return add_record(world, settings, found, sent, BY_HAND)
            if not sent.get("remove"):
                return merge_record(world, settings, found, sent["id"], sent, BY_HAND)
            remove_record(world, settings, found, sent["id"])
    except Refusal as refusal:
        raise ValueError(f"{refusal.name}: {refusal.facts}") from None
    return {"removed": sent["id"]}


def _locations(world: World) -> Json:
    rows = world.db.execute("SELECT body FROM highlevel_locations ORDER BY arrival")
    return {"locations": [orjson.loads(body) for (body,) in rows]}


def _edit_location(world: World, sent: Json) -> Json:
    """``{"name": ...}`` adds a location, with ``"id"`` it changes one, with ``"remove": true`` it deletes it."""
    if sent.get("remove"):
        world.db.execute("DELETE FROM highlevel_locations WHERE id = ?", (sent["id"],))
        return {"removed": sent["id"]}
    row = world.db.execute("SELECT body FROM highlevel_locations WHERE id = ?", (sent.get("id", ""),)).fetchone()
    number = world.db.execute("SELECT coalesce(max(arrival), 0) + 1 FROM highlevel_locations").fetchone()[0]
    new: Json = {"id": letters("location", number), "companyId": COMPANY, "dateAdded": stamp(world)}
    location = (orjson.loads(row[0]) if row else new) | sent
    store_location(world.db, location)
    return {"location": location}
