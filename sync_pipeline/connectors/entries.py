"""Reading time entries: the detailed report or one list per user, whichever needs fewer requests.

Both yield the same canonical entries. Only the report has entries of people who left the workspace, so the lists are
only chosen while everybody we know of is still there. The per-user lists read a window as wall-clock time in
somebody's zone, so they are asked for more and cut by the real instant.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any, Literal, Protocol

from sync_pipeline.connectors.answers import Answer
from sync_pipeline.connectors.canonical_entry import (
    FieldNames,
    from_list,
    from_report,
    needs_field_names,
    start_of,
)
from sync_pipeline.connectors.http import ApiClient
from sync_pipeline.connectors.paging import Page, Record, ahead, as_record, by_number, rows_of
from sync_pipeline.connectors.window import Window, instant_text
from sync_pipeline.errors import Request

Reader = Literal["report", "users"]
ReaderSetting = Literal["auto", "report", "users"]

REPORT_DAYS = 31  # the longest range a Free workspace's report may have
ZONES_PAD = timedelta(hours=14)  # no time zone is further than this from UTC
RUNNING_TAIL = timedelta(days=2)  # a window that ended this long ago may hold an entry that is still running
RUNNING_PAGE = 1000

REPORT = "/workspaces/{workspace}/reports/detailed"
USER_LIST = "/workspaces/{workspace}/user/{id}/time-entries"
IN_PROGRESS = "/workspaces/{workspace}/time-entries/status/in-progress"


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known before a read: how many entries the window holds (None: not known), and who may have tracked them."""

    entries: int | None = None
    users: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Choice:
    """The reader that was chosen, the requests it should need (None: not known yet), and why."""

    reader: Reader
    requests: int | None
    reason: str


def choose(window: Window, expected: Expected, setting: ReaderSetting, page_size: int) -> Choice:
    """The reader with fewer requests; the report when they are equal, or when too little is known."""
    slices = ceil((window.end - window.start) / timedelta(days=REPORT_DAYS))
    report = _requests(expected.entries, slices, page_size)
    people = len(expected.users) or None
    lists = _requests(expected.entries, people, page_size)
    if lists is not None:
        lists += ceil(len(expected.users) / page_size)  # who is there is asked first
    if setting != "auto":
        return Choice(setting, report if setting == "report" else lists, f"CLOCKIFY_READER is set to {setting}")
    if lists is None or report is None:
        return Choice("report", report, "the number of entries or users is not known yet")
    if lists < report:
        return Choice("users", lists, f"one list per user needs {lists} requests, the report {report}")
    return Choice("report", report, f"the report needs {report} requests, one list per user {lists}")


def complete(choice: Choice, expected: Expected, listed: Iterable[str]) -> Choice:
    """The same choice - or the report, when somebody we know of is not listed any more."""
    if left := len(expected.users.difference(listed)):
        return Choice("report", None, f"only the report has the entries of those who left the workspace ({left})")
    return choice


def _requests(entries: int | None, parts: int | None, page_size: int) -> int | None:
    """Requests when the entries are spread evenly over the parts; an empty part still costs one."""
    if entries is None or parts is None:
        return None
    return parts * max(1, ceil(entries / parts / page_size)) if parts else 0


class Directory(Protocol):
    """What the readers look up once per read."""

    async def field_names(self) -> FieldNames:
        """Custom field id -> name."""


