"""Rows of the detailed report: ``_id``, names next to ids, whole seconds, the report's own zone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, tzinfo
from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.documents import dump
from sync_pipeline.sandbox.clockify.entries import Lookup, locked_before
from sync_pipeline.sandbox.clockify.entry_rows import CURRENCY, currencies_of_projects
from sync_pipeline.sandbox.clockify.http import Call
from sync_pipeline.sandbox.clockify.times import zoned_text

SELECT = (
    "SELECT seq, id, user_id, project_id, task_id, started, ended, billable, approval, shared, span, tags, custom,"
    " hourly, cost FROM time_entries WHERE seq IN (SELECT value FROM json_each(?))"
)


_NO_EARNINGS = '"rate":null,"amount":null,"earnedRate":null,"earnedAmount":null'
_NO_COSTS = '"costRate":null,"costAmount":null'


class RowWriter:
    """Turns stored entries into report rows as JSON text; what they refer to is looked up once and kept."""

    def __init__(self, call: Call, in_zone: tzinfo, amounts: tuple[str, ...]) -> None:
        self._db = call.db
        self._zone = in_zone
        self._lock = locked_before(call.world)
        self._amounts = amounts
        self._codes = currencies_of_projects(call.db)
        lookup = Lookup(call.db, call.workspace)
        self._project = _Kept(lambda key: _project_text(lookup, key))
        self._user = _Kept(lambda key: _user_text(lookup, key))
        self._task = _Kept(lambda key: dump((lookup.get("tasks", key) or {}).get("name")))
        self._tags = _Kept(lambda key: _tags_text(lookup, key))

    def rows(self, wanted: Sequence[int]) -> bytes:
        """The rows of these entries, in this order, as one JSON array."""
        found = self._db.execute(SELECT, (orjson.dumps(wanted).decode(),))
        written = {row[0]: self._row(row) for row in found}
        return f"[{','.join([written[seq] for seq in wanted])}]".encode()

    def _row(self, row: sqlite3.Row) -> str:
        _, key, user, project, task, started, ended, billable, approval, shared, span, tags, custom, hourly, cost = row
        seconds = ended - started
        approved = approval == "APPROVED"
        locked = approved or (self._lock is not None and started < self._lock)
        if self._zone is not UTC:
            span = self._zoned(started, ended)
        return (
            f'{{"_id":"{key}",{shared},"timeInterval":{{{span},"duration":{seconds}}},'
            f'"tagIds":{tags},"tags":{self._tags[tags]},"customFields":{custom},{self._project[project]},'
            f'"taskName":{self._task[task]},{self._user[user]},"isLocked":{"true" if locked else "false"},'
            f'"approvalRequestId":{dump(key) if approved else "null"},'
            f"{_amounts(seconds, (hourly or 0) if billable else 0, cost or 0, self._amounts)},"
            f'"currency":{dump(self._codes.get(project, CURRENCY) if self._amounts else None)}}}'
        )

    def _zoned(self, started: int, ended: int) -> str:
        return f'"start":"{zoned_text(started, self._zone)}","end":"{zoned_text(ended, self._zone)}"'


class _Kept(dict[Any, str]):
    """A dictionary that makes what it does not have yet."""

    def __init__(self, make: Callable[[Any], str]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: Any) -> str:
        self[key] = made = self._make(key)
        return made


def _project_text(lookup: Lookup, project_id: str | None) -> str:
    project = lookup.get("projects", project_id) or {}
    columns = {
        "projectName": project.get("name"),
        "projectColor": project.get("color"),
        "clientId": project.get("clientId") or "",
        "clientName": project.get("clientName") or "",
    }
    return dump(columns)[1:-1]


def _user_text(lookup: Lookup, user_id: str) -> str:
    user = lookup.get("users", user_id) or {}
    return dump({"userName": user.get("name"), "userEmail": user.get("email")})[1:-1]


def _tags_text(lookup: Lookup, tag_ids: str) -> str:
    tags = [lookup.get("tags", tag_id) for tag_id in orjson.loads(tag_ids) or []]
    return dump([{"_id": tag["id"], "name": tag["name"]} for tag in tags if tag is not None])


def _amounts(seconds: int, rate: int, cost: int, shown: tuple[str, ...]) -> str:
    """Rates and amounts of a row; those that are not shown are null."""
    earned, spent = round(rate * seconds / 3600, 2), round(cost * seconds / 3600, 2)
    billed = f'"rate":{rate},"amount":{earned},"earnedRate":{rate},"earnedAmount":{earned}'
    costs = f'"costRate":{cost},"costAmount":{spent}'
    return (
        f"{billed if 'EARNED' in shown else _NO_EARNINGS},{costs if 'COST' in shown else _NO_COSTS},"
        f'"profit":{round(earned - spent, 2) if "PROFIT" in shown else "null"}'
    )
