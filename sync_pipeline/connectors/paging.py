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

from sync_pipeline.connectors.answers import Answer
from sync_pipeline.errors import FatalApiError, Request

Record = dict[str, Any]
Rows = dict[str, Any]
T = TypeVar("T")

SAFE_PAGE_SIZE = 200  # no server is known to cut a page shorter than this when more was asked for
REPEATS_FORGIVEN = 6  # in a row; a list that goes round in circles repeats for ever
MOST_PAGES = 1_000_000
EMPTY_PAGES_FORGIVEN = 100
TURNS_TO_LEAVE = 12


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one page, and whether the server said that it is the last (None: it did not say)."""

    rows: list[Any]
    is_last: bool | None = None


GetPage = Callable[[int], Awaitable[Page]]
GetAt = Callable[[str | None], Awaitable[tuple[list[Any], str | None]]]


async def by_number(get: GetPage, *, about: Request, size: int, key: str = "id") -> AsyncIterator[list[Any]]:
    """Pages 1, 2, 3 ... until the server says it was the last; without a word from it, until a short or empty page.

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


async def by_cursor(get: GetAt, *, about: Request, key: str = "id") -> AsyncIterator[list[Any]]:
    """Pages linked by an opaque cursor, until there is none."""
    seen: set[str] = set()
    marks: set[int] = set()
    before: Rows = {}
    cursor: str | None = None
    empty = 0
    while empty < EMPTY_PAGES_FORGIVEN:
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
        if following in seen:
            raise _endless(about, "its cursors go round in a circle")
        seen.add(following)
        cursor = following
    raise _endless(about, f"{EMPTY_PAGES_FORGIVEN} empty pages in a row")


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
        with suppress(asyncio.CancelledError, Exception):  # its outcome is nobody's business any more
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


def rows_of(answer: Answer, about: Request, *keys: str) -> list[Any]:
    """The list in the answer: the body itself, or what stands under the first of ``keys``."""
    data = answer.data
    if keys and isinstance(data, Mapping):
        data = next((data[key] for key in keys if key in data), None)
    if isinstance(data, list):
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
    """The rows without those that stood on the page before and come again unchanged.

    A row inserted while the list is walked pushes others onto the next page. One that comes again *changed* is
    passed on: which of the two is right is not for a pager to say.
    """
    if before.keys().isdisjoint(_by_id(rows, key)):
        return rows
    return [row for row in rows if not (isinstance(row, dict) and before.get(str(row.get(key))) == row)]


def _by_id(rows: list[Any], key: str) -> Rows:
    return {str(row[key]): row for row in rows if isinstance(row, dict) and row.get(key)}


def _mark(rows: list[Any], key: str) -> int:
    """A page is known by its rows' ids; a row without one by all it says."""
    return hash(tuple([str(row.get(key) or row) if isinstance(row, dict) else str(row) for row in rows]))


def _endless(about: Request, what: str) -> FatalApiError:
    return FatalApiError(
        f"the list does not end: {what}.",
        about,
        fix="The other side misbehaves; nothing was changed. Try again later.",
    )
