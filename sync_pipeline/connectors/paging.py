"""Walking a list to its end: one pager per style, each certain to stop.

A pager asks for one page after the other and yields each page's rows. It never asks beyond the last page. A page
that was seen before is asked for again, in case it was a slip; a list that keeps repeating itself is an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from sync_pipeline.connectors.answers import Answer, as_text
from sync_pipeline.errors import FatalApiError, Request

Record = dict[str, Any]
Rows = dict[str, Any]
T = TypeVar("T")

SAFE_PAGE_SIZE = 200  # no server is known to cut a page shorter than this when more was asked for
REPEATS_FORGIVEN = 6  # in a row; a list that repeats its pages never ends
MOST_PAGES = 200_000
LONGEST_CURSOR = 4_000  # it has to fit into an address
MOST_ROWS = 10_000  # of one answer, or this many times what was asked for:
MOST_TIMES_ASKED = 10
EMPTY_PAGES_FORGIVEN = 100
SHIFTS_FOLLOWED = 5  # of one page: a list that changes with each request is read only so far
TURNS_TO_LEAVE = 12


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one page, and whether the server marked it as the last (None: it has no mark)."""

    rows: list[Any]
    is_last: bool | None = None


GetPage = Callable[[int], Awaitable[Page]]
GetAt = Callable[[str | None], Awaitable[tuple[list[Any], str | None]]]


async def by_number(get: GetPage, *, about: Request, size: int, key: str = "id") -> AsyncIterator[list[Any]]:
    """Pages 1, 2, 3 ... until the server says it was the last; where it does not say, until a short or empty page.

    An endpoint that ignores paging gives the whole list again as page 2 and never says which page is the last:
    then the first page was everything.
    """
    seen: set[int] = set()
    before: Rows = {}
    page = await get(1)
    for number in range(2, MOST_PAGES):
        if page.rows:
            seen.add(_mark(page.rows, key))
            yield _fresh(page.rows, before, key)
            before = _by_id(page.rows, key)
        if not page.rows or page.is_last or (page.is_last is None and len(page.rows) < min(size, SAFE_PAGE_SIZE)):
            return
        page = await get(number)
        if page.is_last is None and number == 2 and page.rows and _mark(page.rows, key) in seen:
            return
        for _ in range(REPEATS_FORGIVEN):
            if not page.rows or _mark(page.rows, key) not in seen:
                break
            page = await get(number)
        else:
            raise _endless(about, f"page {number} repeats an earlier page")
    raise _endless(about, f"no end after {MOST_PAGES:,} pages")


def unshifted(get: GetPage, key: str = "id") -> GetPage:
    """The same pages with the rows that were moved onto an earlier page while the list was read.

    Pages are cut by position: a row that is removed after its page was read moves the rows behind it to pages that were
    read already. So each page but the last is read again after the one behind it, those before it, too, as far
    as they have changed, and all of that once more when something did; a list of one page costs nothing. A removal and
    an addition around the same request can hide each other.
    """
    marks: dict[int, int] = {}

    async def look_back(number: int) -> Rows | None:
        """The rows of the pages from this one to the front that have changed; None when this one has not."""
        found: Rows | None = None
        while number in marks:
            again = _by_id((await get(number)).rows, key)
            if marks[number] == hash(tuple(again)):
                break
            marks[number], found = hash(tuple(again)), {**(found or {}), **again}
            number -= 1
        return found

    async def page_of(number: int) -> Page:
        met: Rows = {}
        page = await get(number)
        for _ in range(SHIFTS_FOLLOWED):
            if (moved := await look_back(number - 1)) is None:
                break
            met |= _by_id(page.rows, key) | moved
            page = await get(number)
        here = _by_id(page.rows, key)
        marks[number] = hash(tuple(here))
        return Page([*(row for name, row in met.items() if name not in here), *page.rows], page.is_last)

    return page_of