@dataclass(slots=True)
class EntryReader:
    """One read of one workspace's entries."""

    core: ApiClient
    reports: ApiClient
    workspace: str
    page_size: int
    directory: Directory
    now: Callable[[], float]

    async def read(self, window: Window, reader: Reader, users: Iterable[str]) -> AsyncIterator[list[Record]]:
        """The window's entries, page by page; running ones at the end, where nothing can follow them any more.

        Running entries are asked for first: one that is stopped meanwhile is then in the pages, and left out of the
        end; asked for last it could be missed by both.
        """
        running = {str(entry["id"]): entry for entry in await self._running(window)}
        pages = self._report(window) if reader == "report" else self._lists(window, users)
        async for page in pages:
            for entry in page:
                running.pop(str(entry["id"]), None)
            yield page
        if running:
            yield list(running.values())

    async def probe(self, window: Window, reader: Reader, user: str) -> None:
        """Ask for one page, of everybody's or of one user's entries, to see whether reading is allowed."""
        pages = self._report_pages(window) if reader == "report" else self._user_pages(window, user)
        await anext(pages, None)

    async def _report(self, window: Window) -> AsyncIterator[list[Record]]:
        for part in window.slices(REPORT_DAYS):
            async with aclosing(ahead(self._report_pages(part))) as pages:
                async for rows in pages:  # the server makes the next page while this one is translated
                    names = await self._names(rows)
                    entries = [from_report(as_record(row), self.workspace, names) for row in rows]
                    yield _within(entries, part)

    async def newest(self, limit: int) -> list[Record]:
        """Some of the newest entries, for two requests at most: of the last days, else of those before them."""
        tomorrow = datetime.fromtimestamp(self.now(), UTC).date() + timedelta(days=1)
        latest = Window.of_days(tomorrow - timedelta(days=REPORT_DAYS - 1), tomorrow)
        rows = await self._newest(latest, limit)
        if rows:
            names = await self._names(rows)
        else:  # a third request for the names of custom fields is not worth it
            rows, names = (
                await self._newest(Window(latest.start - timedelta(days=REPORT_DAYS), latest.start), limit),
                {},
            )
        return [from_report(as_record(row), self.workspace, names) for row in rows[:limit]]

    async def _newest(self, part: Window, limit: int) -> list[Any]:
        order = {"sortOrder": "DESCENDING"}
        filters = {"page": 1, "pageSize": limit, "sortColumn": "DATE", "options": {"totals": "EXCLUDE"}}
        answer = await self._report_answer({**_asked(part), **order, "detailedFilter": filters})
        return rows_of(answer, self._about(self.reports, "POST", REPORT), "timeentries", "timeEntries")

    async def _report_answer(self, body: Mapping[str, Any]) -> Answer:
        return await self.reports.request("POST", REPORT, ids=self._ids(), json=body, idempotent=True, writes=False)

    def _report_pages(self, part: Window) -> AsyncIterator[list[Any]]:
        about = self._about(self.reports, "POST", REPORT)
        body = _asked(part)

        async def get(number: int) -> Page:
            filters = {
                "page": number,
                "pageSize": self.page_size,
                "sortColumn": "ID",  # new entries come last, so they do not move the pages still to be read
                "options": {"totals": "EXCLUDE"},
            }
            answer = await self._report_answer({**body, "detailedFilter": filters})
            return Page(rows_of(answer, about, "timeentries", "timeEntries"), last_page(answer))

        return by_number(get, about=about, size=self.page_size, key="_id")

    async def _lists(self, window: Window, users: Iterable[str]) -> AsyncIterator[list[Record]]:
        for user in users:
            async for rows in self._user_pages(window.padded(ZONES_PAD), user):
                names = await self._names(rows)
                entries = [from_list(as_record(row), self.workspace, names) for row in rows]
                yield _within(entries, window)

    def _user_pages(self, padded: Window, user: str) -> AsyncIterator[list[Any]]:
        about = self._about(self.core, "GET", USER_LIST)
        params = {
            "start": instant_text(padded.start),
            "end": instant_text(padded.end),
            "hydrated": "true",
            "page-size": self.page_size,
        }

        async def get(number: int) -> Page:
            answer = await self.core.request(
                "GET", USER_LIST, ids=self._ids(user), params={**params, "page": number}, may_be_gone=True
            )
            if answer.gone:  # not in the workspace any more
                return Page([], is_last=True)
            return Page(rows_of(answer, about), last_page(answer))

        return by_number(get, about=about, size=self.page_size)

    async def _running(self, window: Window) -> list[Record]:
        now = datetime.fromtimestamp(self.now(), UTC)
        if not window.start <= now < window.end + RUNNING_TAIL:
            return []
        about = self._about(self.core, "GET", IN_PROGRESS)

        async def get(number: int) -> Page:
            params = {"page": number, "page-size": RUNNING_PAGE, "hydrated": "true"}
            answer = await self.core.request("GET", IN_PROGRESS, ids=self._ids(), params=params)
            return Page(rows_of(answer, about), last_page(answer))

        found: list[Record] = []
        async for rows in by_number(get, about=about, size=RUNNING_PAGE):
            found += [from_list(as_record(row), self.workspace) for row in rows]
        return [entry for entry in found if (start := start_of(entry)) is None or start in window]

    async def _names(self, rows: list[Any]) -> FieldNames:
        if any(isinstance(row, dict) and needs_field_names(row) for row in rows):
            return await self.directory.field_names()
        return {}

    def _ids(self, user: str = "") -> dict[str, str]:
        return {"workspace": self.workspace, "id": user}

    def _about(self, client: ApiClient, method: str, path: str) -> Request:
        return Request(client.endpoint.system, method, path)


def _asked(part: Window) -> dict[str, Any]:
    """What the report is asked for."""
    return {
        "dateRangeStart": instant_text(part.start),
        # The range includes its last instant, a window does not.
        "dateRangeEnd": (part.end - timedelta(milliseconds=1)).strftime("%Y-%m-%dT%H:%M:%S.999Z"),
        "timeZone": "UTC",
        "sortOrder": "ASCENDING",
        "rounding": False,
        "exportType": "JSON",
        "amountShown": "HIDE_AMOUNT",
    }


def last_page(answer: Answer) -> bool | None:
    """What the Last-Page header says; None when it is not there."""
    text = answer.headers.get("last-page")
    return None if text is None else text.strip().lower() == "true"


def _within(entries: list[Record], window: Window) -> list[Record]:
    """Stopped entries that start in the window; one whose start makes no sense is kept for the checks to see."""

    def belongs(entry: Record) -> bool:
        start = start_of(entry)
        return start is None or (start in window and entry["timeInterval"]["end"] is not None)

    return [entry for entry in entries if belongs(entry)]
