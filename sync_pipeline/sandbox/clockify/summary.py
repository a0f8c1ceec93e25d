"""The summary report: the same entries, grouped."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, tzinfo
from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.documents import strings
from sync_pipeline.sandbox.clockify.entries import Lookup
from sync_pipeline.sandbox.clockify.entry_rows import CURRENCY, DESCRIPTION
from sync_pipeline.sandbox.clockify.http import Call, Json, Reply, invalid
from sync_pipeline.sandbox.clockify.report_filters import AMOUNT_SQL, report_query
from sync_pipeline.sandbox.clockify.reports import report_totals

GROUPS = ("CLIENT", "PROJECT", "DATE", "WEEK", "MONTH", "TASK", "TIMEENTRY", "USER", "TAG", "USER_GROUP")
# id, name, and - of a project - its client
Label = tuple[str, str, str | None]
Tree = dict[Label, Any]
WITHOUT_TAG: Label = ("", "(Without tag)", None)
WITHOUT_GROUP: Label = ("", "(Without group)", None)


def summary_report(call: Call) -> Reply:
    """POST .../reports/summary."""
    asked = call.json()
    chosen = asked.get("summaryFilter")
    groups = strings(chosen, "groups") if isinstance(chosen, dict) else None
    if not groups:
        raise invalid("summaryFilter.groups: must not be empty")
    if len(groups) > 3 or not set(groups) <= set(GROUPS):
        raise invalid(f"summaryFilter.groups: at most 3 of {', '.join(GROUPS)}")
    query = report_query(call, asked)
    amounts = "".join(f", {AMOUNT_SQL[kind]} AS {kind}" for kind in query.amounts)
    rows = call.db.execute(
        f"SELECT started, ended, user_id, project_id, task_id, tags, {DESCRIPTION} AS text{amounts}"
        f" FROM time_entries{query.sql}",
        query.values,
    )
    namer = _Namer(call, query.zone)
    tree: Tree = {}
    for row in rows:
        _add(tree, [namer.labels(group, row) for group in groups], row, query.amounts)
    found = _finish(tree)
    return Reply(
        {
            "totals": report_totals(call, query),
            "groupTotals": {"groupOneTotalCount": len(found)},
            "groupOne": found,
            "chart": [],
        }
    )


def _add(tree: Tree, levels: list[list[Label]], row: sqlite3.Row, amounts: tuple[str, ...]) -> None:
    """Count an entry in each of its groups: with two tags it belongs to two."""
    for label in levels[0]:
        node = tree.setdefault(label, {"duration": 0, "amounts": dict.fromkeys(amounts, 0.0), "children": {}})
        node["duration"] += row["ended"] - row["started"]
        for kind in amounts:
            node["amounts"][kind] += row[kind]
        if levels[1:]:
            _add(node["children"], levels[1:], row, amounts)


def _finish(tree: Tree) -> list[Json]:
    found = []
    for (key, name, client), node in sorted(tree.items(), key=lambda item: item[0][:2]):
        amount = next(iter(node["amounts"].values()), None)
        group = {
            "_id": key,
            "name": name,
            "nameLowerCase": name.lower(),
            "clientName": client,
            "currency": CURRENCY,
            "duration": node["duration"],
            "amount": None if amount is None else round(amount, 2),
            "amounts": [{"type": kind, "value": round(value, 2)} for kind, value in node["amounts"].items()],
        }
        if node["children"]:
            group["children"] = _finish(node["children"])
        found.append(group)
    return found


class _Namer:
    """What an entry's groups are called, by kind of group."""

    def __init__(self, call: Call, in_zone: tzinfo) -> None:
        self._lookup = Lookup(call.db, call.workspace)
        self._zone = in_zone
        self._groups = _groups_of_users(call)
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

    def labels(self, group: str, row: sqlite3.Row) -> list[Label]:
        """What the row's groups of this kind are called: several tags and user groups, one of everything else."""
        if group == "TAG":
            return self._tags(orjson.loads(row["tags"]) or []) or [WITHOUT_TAG]
        if group == "USER_GROUP":
            return self._groups.get(row["user_id"]) or [WITHOUT_GROUP]
        return [self._kinds[group](row)]

    def _tags(self, ids: Iterable[str]) -> list[Label]:
        return list(dict.fromkeys(self._named("tags", tag_id, WITHOUT_TAG[1]) for tag_id in ids))

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


def _groups_of_users(call: Call) -> dict[str, list[Label]]:
    found: dict[str, list[Label]] = {}
    for row in call.db.execute("SELECT body FROM user_groups ORDER BY id"):
        group = orjson.loads(row["body"])
        for user_id in group["userIds"]:
            found.setdefault(user_id, []).append((group["id"], group["name"], None))
    return found