async def by_cursor(get: GetAt, *, about: Request, key: str = "id") -> AsyncIterator[list[Any]]:
    """Pages linked by an opaque cursor, until there is none."""
    seen: set[int] = set()
    marks: set[int] = set()
    before: Rows = {}
    cursor: str | None = None
    empty = 0
    for _ in range(MOST_PAGES):
        rows, following = await get(cursor)
        for _ in range(REPEATS_FORGIVEN):
            if not rows or _mark(rows, key) not in marks:
                break
            rows, following = await get(cursor)
        else:
            raise _endless(about, "a page repeats an earlier page")
        if rows:
            marks.add(_mark(rows, key))
            yield _fresh(rows, before, key)
            before = _by_id(rows, key)
        empty = 0 if rows else empty + 1
        if following is None:
            return
        if hash(following) in seen:
            raise _endless(about, "its cursors go round in a circle")
        if len(following) > LONGEST_CURSOR:
            raise _endless(about, f"a cursor of {len(following):,} characters")
        if empty == EMPTY_PAGES_FORGIVEN:
            raise _endless(about, f"{EMPTY_PAGES_FORGIVEN} empty pages in a row")
        seen.add(hash(following))
        cursor = following
    raise _endless(about, f"no end after {MOST_PAGES:,} pages")


async def ahead(pages: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """The same items, the next one being fetched while the caller is busy with the current one."""
    coming = asyncio.ensure_future(_next(pages))
    try:
        while (item := await coming) is not None:
            coming = asyncio.ensure_future(_next(pages))
            await _let_it_leave()
            yield item[0]
    finally:
        coming.cancel()
        with suppress(asyncio.CancelledError, Exception):  # its outcome no longer matters
            await coming
        if isinstance(pages, AsyncGenerator):
            await pages.aclose()


async def _next(pages: AsyncIterator[T]) -> tuple[T] | None:
    try:
        return (await anext(pages),)
    except StopAsyncIteration:
        return None


async def _let_it_leave() -> None:
    """Give the request that was just started the few turns it needs to be written to the connection."""
    for _ in range(TURNS_TO_LEAVE):
        await asyncio.sleep(0)


def rows_of(answer: Answer, about: Request, *keys: str, asked: int = 0) -> list[Any]:
    """The list in the answer: the body itself, or the value of the first of ``keys``.

    FatalApiError when there are far more rows than were ``asked`` for (0: no number was named). Some more are taken:
    an endpoint that ignores paging gives everything in one answer.
    """
    data = answer.data
    if keys and isinstance(data, Mapping):
        data = next((data[key] for key in keys if key in data), None)
    if isinstance(data, list):
        if len(data) > (most := max(MOST_ROWS, MOST_TIMES_ASKED * asked)):
            wanted = f" where {asked:,} were asked for" if asked else ""
            raise FatalApiError(
                f"the answer holds {len(data):,} rows{wanted}; more than {most:,} are not taken.",
                about,
                fix="Check the base URL: is this the right API?",
            )
        return data
    raise FatalApiError(
        "the answer holds no list where one was expected.",
        about,
        fix="Check the base URL: is this the right API?",
    )


def as_record(row: Any) -> Record:
    """The row as a record; what is not an object is kept where a check will find it, not lost."""
    return row if isinstance(row, dict) else {"id": None, "malformed": row}


def _fresh(rows: list[Any], before: Rows, key: str) -> list[Any]:
    """The rows without those that were on the page before and come again unchanged.

    A row inserted while the list is walked pushes others onto the next page. One that comes again *changed* is
    passed on: which of the two is right is not for a pager to say.
    """
    if before.keys().isdisjoint(_by_id(rows, key)):
        return rows
    return [row for row in rows if not (isinstance(row, dict) and before.get(as_text(row.get(key))) == row)]


def _by_id(rows: list[Any], key: str) -> Rows:
    return {as_text(row[key]): row for row in rows if isinstance(row, dict) and row.get(key)}


def _mark(rows: list[Any], key: str) -> int:
    """A page is identified by its rows' ids; a row without one by its whole content."""
    return hash(tuple([as_text(row.get(key) or row) if isinstance(row, dict) else as_text(row) for row in rows]))


def _endless(about: Request, what: str) -> FatalApiError:
    return FatalApiError(
        f"the list does not end: {what}.",
        about,
        fix="The API misbehaves; nothing was changed. Try again later.",
    )
