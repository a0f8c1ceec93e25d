"""Opportunities: the deals of a location, the won ones of which are its revenue."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import orjson

from sync_pipeline.sandbox.highlevel.ids import letters
from sync_pipeline.sandbox.highlevel.objects import instant
from sync_pipeline.sandbox.highlevel.refusals import unprocessable
from sync_pipeline.sandbox.highlevel.resource import Call, Json
from sync_pipeline.sandbox.world import World

STATUSES = ("open", "won", "lost", "abandoned")
MOST = 100
EQUAL = {
    "pipeline_id": "pipelineId", "pipeline_stage_id": "pipelineStageId", "contact_id": "contactId",
    "assigned_to": "assignedTo", "id": "id",
}  # fmt: skip


def search_opportunities(call: Call) -> Json:
    """``GET /opportunities/search``: a page, the newest first, and where the next one begins."""
    location = call.location(call.query("location_id"))
    limit, page = call.number("limit", 20), max(1, call.number("page", 1))
    if not 1 <= limit <= MOST:
        raise unprocessable(f"limit must not be greater than {MOST}")
    terms, values = _filters(call)
    where = " AND ".join(["location_id = ?", *terms])
    count = f"SELECT count(*) FROM highlevel_opportunities WHERE {where}"
    (total,) = call.world.db.execute(count, (location, *values)).fetchone()
    skipped, later = (page - 1) * limit, "ASC" if call.query("order", "added_desc") == "added_asc" else "DESC"
    if after := call.number("startAfter", 0):
        where += f" AND (created_ms, id) {'>' if later == 'ASC' else '<'} (?, ?)"
        values, skipped = [*values, after, call.query("startAfterId")], 0
    rows = call.world.db.execute(
        f"SELECT body, created_ms FROM highlevel_opportunities WHERE {where}"
        f" ORDER BY created_ms {later}, id {later} LIMIT ? OFFSET ?",
        (location, *values, limit, skipped),
    ).fetchall()
    found = [orjson.loads(body) for body, _ in rows]
    meta: Json = {"total": total, "currentPage": page}
    if found and len(found) == limit:
        meta |= {"startAfter": rows[-1][1], "startAfterId": found[-1]["id"], "nextPage": page + 1}
        query = {"location_id": location, "limit": limit, "page": page + 1}
        after_last = {name: meta[name] for name in ("startAfter", "startAfterId")}
        meta["nextPageUrl"] = f"{call.request.url.replace(query='')}?{urlencode(query | after_last)}"
    return {"opportunities": found, "meta": meta, "aggregations": {}}


def _filters(call: Call) -> tuple[list[str], list[Any]]:
    found: list[tuple[str, Any]] = []
    status = call.query("status", "all")
    if status not in (*STATUSES, "all"):
        raise unprocessable(f"status must be one of the following values: {', '.join(STATUSES)}, all")
    if status != "all":
        found.append(("body ->> 'status' = ?", status))
    for name, member in EQUAL.items():
        if value := call.query(name, ""):
            found.append((f"body ->> '{member}' = ?", value))
    if words := call.query("q", ""):
        found.append(("instr(lower(body ->> 'name'), lower(?)) > 0", words))
    for name, comparison, days in (("date", ">=", 0), ("endDate", "<", 1)):
        if day := call.query(name, ""):
            found.append((f"created_ms {comparison} ?", _milliseconds(day, days)))
    return [term for term, _ in found], [value for _, value in found]


def _milliseconds(day: str, days: int) -> float:
    try:
        start = datetime.strptime(day, "%m-%d-%Y").replace(tzinfo=UTC)
    except ValueError:
        raise unprocessable("date must be mm-dd-yyyy") from None
    return (start + timedelta(days=days)).timestamp() * 1000


def store_opportunity(db: sqlite3.Connection, opportunity: Json) -> None:
    """Add an opportunity, or replace it."""
    created = round(datetime.fromisoformat(opportunity["createdAt"]).timestamp() * 1000)
    values = (opportunity["id"], opportunity["locationId"], created, orjson.dumps(opportunity).decode())
    db.execute("INSERT OR REPLACE INTO highlevel_opportunities VALUES (?, ?, ?, ?)", values)


def new_opportunity(world: World, location: str, number: int, **members: Any) -> Json:
    """An opportunity of a location, created now unless ``at`` is given."""
    now = members.pop("at", world.clock.now())
    fixed = {name: instant(now) for name in ("createdAt", "updatedAt", "lastStatusChangeAt", "lastStageChangeAt")}
    known = {
        "name": f"Deal {number}",
        "monetaryValue": 0,
        "status": "open",
        "pipelineId": letters(location, "pipeline"),
    }
    stage = {"pipelineStageId": letters(location, "stage"), "contactId": letters(location, "contact", number)}
    return {
        "id": letters(location, "opportunity", number),
        "locationId": location,
        **known,
        **stage,
        **fixed,
        **members,
    }


def invented(world: World, rng: random.Random, location: str) -> Iterator[Json]:
    """A year's deals of a location; about half of them were won."""
    for number in range(rng.randint(4, 12)):
        at = world.clock.now() - timedelta(days=rng.randrange(360), hours=rng.randrange(24))
        status, value = rng.choice((*STATUSES, "won", "won")), rng.randrange(500, 20_000, 50)
        yield new_opportunity(world, location, number, at=at, status=status, monetaryValue=value)
