"""The detailed report: every user's entries of a range, the best way to read many."""

from __future__ import annotations

import sqlite3
from array import array
from collections import OrderedDict
from datetime import tzinfo
from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.entries import Lookup, locked_before
from sync_pipeline.sandbox.clockify.http import Call, Json, Reply, invalid
from sync_pipeline.sandbox.clockify.paging import Page, last_page
from sync_pipeline.sandbox.clockify.report_filters import ReportQuery, report_query
from sync_pipeline.sandbox.clockify.times import zoned_text

SORT = {
    "ID": "id {0}",
    "DESCRIPTION": "json_extract(body, '$.description') {0}, id {0}",
    "USER": "(SELECT name FROM users u WHERE u.id = user_id) {0}, started {0}, id {0}",
    "DURATION": "ended - started {0}, id {0}",
    "DATE": "started {0}, id {0}",
    "ZONED_DATE": "started {0}, id {0}",
    "NATURAL": "started {0}, id {0}",
    "USER_DATE": "(SELECT name FROM users u WHERE u.id = user_id) {0}, started {0}, id {0}",
}
REMEMBERED = 16
REMEMBERED_ROWS = 2_000_000


class DetailedReport:
    """Answers the report page by page.

    The order of all rows of one question is worked out once and kept until something is written, so that page 500
    costs what page 1 costs. A kept row costs 8 bytes, and there is a bound on how many are kept.
    """

    def __init__(self) -> None:
        self._orders: OrderedDict[bytes, array[int]] = OrderedDict()
        self._generation = -1

    def answer(self, call: Call) -> Reply:
        """POST .../reports/detailed."""
        asked = call.json()
        detailed = asked.get("detailedFilter")
        if not isinstance(detailed, dict):
            raise invalid("detailedFilter: must not be null")
        query = report_query(call, asked, detailed.get("auditFilter"))
        page = Page.of(
            _integer(detailed, "page", 1), _integer(detailed, "pageSize", 50), call.world.options.report_page_cap
        )
        order = self._order(call, query, detailed.get("sortColumn") or "DATE", asked.get("sortOrder") or "DESCENDING")
        wanted = order[page.offset : page.offset + page.size]
        totals = [] if (detailed.get("options") or {}).get("totals") == "EXCLUDE" else report_totals(call, query)
        body = {"totals": totals, "timeentries": _rows(call, wanted, query.zone)}
        return Reply(body, headers=last_page(page.offset + page.size >= len(order)))

    def _order(self, call: Call, query: ReportQuery, column: str, direction: str) -> array[int]:
        if column not in SORT or direction not in ("ASCENDING", "DESCENDING"):
            raise invalid(f"sortColumn/sortOrder: unknown value {column!r}, {direction!r}")
        if self._generation != call.world.generation:
            self._orders.clear()
            self._generation = call.world.generation
        key = orjson.dumps([query.sql, query.values, column, direction])
        if key not in self._orders:
            clause = SORT[column].format("ASC" if direction == "ASCENDING" else "DESC")
            rows = call.db.execute(f"SELECT seq FROM time_entries{query.sql} ORDER BY {clause}", query.values)
            self._orders[key] = array("q", (row[0] for row in rows))
            self._trim()
        self._orders.move_to_end(key)
        return self._orders[key]

    def _trim(self) -> None:
        while len(self._orders) > REMEMBERED or sum(map(len, self._orders.values())) > REMEMBERED_ROWS:
            if len(self._orders) == 1:
                return
            self._orders.popitem(last=False)


def _integer(asked: Json, name: str, default: int) -> int:
    value = asked.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid(f"{name}: must be a number")
    return value


def report_totals(call: Call, query: ReportQuery) -> list[Json]:
    """Counts and sums over everything the report covers; empty when it covers nothing."""
    row = call.db.execute(
        "SELECT count(*) AS entries, sum(ended - started) AS seconds,"
        f" sum(CASE WHEN billable THEN ended - started ELSE 0 END) AS billed FROM time_entries{query.sql}",
        query.values,
    ).fetchone()
    if not row["entries"]:
        return []
    return [
        {
            "_id": "",
            "totalTime": row["seconds"],
            "totalBillableTime": row["billed"],
            "entriesCount": row["entries"],
            "totalAmount": 0.0,
            "amounts": [],
        }
    ]


