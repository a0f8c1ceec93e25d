"""Clockify's entity changes (experimental): what was created, updated or deleted in a window.

An accelerator, not the truth: records are known to be missing from it. Its answers come in two shapes, and whether
its first page is 0 or 1 is not settled: we begin at 0 and drop what comes twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from sync_pipeline.connectors.answers import Answer
from sync_pipeline.connectors.http import ApiClient
from sync_pipeline.connectors.paging import Record, rows_of
from sync_pipeline.errors import Request

What = Literal["created", "updated", "deleted"]
WHATS: tuple[What, ...] = ("created", "updated", "deleted")
FEED = "/workspaces/{workspace}/entities/{id}"
KINDS = {"time_entries": "TIME_ENTRY", "projects": "PROJECTS", "clients": "CLIENTS"}
"""What Clockify calls the records we sync; users are not in the documented list."""
PAGE_SIZE = 200
MOST_PAGES = 50


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the feed: which record, what happened, when, and the record as the feed shows it."""

    id: str
    what: What
    at: str
    record: Record


@dataclass(frozen=True, slots=True)
class ChangeFeed:
    """The feed of one workspace."""

    api: ApiClient
    workspace: str

    async def read(self, what: What, kind: str, start: datetime, end: datetime) -> list[Change]:
        """Everything the feed holds of one kind; FatalApiError where the plan does not offer it."""
        found: dict[tuple[str, str], Change] = {}
        async for rows in self._pages(what, kind, start, end):
            for row in rows:
                if isinstance(row, dict) and isinstance(row.get("id"), str):
                    change = Change(row["id"], what, _at(row, what), _document(row))
                    found[change.id, change.at] = change
        return list(found.values())

    async def _pages(self, what: What, kind: str, start: datetime, end: datetime) -> AsyncIterator[list[Any]]:
        window = {"type": kind, "start": _text(start), "end": _text(end), "limit": PAGE_SIZE}
        about = Request("Clockify", "GET", FEED)
        before: list[Any] = []
        for number in range(MOST_PAGES):
            answer = await self.api.request(
                "GET", FEED, ids={"workspace": self.workspace, "id": what}, params={**window, "page": number}
            )
            rows = rows_of(_unpacked(answer), about, "response")
            yield rows
            if len(rows) < PAGE_SIZE or (rows == before and number > 1):
                return
            before = rows


def _unpacked(answer: Answer) -> Answer:
    """The same answer; a list that was sent as text is parsed."""
    if isinstance(answer.data, str):
        with suppress(ValueError):
            return replace(answer, data=orjson.loads(answer.data or "[]"))
    return answer


def _at(row: Record, what: What) -> str:
    if what == "deleted":
        return str(row.get("deletedAt") or "")
    audit = row.get("auditMetadata")
    return str((audit.get("updatedAt") or audit.get("createdAt") or "") if isinstance(audit, dict) else "")


def _document(row: Record) -> Record:
    document = row.get("document")
    return document if isinstance(document, dict) else row


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
