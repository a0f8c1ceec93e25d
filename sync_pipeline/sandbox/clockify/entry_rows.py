"""How time entries are stored and written out.

Entries are the one thing there are a million of, so their constant parts are stored as JSON text and pages are put
together from text: no entry is parsed to be listed or reported. ``shared`` holds the fields the list and the report
have in common; quotes inside are escaped, so pieces can be joined safely.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.http import Json
from sync_pipeline.sandbox.clockify.times import duration_text

CURRENCY = "USD"
SHARED = ("description", "userId", "billable", "projectId", "taskId", "type")
INSERT = (
    "INSERT INTO time_entries (id, user_id, project_id, task_id, started, ended, billable, updated,"
    " shared, span, tags, custom, hourly, cost) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)"
)
UPDATE = (
    "UPDATE time_entries SET project_id = ?, task_id = ?, started = ?, ended = ?, billable = ?, updated = ?,"
    " shared = ?, span = ?, tags = ?, custom = ?, hourly = ?, cost = ? WHERE seq = ?"
)
DESCRIPTION = "json_extract('{' || shared || '}', '$.description')"
TAGGED = "EXISTS (SELECT 1 FROM json_each(tags) t WHERE t.value IN ({}))"


def entry_text(row: sqlite3.Row | Mapping[str, Any], workspace: str, lock: int | None = None) -> str:
    """An entry as the core API returns it, as JSON text; entries before ``lock`` are shown as locked."""
    started, ended = row["started"], row["ended"]
    locked = row["approval"] == "APPROVED" or (lock is not None and started < lock)
    duration = "null" if ended is None else f'"{iso_duration(ended - started)}"'
    return (
        f'{{"id":"{row["id"]}",{row["shared"]},"tagIds":{row["tags"]},"workspaceId":"{workspace}",'
        f'"timeInterval":{{{row["span"]},"duration":{duration}}},"customFieldValues":{row["custom"]},'
        f'"kioskId":null,"hourlyRate":{money(row["hourly"])},"costRate":{money(row["cost"])},'
        f'"isLocked":{"true" if locked else "false"}}}'
    )


def entry_body(row: sqlite3.Row | Mapping[str, Any], workspace: str) -> Json:
    """An entry as the core API returns it."""
    found: Json = orjson.loads(entry_text(row, workspace))
    return found


def stored(body: Json) -> tuple[Any, ...]:
    """The text columns of an entry's document, in the order of INSERT and UPDATE."""
    shared = orjson.dumps({name: body[name] for name in SHARED})[1:-1].decode()
    span = orjson.dumps({name: body["timeInterval"][name] for name in ("start", "end")})[1:-1].decode()
    texts = (orjson.dumps(body[name]).decode() for name in ("tagIds", "customFieldValues"))
    return shared, span, *texts, *((body[rate] or {}).get("amount") for rate in ("hourlyRate", "costRate"))


@lru_cache(maxsize=4096)
def money(amount: int | None) -> str:
    """A rate as JSON text."""
    return "null" if amount is None else f'{{"amount":{amount},"currency":"{CURRENCY}"}}'


iso_duration = lru_cache(maxsize=8192)(duration_text)
