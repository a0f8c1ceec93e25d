"""Businesses: the companies in a location's CRM."""

from __future__ import annotations

from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.highlevel.items import add_item, find_item, items_of, remove_item
from sync_pipeline.sandbox.highlevel.objects import stamp
from sync_pipeline.sandbox.highlevel.resource import Answer, Call, Json

TEXTS = ("phone", "email", "website", "address", "city", "postalCode", "state", "country", "description")


def list_businesses(call: Call) -> Json:
    """``GET /businesses/``: a page, a hundred unless asked for otherwise, without a total."""
    location, limit, skip = call.location(call.query("locationId")), call.number("limit", 100), call.number("skip", 0)
    return {"businesses": items_of(call.world.db, "business", location, limit=min(limit, 100), skip=skip)}


def read_business(call: Call) -> Json:
    """``GET /businesses/{businessId}``."""
    return {"business": find_item(call.world.db, "business", call.caller.owner, call.path["id"])}


def create_business(call: Call) -> Answer:
    """``POST /businesses/``: several may have one name. The answer's name for it is HighLevel's."""
    sent = call.json({"name": str, "locationId": str}, dict.fromkeys(TEXTS, str))
    location, now = call.location(sent["locationId"]), stamp(call.world)
    by = {"channel": "OAUTH", "source": "PUBLIC_API"}
    made = {"createdBy": by, "updatedBy": by, "createdAt": now, "updatedAt": now}
    body = {"id": new_id(call.world.clock.epoch()), **sent, "locationId": location, **made}
    call.world.wrote("businesses")
    return 201, {"success": True, "buiseness": add_item(call.world.db, "business", location, body)}


def delete_business(call: Call) -> Json:
    """``DELETE /businesses/{businessId}``."""
    remove_item(call.world.db, "business", call.caller.owner, call.path["id"])
    call.world.wrote("businesses")
    return {"success": True}
