"""Revenue, cost, budget and margin of each project and month: figures Clockify does not have."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable

import orjson
from starlette.responses import Response

from sync_pipeline.sandbox.snapshots.lists import page_body, read_cursor, read_limit, write_cursor
from sync_pipeline.sandbox.snapshots.problems import invalid_parameter
from sync_pipeline.sandbox.snapshots.resource import JSON, Call

MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
ORDER = ("month", "project_id")
Figure = dict[str, str | float]


def store_figures(db: sqlite3.Connection, figures: Iterable[Figure]) -> None:
    """Replace the figures of the given projects and months."""
    db.executemany(
        "INSERT OR REPLACE INTO snapshots_analytics (month, project_id, body) VALUES (?, ?, ?)",
        ((figure["month"], figure["project_id"], orjson.dumps(figure)) for figure in figures),
    )


def project_figures(call: Call) -> Response:
    """``GET /analytics/projects?from=YYYY-MM&to=YYYY-MM``: both months included."""
    call.caller.require("analytics.read")
    params = call.request.query_params
    first, last = _month(params.get("from"), "from", "0000-01"), _month(params.get("to"), "to", "9999-12")
    if last < first:
        raise invalid_parameter("to", f"{last} is before {first}")
    limit = read_limit(params.get("limit"), call.world.options.snapshots_page_cap)
    after = read_cursor(params.get("cursor"), ORDER) or ("", "")
    rows = call.world.db.execute(
        "SELECT body, month, project_id FROM snapshots_analytics"
        " WHERE month BETWEEN ? AND ? AND (month, project_id) > (?, ?) ORDER BY month, project_id LIMIT ?",
        (first, last, *after, limit + 1),
    ).fetchall()
    page = rows[:limit]
    cursor = write_cursor(ORDER, tuple(page[-1])[1:]) if len(rows) > limit else None
    return Response(page_body([row[0] for row in page], cursor), media_type=JSON)


def _month(text: str | None, name: str, default: str) -> str:
    if text is None:
        return default
    if not MONTH.fullmatch(text):
        raise invalid_parameter(name, f"{text[:20]!r} is not a month such as 2026-07")
    return text
