"""Clockify's entity changes (experimental): what was created, updated or deleted in a window.

An accelerator, not the truth: records are known to be missing from it. Its answers come in two shapes, and whether
its first page is 0 or 1 is not settled: we begin at 0 and drop what comes twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from sync_pipeline.connectors.answers import Answer, as_text
from sync_pipeline.connectors.http import ApiClient
from sync_pipeline.connectors.paging import Record, rows_of
from sync_pipeline.connectors.ports import Change, What
from sync_pipeline.errors import FatalApiError, Request

FEED = "/workspaces/{workspace}/entities/{id}"
KINDS = {"time_entries": "TIME_ENTRY", "projects": "PROJECTS", "clients": "CLIENTS"}
"""What Clockify calls the records of a reader, list or target; users are not in the documented list."""
PAGE_SIZE = 200


@dataclass(frozen=True, slots=True)
class ChangeFeed:
    """The feed of one kind of record in one workspace."""

    api: ApiClient
    workspace: str
    kind: str

    @property
    def clock_offset(self) -> float | None:
        """By how many seconds Clockify's clock is ahead of ours; None if it has not answered."""
        return self.api.clock_offset

    async def read(self, what: What, start: datetime, end: datetime, most_pages: int) -> list[Change] | None:
        """Everything the feed holds; None when that is more than so many pages, or its pages repeat.

        Raises FatalApiError where the plan does not offer the feed.
        """
        found: dict[tuple[str, str], Change] = {}
        before: list[Any] = []
        for number in range(most_pages):
            rows = await self._page(what, start, end, number)
            found |= {(change.id, change.at): change for change in _changes(rows, what)}
            if len(rows) < PAGE_SIZE:
                return list(found.values())
            if rows == before and number > 1:
                return None
            before = rows
        return None

    async def _page(self, what: What, start: datetime, end: datetime, number: int) -> list[Any]:
        params = {"type": self.kind, "start": _text(start), "end": _text(end), "limit": PAGE_SIZE, "page": number}
        answer = await self.api.request("GET", FEED, ids={"workspace": self.workspace, "id": what}, params=params)
        about = Request("Clockify", "GET", FEED)
        rows = rows_of(_unpacked(answer), about, "response", asked=PAGE_SIZE)
        if rows and not any(_is_known_form(row) for row in rows):
            raise FatalApiError(
                "the feed of changes has a form that is not known.", about, fix="The re-scans find what changed."
            )
        return rows


def _is_known_form(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("id"), str)


def _changes(rows: list[Any], what: What) -> Iterator[Change]:
    for row in rows:
        if _is_known_form(row):
            yield Change(row["id"], what, _at(row, what), _document(row))


def _unpacked(answer: Answer) -> Answer:
    """The same answer; a list that was sent as text is parsed."""
    if isinstance(answer.data, str):
        with suppress(ValueError):
            return replace(answer, data=orjson.loads(answer.data or "[]"))
    return answer


def _at(row: Record, what: What) -> str:
    if what == "deleted":
        return as_text(row.get("deletedAt") or "")
    audit = row.get("auditMetadata")
    return as_text((audit.get("updatedAt") or audit.get("createdAt") or "") if isinstance(audit, dict) else "")


def _document(row: Record) -> Record:
    document = row.get("document")
    return document if isinstance(document, dict) else row


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