def _rows(call: Call, wanted: array[int], in_zone: tzinfo) -> list[Json]:
    if not wanted:
        return []
    marks = ",".join("?" * len(wanted))
    found = call.db.execute(
        f"SELECT seq, started, ended, approval, body FROM time_entries WHERE seq IN ({marks})", wanted.tolist()
    ).fetchall()
    by_seq = {row["seq"]: row for row in found}
    writer = _RowWriter(call, in_zone)
    return [writer.row(by_seq[seq]) for seq in wanted]


class _RowWriter:
    """Turns stored entries into report rows: ``_id``, names beside ids, whole seconds, the report's zone."""

    def __init__(self, call: Call, in_zone: tzinfo) -> None:
        self._lookup = Lookup(call)
        self._zone = in_zone
        self._lock = locked_before(call)
        self._money = call.caller.admin
        self._projects: dict[str | None, Json] = {None: _project_columns(None)}
        self._users: dict[str, Json] = {}
        self._tags: dict[str, Json | None] = {}

    def row(self, stored: sqlite3.Row) -> Json:
        """One row of the report."""
        entry = orjson.loads(stored["body"])
        started, ended = stored["started"], stored["ended"]
        approved = stored["approval"] == "APPROVED"
        task = self._lookup.get("tasks", entry["taskId"])
        row = {
            "_id": entry["id"],
            "description": entry["description"],
            "userId": entry["userId"],
            "timeInterval": {
                "start": zoned_text(started, self._zone),
                "end": zoned_text(ended, self._zone),
                "duration": ended - started,
            },
            "billable": entry["billable"],
            "projectId": entry["projectId"],
            "taskId": entry["taskId"],
            "taskName": task and task["name"],
            "tags": [tag for tag in map(self._tag, entry["tagIds"] or ()) if tag is not None],
            "customFields": entry["customFieldValues"],
            "type": entry["type"],
            "isLocked": approved or (self._lock is not None and started < self._lock),
            "approvalRequestId": "approved" if approved else None,
            **self._project(entry["projectId"]),
            **self._user(entry["userId"]),
        }
        return row | _amounts(entry, ended - started) if self._money else row

    def _project(self, project_id: str | None) -> Json:
        if project_id not in self._projects:
            self._projects[project_id] = _project_columns(self._lookup.get("projects", project_id))
        return self._projects[project_id]

    def _user(self, user_id: str) -> Json:
        if user_id not in self._users:
            user = self._lookup.get("users", user_id) or {"name": None, "email": None}
            self._users[user_id] = {"userName": user["name"], "userEmail": user["email"]}
        return self._users[user_id]

    def _tag(self, tag_id: str) -> Json | None:
        if tag_id not in self._tags:
            tag = self._lookup.get("tags", tag_id)
            self._tags[tag_id] = tag and {"_id": tag["id"], "name": tag["name"]}
        return self._tags[tag_id]


def _project_columns(project: Json | None) -> Json:
    if project is None:
        return {"projectName": None, "projectColor": None, "clientId": None, "clientName": None}
    return {
        "projectName": project["name"],
        "projectColor": project["color"],
        "clientId": project["clientId"] or None,
        "clientName": project["clientName"] or None,
    }


def _amounts(entry: Json, seconds: int) -> dict[str, Any]:
    rate = (entry["hourlyRate"] or {}).get("amount", 0) if entry["billable"] else 0
    cost = (entry["costRate"] or {}).get("amount", 0)
    currency = (entry["hourlyRate"] or entry["costRate"] or {}).get("currency", "USD")
    earned = rate * seconds / 3600
    return {
        "rate": rate,
        "amount": round(earned, 2),
        "earnedRate": rate,
        "earnedAmount": round(earned, 2),
        "costRate": cost,
        "costAmount": round(cost * seconds / 3600, 2),
        "currency": currency,
    }
