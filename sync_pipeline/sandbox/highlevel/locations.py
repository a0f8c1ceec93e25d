"""Locations, users, and the locations of a SaaS customer: what is only read."""

from __future__ import annotations

from typing import Any

import orjson

from sync_pipeline.sandbox.highlevel.ids import COMPANY
from sync_pipeline.sandbox.highlevel.refusals import Refusal
from sync_pipeline.sandbox.highlevel.resource import Call, Json

CUSTOMER, SUBSCRIPTION = "cus_sandbox", "sub_sandbox"
"""The SaaS customer that has every other location."""


def search_locations(call: Call) -> Json:
    """``GET /locations/search``: a page, ten unless asked for more, without a total."""
    skip, limit = call.number("skip", 0), call.number("limit", 10)
    terms, values = _visible(call)
    if email := call.query("email", ""):
        terms, values = [*terms, "body ->> 'email' = ?"], [*values, email]
    order = "DESC" if call.query("order", "asc") == "desc" else "ASC"
    rows = call.world.db.execute(
        f"SELECT body FROM highlevel_locations WHERE {' AND '.join(terms)} ORDER BY arrival {order} LIMIT ? OFFSET ?",
        (*values, limit, skip),
    )
    return {"locations": [orjson.loads(body) for (body,) in rows]}


def _visible(call: Call) -> tuple[list[str], list[Any]]:
    if call.query("companyId", COMPANY) != COMPANY:
        raise Refusal("other_location")
    return (["1"], []) if call.caller.kind == "agency" else (["id = ?"], [call.caller.owner])


def read_location(call: Call) -> Json:
    """``GET /locations/{locationId}``."""
    wanted = call.location(call.path["id"])
    (body,) = call.world.db.execute("SELECT body FROM highlevel_locations WHERE id = ?", (wanted,)).fetchone()
    return {"location": orjson.loads(body)}


def saas_locations(call: Call) -> list[str]:
    """``GET /saas/locations``: the ids of one customer's locations, without their names."""
    company, customer, subscription = (call.query(n) for n in ("companyId", "customerId", "subscriptionId"))
    if company != COMPANY:
        raise Refusal("other_location")
    if (customer, subscription) != (CUSTOMER, SUBSCRIPTION):
        return []
    ids = [one for (one,) in call.world.db.execute("SELECT id FROM highlevel_locations WHERE arrival % 2 = 1")]
    return [one for one in ids if one not in call.settings.other_customers]


def search_users(call: Call) -> Json:
    """``GET /users/search``: a page and the count."""
    if call.query("companyId") != COMPANY:
        raise Refusal("other_location")
    users = [orjson.loads(body) for (body,) in call.world.db.execute("SELECT body FROM highlevel_users ORDER BY id")]
    location = call.caller.owner if call.caller.kind == "location" else call.query("locationId", "")
    words = call.query("query", "").lower()
    found = [
        user
        for user in users
        if location in ("", *user["roles"]["locationIds"]) and words in f"{user['name']} {user['email']}".lower()
    ]
    skip, limit = call.number("skip", 0), call.number("limit", 25)
    return {"users": found[skip : skip + limit], "count": len(found)}
