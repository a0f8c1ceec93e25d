"""The summary report: the same entries, grouped."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from typing import Any

from sync_pipeline.sandbox.clockify.entries import Lookup
from sync_pipeline.sandbox.clockify.entry_rows import DESCRIPTION
from sync_pipeline.sandbox.clockify.http import Call, Json, Reply, invalid
from sync_pipeline.sandbox.clockify.report_filters import report_query
from sync_pipeline.sandbox.clockify.reports import report_totals

GROUPS = ("CLIENT", "PROJECT", "DATE", "WEEK", "MONTH", "TASK", "TIMEENTRY", "USER")
# id, name, and - of a project - its client
Label = tuple[str, str, str | None]
Tree = dict[Label, Any]


def summary_report(call: Call) -> Reply:
    """POST .../reports/summary."""
    asked = call.json()
    chosen = asked.get("summaryFilter")
    if not isinstance(chosen, dict) or not chosen.get("groups"):
        raise invalid("summaryFilter.groups: must not be empty")
    groups = chosen["groups"]
    if len(groups) > 3 or not set(groups) <= set(GROUPS):
        raise invalid(f"summaryFilter.groups: at most 3 of {', '.join(GROUPS)}")
    query = report_query(call, asked)
    rows = call.db.execute(
        "SELECT started, ended, billable, user_id, project_id, task_id, hourly AS rate,"
        f" {DESCRIPTION} AS text FROM time_entries{query.sql}",
        query.values,
    )
    namer = _Namer(call, query.zone)
    tree: Tree = {}
    for row in rows:
        _add(tree, [namer.label(group, row) for group in groups], row)
    return Reply({"totals": report_totals(call, query), "groupOne": _finish(tree), "chart": []})


def _add(tree: Tree, labels: list[Label], row: sqlite3.Row) -> None:
    seconds = row["ended"] - row["started"]
    amount = (row["rate"] or 0) * seconds / 3600 if row["billable"] else 0
    for label in labels:
        node = tree.setdefault(label, {"duration": 0, "amount": 0.0, "children": {}})
        node["duration"] += seconds
        node["amount"] += amount
        tree = node["children"]


def _finish(tree: Tree) -> list[Json]:
    found = []
    for (key, name, client), node in sorted(tree.items(), key=lambda item: item[0][:2]):
        group = {
            "_id": key,
            "name": name,
            "nameLowerCase": name.lower(),
            "clientName": client,
            "duration": node["duration"],
            "amount": round(node["amount"], 2),
        }
        if node["children"]:
            group["children"] = _finish(node["children"])
        found.append(group)
    return found


class _Namer:
    """What an entry's group is called, by kind of group."""

    def __init__(self, call: Call, in_zone: tzinfo) -> None:
        self._lookup = Lookup(call.db)
        self._zone = in_zone
        self._kinds: dict[str, Callable[[Any], Label]] = {
            "CLIENT": self._client,
            "PROJECT": self._project,
            "TASK": lambda row: self._named("tasks", row["task_id"], "(Without task)"),
            "USER": lambda row: self._named("users", row["user_id"], ""),
            "TIMEENTRY": lambda row: (row["text"], row["text"], None),
            "DATE": lambda row: self._day(row, lambda day: day),
            "WEEK": lambda row: self._day(row, lambda day: day - timedelta(days=day.weekday())),
            "MONTH": lambda row: self._day(row, lambda day: day.replace(day=1)),
        }

    def label(self, group: str, row: sqlite3.Row) -> Label:
        """What the row's group is called."""
        return self._kinds[group](row)

    def _named(self, table: str, record_id: str | None, missing: str) -> Label:
        record = self._lookup.get(table, record_id)
        return (record["id"], record["name"] or "", None) if record else ("", missing, None)

    def _project(self, row: sqlite3.Row) -> Label:
        project = self._lookup.get("projects", row["project_id"])
        if not project:
            return "", "(Without project)", None
        return project["id"], project["name"], project["clientName"] or None

    def _client(self, row: sqlite3.Row) -> Label:
        project = self._lookup.get("projects", row["project_id"])
        if not project or not project["clientId"]:
            return "", "(Without client)", None
        return project["clientId"], project["clientName"], None

    def _day(self, row: sqlite3.Row, of: Callable[[datetime], datetime]) -> Label:
        text = of(datetime.fromtimestamp(row["started"], self._zone)).strftime("%Y-%m-%d")
        return text, text, None
