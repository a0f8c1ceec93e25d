"""The detailed report: every user's entries of a range, the best way to read many."""

from __future__ import annotations

from array import array
from collections import OrderedDict

import orjson

from sync_pipeline.sandbox.clockify.documents import integer
from sync_pipeline.sandbox.clockify.entry_rows import DESCRIPTION
from sync_pipeline.sandbox.clockify.http import Call, Json, Reply, invalid
from sync_pipeline.sandbox.clockify.paging import Page, last_page
from sync_pipeline.sandbox.clockify.report_filters import AMOUNT_SQL, ReportQuery, amount_facts, report_query
from sync_pipeline.sandbox.clockify.report_rows import RowWriter
from sync_pipeline.sandbox.database import version

SORT = {
    "ID": "id {0}",
    "DESCRIPTION": DESCRIPTION.replace("{", "{{").replace("}", "}}") + " {0}, id {0}",
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
        self._totals: dict[bytes, list[Json]] = {}
        self._writers: dict[tuple[str, tuple[str, ...]], RowWriter] = {}
        self._version = -1

    def answer(self, call: Call) -> Reply:
        """POST .../reports/detailed."""
        self._forget_if_changed(call)
        asked = call.json()
        detailed = asked.get("detailedFilter")
        if not isinstance(detailed, dict):
            raise invalid("detailedFilter: must not be null")
        query = report_query(call, asked, detailed.get("auditFilter"))
        page = Page.of(
            integer(detailed, "page", 1), integer(detailed, "pageSize", 50), call.world.options.report_page_cap
        )
        order = self._order(call, query, detailed.get("sortColumn") or "DATE", asked.get("sortOrder") or "DESCENDING")
        wanted = order[page.offset : page.offset + page.size].tolist()
        with_totals = (detailed.get("options") or {}).get("totals") != "EXCLUDE"
        totals = orjson.dumps(self._total(call, query) if with_totals else [])
        rows = self._writer(call, query).rows(wanted)
        body = b'{"totals":' + totals + b',"timeentries":' + rows + b"}"
        return Reply(body, headers=last_page(page.offset + page.size >= len(order)))

    def _forget_if_changed(self, call: Call) -> None:
        now = version(call.db)
        if now != self._version:
            self._orders.clear()
            self._totals.clear()
            self._writers.clear()
            self._version = now

    def _order(self, call: Call, query: ReportQuery, column: str, direction: str) -> array[int]:
        if column not in SORT or direction not in ("ASCENDING", "DESCENDING"):
            raise invalid(f"sortColumn/sortOrder: unknown value {column!r}, {direction!r}")
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

    def _total(self, call: Call, query: ReportQuery) -> list[Json]:
        key = orjson.dumps([query.sql, query.values, query.amounts])
        if key not in self._totals:
            if len(self._totals) > REMEMBERED:
                self._totals.clear()
            self._totals[key] = report_totals(call, query)
        return self._totals[key]

    def _writer(self, call: Call, query: ReportQuery) -> RowWriter:
        key = (str(query.zone), query.amounts)
        if key not in self._writers:
            self._writers[key] = RowWriter(call, query.zone, query.amounts)
        return self._writers[key]


def report_totals(call: Call, query: ReportQuery) -> list[Json]:
    """Counts and sums over everything the report covers; empty when it covers nothing."""
    sums = "".join(f", sum({AMOUNT_SQL[kind]}) AS {kind}" for kind in query.amounts)
    row = call.db.execute(
        "SELECT count(*) AS entries, sum(ended - started) AS seconds,"
        f" sum(CASE WHEN billable THEN ended - started ELSE 0 END) AS billed{sums} FROM time_entries{query.sql}",
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
            **amount_facts({kind: row[kind] for kind in query.amounts}),
        }
    ]
