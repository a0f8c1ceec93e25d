"""Reading time entries: the detailed report or one list per user, whichever needs fewer requests.

Both yield the same canonical entries. Only the report has entries of people who left the workspace, so the lists are
only chosen while all known users are still members; where the lists are set, the report completes them. The per-user lists read a window as wall-clock time in
a user's time zone, so a longer window is requested and cut by the real instant.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any, Literal, Protocol

from sync_pipeline.connectors.answers import Answer, as_text
from sync_pipeline.connectors.clockify.canonical import (
    FieldNames,
    from_list,
    from_report,
    needs_field_names,
    start_of,
)
from sync_pipeline.connectors.clockify.names import Names
from sync_pipeline.connectors.http import MAY_BE_MISSING, ONLY_READS, ApiClient
from sync_pipeline.connectors.paging import Page, Record, ahead, as_record, by_number, rows_of, unshifted
from sync_pipeline.connectors.ports import Expected
from sync_pipeline.connectors.window import Window, instant_text
from sync_pipeline.errors import ApiError, Request

Reader = Literal["report", "users"]
ReaderSetting = Literal["auto", "report", "users"]

REPORT_DAYS = 31  # the longest range a Free workspace's report may have
ZONES_PAD = timedelta(hours=14)  # no time zone is further than this from UTC
RUNNING_TAIL = timedelta(days=2)  # a window that ended this long ago may hold an entry that is still running
RUNNING_PAGE = 1000
PASSES = 3
"""How often a range of the report is read at most when it changes while its pages are read."""

REPORT = "/workspaces/{workspace}/reports/detailed"
USER_LIST = "/workspaces/{workspace}/user/{id}/time-entries"
IN_PROGRESS = "/workspaces/{workspace}/time-entries/status/in-progress"


@dataclass(frozen=True, slots=True)
class ReaderChoice:
    """The reader that was chosen, the requests it should need (None: not known yet), and why."""

    reader: Reader
    requests: int | None
    reason: str


def choose(window: Window, expected: Expected, setting: ReaderSetting, page_size: int) -> ReaderChoice:
    """The reader with fewer requests; the report when they are equal, or when too little is known."""
    slices = ceil((window.end - window.start) / timedelta(days=REPORT_DAYS))
    report = _requests(expected.entries, slices, page_size)
    people = len(expected.users) or None
    lists = _requests(expected.entries, people, page_size, again=True)
    if lists is not None:
        lists += ceil(len(expected.users) / page_size)  # who is there is asked first
    if setting != "auto":
        return ReaderChoice(setting, report if setting == "report" else lists, f"CLOCKIFY_READER is set to {setting}")
    if lists is None or report is None:
        return ReaderChoice("report", report, "the number of entries or users is not known yet")
    if lists < report:
        return ReaderChoice("users", lists, f"one list per user needs {lists} requests, the report {report}")
    return ReaderChoice("report", report, f"the report needs {report} requests, one list per user {lists}")


def complete(choice: ReaderChoice, expected: Expected, listed: Iterable[str]) -> ReaderChoice:
    """The same choice - or the report, when a known user is not listed any more."""
    if left := len(expected.users.difference(listed)):
        return ReaderChoice("report", None, f"only the report has the entries of those who left the workspace ({left})")
    return choice


def _requests(entries: int | None, parts: int | None, page_size: int, *, again: bool = False) -> int | None:
    """Requests when the entries are spread evenly over the parts; an empty part still costs one.

    ``again``: each page but the last is read a second time.
    """
    if entries is None or parts is None:
        return None
    pages = max(1, ceil(entries / parts / page_size)) if parts else 0
    return parts * (2 * pages - 1 if again and pages else pages)


class Lookups(Protocol):
    """What the readers look up once per read."""

    async def field_names(self) -> FieldNames:
        """Custom field id -> name."""


@dataclass(slots=True)
class _Tally:
    """What the pages of one range of the report held, and the totals that the first and the last of them report.

    Pages are cut by position. An entry that is deleted or moved away while they are read shifts those behind it, one of
    them onto a page that was read before: it would be missed silently. Then count or sum differ from what was read, or
    there are fewer than at first. An entry of just the same length that is added meanwhile can hide that: what was
    missed then comes with its own event, or with the next read.
    """

    seconds: dict[str, int] = field(default_factory=dict)
    """Entry id to its duration."""
    totals: list[tuple[int, int]] = field(default_factory=list)
    """Entries and seconds by each answer that reports them."""

    def add(self, rows: Iterable[Any]) -> None:
        """Add the rows of a page."""
        for row in filter(_is_entry, rows):
            self.seconds[row["_id"]] = _seconds_of(row)

    def note_totals(self, answer: Answer) -> None:
        """Add the totals of an answer, if it has any."""
        found = answer.data.get("totals") if isinstance(answer.data, dict) else None
        first = found[0] if isinstance(found, list) and found else None
        if isinstance(first, dict) and isinstance(first.get("entriesCount"), int):
            self.totals.append((first["entriesCount"], _number(first.get("totalTime"))))

    @property
    def is_whole(self) -> bool:
        """Whether nothing shifted, as far as the totals say."""
        if len(self.totals) < 2:  # a single page cannot shift
            return True
        (before, _), now = self.totals[0], self.totals[-1]
        return now == (len(self.seconds), sum(self.seconds.values())) and now[0] >= before


def _is_entry(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("_id"), str)


def _seconds_of(row: dict[str, Any]) -> int:
    """The duration of a row; 0 for one that is still running, and for what is no duration: the checks reject that row."""
    interval = row.get("timeInterval")
    return _number(interval.get("duration")) if isinstance(interval, dict) else 0


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


@dataclass(slots=True)
class EntryReader:
    """One read of one workspace's entries."""

    core: ApiClient
    reports: ApiClient
    workspace: str
    page_size: int
    directory: Lookups
    names: Names
    now: Callable[[], float]

    async def read(
        self, window: Window, reader: Reader, users: Iterable[str], former: Collection[str] = ()
    ) -> AsyncIterator[list[Record]]:
        """The window's entries, page by page; running ones at the end, where nothing can follow them any more.

        Those of ``former`` users, who have no list, come from the report; without it they are left out.

        Running entries are asked for first: one that is stopped meanwhile is then in the pages, and left out of the
        end; asked for last it could be missed by both.
        """
        running = {as_text(entry["id"]): entry for entry in await self._running(window)}
        pages = self._report(window) if reader == "report" else self._lists(window, users, former)
        async for page in pages:
            for entry in page:
                running.pop(as_text(entry["id"]), None)
            yield page
        if rest := list(running.values()):
            await self.names.complete(rest)  # their list gives ids alone; the pages may just have brought the names
            yield rest

    async def probe(self, window: Window, reader: Reader, user: str) -> None:
        """Request one page, of all users' or of one user's entries, to see whether reading is allowed."""
        pages = self._report_pages(window) if reader == "report" else self._user_pages(window, user)
        await anext(pages, None)

    async def _report(self, window: Window, users: Collection[str] = ()) -> AsyncIterator[list[Record]]:
        for part in window.slices(REPORT_DAYS):
            met: set[str] = set()
            for _ in range(PASSES):
                tally = _Tally()
                async with aclosing(ahead(self._report_pages(part, tally, users))) as pages:
                    async for rows in pages:  # the server makes the next page while this one is translated
                        tally.add(rows)
                        fresh = [row for row in rows if _is_entry(row) and row["_id"] not in met] if met else rows
                        names = await self._names(fresh)
                        entries = [from_report(as_record(row), self.workspace, names) for row in fresh]
                        await self.names.complete(entries)
                        yield _within(entries, part)
                if tally.is_whole:
                    break
                met |= tally.seconds.keys()

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
        return rows_of(answer, self._about(self.reports, "POST", REPORT), "timeentries", "timeEntries", asked=limit)

    async def _report_answer(self, body: Mapping[str, Any]) -> Answer:
        return await self.reports.request("POST", REPORT, ids=self._ids(), json=body, options=ONLY_READS)

    def _report_pages(
        self, part: Window, tally: _Tally | None = None, users: Collection[str] = ()
    ) -> AsyncIterator[list[Any]]:
        about = self._about(self.reports, "POST", REPORT)
        body = _asked(part)
        if users:
            body["users"] = {"ids": sorted(users), "contains": "CONTAINS", "status": "ALL"}

        async def get(number: int) -> Page:
            filters = {
                "page": number,
                "pageSize": self.page_size,
                "sortColumn": "ID",  # new entries come last, so they do not move the pages still to be read
                "options": {"totals": "CALCULATE"},  # to notice when rows shifted meanwhile
            }
            answer = await self._report_answer({**body, "detailedFilter": filters})
            if tally is not None:
                tally.note_totals(answer)
            return Page(rows_of(answer, about, "timeentries", "timeEntries", asked=self.page_size), last_page(answer))

        return by_number(get, about=about, size=self.page_size, key="_id")

    async def _lists(
        self, window: Window, users: Iterable[str], former: Collection[str]
    ) -> AsyncIterator[list[Record]]:
        for user in users:
            async for rows in self._user_pages(window.padded(ZONES_PAD), user):
                names = await self._names(rows)
                entries = [from_list(as_record(row), self.workspace, names) for row in rows]
                await self.names.complete(entries)
                yield _within(entries, window)
        if former:
            with suppress(ApiError):  # then these entries are missing, and their absence stays unconfirmed
                async for page in self._report(window, former):
                    yield [entry for entry in page if entry["userId"] in former]

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
                "GET", USER_LIST, ids=self._ids(user), params={**params, "page": number}, options=MAY_BE_MISSING
            )
            if answer.missing:  # not in the workspace any more
                return Page([], is_last=True)
            return Page(rows_of(answer, about, asked=self.page_size), last_page(answer))

        return by_number(unshifted(get), about=about, size=self.page_size)

    async def _running(self, window: Window) -> list[Record]:
        now = datetime.fromtimestamp(self.now(), UTC)
        if not window.start <= now < window.end + RUNNING_TAIL:
            return []
        about = self._about(self.core, "GET", IN_PROGRESS)

        async def get(number: int) -> Page:
            params = {"page": number, "page-size": RUNNING_PAGE}
            answer = await self.core.request("GET", IN_PROGRESS, ids=self._ids(), params=params)
            return Page(rows_of(answer, about, asked=RUNNING_PAGE), last_page(answer))

        found: list[Record] = []
        async for rows in by_number(unshifted(get), about=about, size=RUNNING_PAGE):
            names = await self._names(rows)
            found += [from_list(as_record(row), self.workspace, names) for row in rows]
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
        "amountShown": "EARNED",
        "amounts": ["EARNED", "COST"],
    }


def last_page(answer: Answer) -> bool | None:
    """What the Last-Page header says; None when it is not there."""
    text = answer.headers.get("last-page")
    return None if text is None else text.strip().lower() == "true"


def _within(entries: list[Record], window: Window) -> list[Record]:
    """Stopped entries that start in the window; one with an invalid start is kept for the checks to report."""

    def belongs(entry: Record) -> bool:
        start = start_of(entry)
        return start is None or (start in window and entry["timeInterval"]["end"] is not None)

    return [entry for entry in entries if belongs(entry)]
