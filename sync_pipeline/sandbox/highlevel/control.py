"""Controls of the HighLevel side: its switches, what is in it now, and what people change there by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import orjson

from sync_pipeline.sandbox.database import transaction
from sync_pipeline.sandbox.highlevel import grants
from sync_pipeline.sandbox.highlevel.auth import Budget
from sync_pipeline.sandbox.highlevel.ids import COMPANY, HOME, letters
from sync_pipeline.sandbox.highlevel.index import shorten
from sync_pipeline.sandbox.highlevel.objects import PLURAL, find_object, stamp
from sync_pipeline.sandbox.highlevel.opportunities import new_opportunity, store_opportunity
from sync_pipeline.sandbox.highlevel.records import add_record, merge_record, remove_record
from sync_pipeline.sandbox.highlevel.refusals import Refusal
from sync_pipeline.sandbox.highlevel.resource import Json
from sync_pipeline.sandbox.highlevel.seed import prepare_home, store_location
from sync_pipeline.sandbox.highlevel.settings import read_settings, write_settings
from sync_pipeline.sandbox.highlevel.webhooks import app_event, location_event, opportunity_event, public_key
from sync_pipeline.sandbox.world import World

BY_HAND = {"channel": "APP", "source": "WEB_USER", "sourceId": "sandbox"}
ONCE = ("day_left", "prepare", "revoke_consents")


def controls() -> dict[str, dict[str, Callable[..., Any]]]:
    """The controls below ``/_control``, by path and verb."""
    return {
        "/highlevel": {"GET": _settings, "POST": _change},
        "/highlevel/records/{name}": {"GET": _records, "POST": _edit_record},
        "/highlevel/locations": {"GET": _locations, "POST": _edit_location},
        "/highlevel/opportunities": {"GET": _opportunities, "POST": _add_opportunity},
    }


def _settings(world: World) -> Json:
    settings = read_settings(world.db)
    return asdict(settings) | {"webhook_public_key": public_key(settings.webhook_key)}


def _change(world: World, sent: Json) -> None:
    """Switches to change; ``day_left``, ``prepare`` and ``revoke_consents`` do something once."""
    changes = {name: value for name, value in sent.items() if name not in ONCE}
    with transaction(world.db):
        before = read_settings(world.db)
        settings = before.with_changes(changes)
        write_settings(world.db, settings)
        shorten(world, settings.index_lag)
        if "day_left" in sent:
            Budget(world).leave(settings, int(sent["day_left"]))
    for location in set(settings.uninstalled) ^ set(before.uninstalled):
        app_event(world, settings, "UNINSTALL" if location in settings.uninstalled else "INSTALL", location)
    if sent.get("revoke_consents"):
        app_event(world, settings, "UNINSTALL")
        grants.remove(world)
    if sent.get("prepare"):
        world.options.highlevel_prepared = True  # fresh data have them, too
        prepare_home(world)


def _records(world: World, name: str) -> Json:
    query = "SELECT body FROM highlevel_records WHERE object_key = ? ORDER BY arrival"
    return {"records": [orjson.loads(body) for (body,) in world.db.execute(query, (name,))]}


def _edit_record(world: World, sent: Json, name: str) -> Json:
    """``{"properties": {...}}`` adds a record (``"createdBy"``: as another integration), with ``"id"`` it changes one, with ``"remove": true`` it deletes it."""
    settings = read_settings(world.db)
    try:
        found = find_object(world.db, sent.get("locationId", HOME), PLURAL + name)
        with transaction(world.db):
            if "id" not in sent:
                return add_record(world, settings, found, sent, BY_HAND | sent.get("createdBy", {}))
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
    location_event(world, read_settings(world.db), "LocationUpdate" if row else "LocationCreate", location)
    return {"location": location}


def _opportunities(world: World) -> Json:
    rows = world.db.execute("SELECT body FROM highlevel_opportunities ORDER BY location_id, created_ms, id")
    return {"opportunities": [orjson.loads(body) for (body,) in rows]}


def _add_opportunity(world: World, sent: Json) -> Json:
    """``{"locationId", "monetaryValue", "status", ...}``: a new one, or another state of the one with this ``id``."""
    (number,) = world.db.execute("SELECT count(*) FROM highlevel_opportunities").fetchone()
    opportunity = new_opportunity(world, sent.get("locationId", HOME), number + 1000, **sent)
    query = "SELECT body ->> 'status' FROM highlevel_opportunities WHERE id = ?"
    before = world.db.execute(query, (opportunity["id"],)).fetchone()
    store_opportunity(world.db, opportunity)
    if before != (opportunity["status"],):
        event = "OpportunityStatusUpdate" if before else "OpportunityCreate"
        opportunity_event(world, read_settings(world.db), event, opportunity)
    return {"opportunity": opportunity}
