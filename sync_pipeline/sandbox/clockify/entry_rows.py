"""How time entries are stored and written out.

Entries are the one thing there are a million of, so their constant parts are stored as JSON text and pages are put
together from text: no entry is parsed to be listed or reported. ``shared`` holds the fields the list and the report
have in common; quotes inside are escaped, so pieces can be joined safely.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.http import Json
from sync_pipeline.sandbox.clockify.times import duration_text

CURRENCY = "USD"
NO_CODES: Mapping[str, str] = {}
LISTED = ("id", "project_id", "started", "ended", "approval", "shared", "span", "tags", "custom", "hourly", "cost")
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


def entry_texts(
    rows: Iterable[Sequence[Any]], workspace: str, lock: int | None = None, codes: Mapping[str, str] = NO_CODES
) -> list[str]:
    """Entries (as LISTED columns) as the core API returns them, in JSON; those before ``lock`` are shown as locked.

    ``codes`` are the currencies of projects that have another one.
    """
    texts = []
    for entry_id, project, started, ended, approval, shared, span, tags, custom, hourly, cost in rows:
        locked = approval == "APPROVED" or (lock is not None and started < lock)
        code = codes.get(project, CURRENCY)
        duration = "null" if ended is None else f'"{iso_duration(ended - started)}"'
        texts.append(
            f'{{"id":"{entry_id}",{shared},"tagIds":{tags},"workspaceId":"{workspace}",'
            f'"timeInterval":{{{span},"duration":{duration}}},"customFieldValues":{custom},'
            f'"kioskId":null,"hourlyRate":{money(hourly, code)},"costRate":{money(cost, code)},'
            f'"isLocked":{"true" if locked else "false"}}}'
        )
    return texts


def entry_body(row: sqlite3.Row, workspace: str, lock: int | None = None, codes: Mapping[str, str] = NO_CODES) -> Json:
    """One whole row as the core API returns it."""
    [text] = entry_texts([[row[column] for column in LISTED]], workspace, lock, codes)
    found: Json = orjson.loads(text)
    return found


def stored(body: Json) -> tuple[Any, ...]:
    """The text columns of an entry's document, in the order of INSERT and UPDATE."""
    shared = orjson.dumps({name: body[name] for name in SHARED})[1:-1].decode()
    span = orjson.dumps({name: body["timeInterval"][name] for name in ("start", "end")})[1:-1].decode()
    texts = (orjson.dumps(body[name]).decode() for name in ("tagIds", "customFieldValues"))
    return shared, span, *texts, *((body[rate] or {}).get("amount") for rate in ("hourlyRate", "costRate"))


def currencies_of_projects(db: sqlite3.Connection) -> Mapping[str, str]:
    """Those of their clients, where it is not that of the workspace."""
    code = "json_extract(c.body, '$.currencyCode')"
    rows = db.execute(
        f"SELECT p.id, {code} FROM clients c JOIN projects p ON p.parent = c.id WHERE {code} <> ?", (CURRENCY,)
    )
    return dict(map(tuple, rows))


@lru_cache(maxsize=4096)
def money(amount: int | None, currency: str) -> str:
    """A rate as JSON text."""
    return "null" if amount is None else f'{{"amount":{amount},"currency":"{currency}"}}'


iso_duration = lru_cache(maxsize=8192)(duration_text)
