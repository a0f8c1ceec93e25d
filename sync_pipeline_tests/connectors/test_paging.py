"""Pagers stop, whatever the target does, and lose nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipeline.connectors import paging
from sync_pipeline.connectors.answers import Answer
from sync_pipeline.connectors.paging import (
    REPEATS_FORGIVEN,
    SHIFTS_FOLLOWED,
    Page,
    ahead,
    by_cursor,
    by_number,
    rows_of,
    unshifted,
)
from sync_pipeline.errors import FatalApiError, Request
from sync_pipeline_tests.connectors.clients import run

ABOUT = Request("Clockify", "GET", "/things")


def rows(first: int, count: int) -> list[dict[str, Any]]:
    """``count`` records from ``first`` on."""
    return [{"id": f"r{number}"} for number in range(first, first + count)]


async def everything(pages: AsyncIterator[list[Any]]) -> list[Any]:
    """All rows of all pages."""
    return [row async for page in pages for row in page]


def numbered(total: int, size: int, *, says_last: bool, asked: list[int]) -> Callable[[int], Awaitable[Page]]:
    """A well-behaved list."""

    async def get(number: int) -> Page:
        asked.append(number)
        found = rows((number - 1) * size, min(size, max(total - (number - 1) * size, 0)))
        return Page(found, number * size >= total if says_last else None)

    return get


@given(st.integers(0, 25), st.integers(1, 7), st.booleans())
def test_numbered_pages_are_read_once_and_none_beyond_the_last(total: int, size: int, says_last: bool) -> None:
    """Every row arrives once; with Last-Page no request goes beyond the last page, without it at most one."""
    asked: list[int] = []
    found = run(everything(by_number(numbered(total, size, says_last=says_last, asked=asked), about=ABOUT, size=size)))
    assert found == rows(0, total)
    needed = max(1, -(-total // size))
    assert asked == list(range(1, len(asked) + 1))
    assert len(asked) == needed if says_last else needed <= len(asked) <= needed + 1


def test_a_server_that_cuts_pages_loses_nothing() -> None:
    """Asked for 1,000 but given 200 a page, silently about the last page, the walk continues to its end."""
    asked: list[int] = []
    get = numbered(450, 200, says_last=False, asked=asked)
    assert run(everything(by_number(get, about=ABOUT, size=1000))) == rows(0, 450)
    assert asked == [1, 2, 3]


def test_a_list_that_ignores_paging_is_read_once() -> None:
    """An endpoint that always answers with everything, without stating it, is not an error."""

    async def get(_number: int) -> Page:
        return Page(rows(0, 250))

    assert run(everything(by_number(get, about=ABOUT, size=200))) == rows(0, 250)


@pytest.mark.parametrize(("asked", "most"), [(200, 10_000), (5_000, 50_000), (0, 10_000)])
def test_a_page_of_far_more_rows_than_asked_for_is_refused(asked: int, most: int) -> None:
    """A list in one page is accepted up to a limit; the message names path and counts."""

    def taken(count: int) -> int:
        return len(rows_of(Answer(200, {}, {"items": rows(0, count)}), ABOUT, "items", asked=asked))

    assert taken(most) == most
    with pytest.raises(FatalApiError) as caught:
        taken(most + 1)
    wanted = f" where {asked:,} were asked for" if asked else ""
    assert str(caught.value) == (
        f"Clockify GET /things: the answer holds {most + 1:,} rows{wanted}; more than {most:,} are not taken. "
        "Check the base URL: is this the right API?"
    )


@pytest.mark.parametrize("name", ["id", "name"])
def test_a_row_that_cannot_be_written_out_is_no_crash(name: str) -> None:
    """Nested deeper than it can be written out, with an id or without one: it arrives like any other row."""
    row = orjson.loads(b'{"%s":%s}' % (name.encode(), b"[" * 1000 + b"]" * 1000))

    async def get(_number: int) -> Page:
        return Page([row], True)

    assert len(run(everything(by_number(get, about=ABOUT, size=1)))) == 1


def test_a_page_repeated_once_is_asked_for_again() -> None:
    """When page 2 shows page 1 again, the true page 2 is still read."""
    asked: list[int] = []
    honest = numbered(6, 2, says_last=True, asked=asked)

    async def get(number: int) -> Page:
        page = await honest(number)
        return Page(rows(0, 2), False) if asked.count(2) == 1 and number == 2 else page

    assert run(everything(by_number(get, about=ABOUT, size=2))) == rows(0, 6)


@pytest.mark.parametrize("period", [1, 3])
def test_a_page_that_repeats_forever_is_an_error(period: int) -> None:
    """A list that goes round in circles ends with an error instead of never."""
    asked: list[int] = []

    async def get(number: int) -> Page:
        asked.append(number)
        return Page(rows((number - 1) % period * 2, 2), False)

    with pytest.raises(FatalApiError, match="the list does not end: page"):
        run(everything(by_number(get, about=ABOUT, size=2)))
    assert len(asked) <= period + REPEATS_FORGIVEN + 1


def test_rows_pushed_onto_the_next_page_arrive_once() -> None:
    """A row that comes again unchanged on the next page is dropped; one that changed meanwhile is passed on."""
    pages = [
        Page([{"id": "a"}, {"id": "b", "x": 1}, {"id": None}], False),
        Page([{"id": "b", "x": 1}, {"id": None}], False),
        Page([{"id": "b", "x": 2}], True),
    ]

    async def get(number: int) -> Page:
        return pages[number - 1]

    found = run(everything(by_number(get, about=ABOUT, size=2)))
    assert found == [{"id": "a"}, {"id": "b", "x": 1}, {"id": None}, {"id": None}, {"id": "b", "x": 2}]


@given(
    st.integers(0, 25),
    st.integers(1, 5),
    st.booleans(),
    st.dictionaries(st.integers(0, 40), st.integers(0, 24), max_size=SHIFTS_FOLLOWED - 1),
)
def test_rows_pulled_onto_an_earlier_page_are_not_lost(
    total: int, size: int, says_last: bool, removals: dict[int, int]
) -> None:
    """Rows are removed before any of the requests: each that stays arrives, and one page costs one request."""
    there, asked = rows(0, total), list[int]()

    async def get(number: int) -> Page:
        if there and (place := removals.get(len(asked))) is not None:
            there.pop(place % len(there))
        asked.append(number)
        found = there[(number - 1) * size : number * size]
        return Page(found, number * size >= len(there) if says_last else None)

    found = run(everything(by_number(unshifted(get), about=ABOUT, size=size)))
    assert {row["id"] for row in found} >= {row["id"] for row in there}
    if says_last and total <= size:
        assert asked == [1]


def test_a_page_repeated_once_by_a_shifting_list_is_asked_for_again() -> None:
    """The two precautions do not disturb each other."""
    asked: list[int] = []
    honest = numbered(6, 2, says_last=True, asked=asked)

    async def get(number: int) -> Page:
        page = await honest(number)
        return Page(rows(0, 2), False) if asked.count(2) == 1 and number == 2 else page

    assert run(everything(by_number(unshifted(get), about=ABOUT, size=2))) == rows(0, 6)


@given(st.lists(st.integers(0, 3), max_size=8))
def test_cursors_are_followed_to_their_end(sizes: list[int]) -> None:
    """Every row of every page arrives, empty pages in between included."""
    total = 0
    pages = []
    for size in sizes:
        pages.append(rows(total, size))
        total += size
    pages = pages or [[]]

    async def get(cursor: str | None) -> tuple[list[Any], str | None]:
        at = int(cursor or 0)
        return pages[at], str(at + 1) if at + 1 < len(pages) else None

    assert run(everything(by_cursor(get, about=ABOUT))) == rows(0, total)


@pytest.mark.parametrize("kind", ["same cursor", "same rows", "nothing"])
def test_endless_cursors_are_an_error(kind: str) -> None:
    """Cursors in a circle, the same rows under new cursors, and empty pages forever all end with an error."""
    turn = 0

    async def get(_cursor: str | None) -> tuple[list[Any], str | None]:
        nonlocal turn
        turn += 1
        return {
            "same cursor": (rows(turn, 1), "c"),
            "same rows": (rows(0, 1), f"c{turn}"),
            "nothing": ([], f"c{turn}"),
        }[kind]

    with pytest.raises(FatalApiError, match="the list does not end"):
        run(everything(by_cursor(get, about=ABOUT)))
    assert turn < 200


def test_a_list_without_an_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """New rows under new cursors without end; a cursor that fits into no address; pages that are never short."""
    assert paging.MOST_PAGES == 200_000
    monkeypatch.setattr(paging, "MOST_PAGES", 2_000)

    async def always(cursor: str | None) -> tuple[list[Any], str | None]:
        return rows(int(cursor or 0), 1), str(int(cursor or 0) + 1)

    async def long(_cursor: str | None) -> tuple[list[Any], str | None]:
        return rows(0, 1), "c" * 5000

    async def numbered(number: int) -> Page:
        return Page(rows(number, 1))

    for pages in (
        by_cursor(always, about=ABOUT),
        by_cursor(long, about=ABOUT),
        by_number(numbered, about=ABOUT, size=1),
    ):
        with pytest.raises(FatalApiError, match=r"the list does not end: (no end after 2,000 pages|a cursor of 5,000)"):
            run(count(pages))


async def count(pages: AsyncIterator[list[Any]]) -> int:
    """How many rows there are; none is kept."""
    return sum([len(page) async for page in pages])


def test_the_next_page_is_asked_for_while_the_caller_works() -> None:
    """When a page is handed over, the request for the next one has been sent already - but not the one after."""
    sent: list[int] = []

    async def pages() -> AsyncIterator[int]:
        for number in range(4):
            sent.append(number)
            await asyncio.sleep(0)
            yield number

    async def work() -> list[tuple[int, int]]:
        async with aclosing(ahead(pages())) as waiting:
            return [(number, len(sent)) async for number in waiting]

    assert run(work()) == [(0, 2), (1, 3), (2, 4), (3, 4)]


def test_stopping_early_leaves_nothing_behind() -> None:
    """A caller that stops, or an error in a page, closes the walk without a task left over."""
    closed: list[bool] = []

    async def pages() -> AsyncIterator[int]:
        try:
            for number in range(9):
                yield number
                if number == 2:
                    raise RuntimeError("page 3")
        finally:
            closed.append(True)

    async def stop() -> int:
        async with aclosing(ahead(pages())) as waiting:
            async for number in waiting:
                return number
        return -1

    async def fail() -> None:
        async with aclosing(ahead(pages())) as waiting:
            async for _ in waiting:
                pass

    async def work() -> int:
        first = await stop()
        with pytest.raises(RuntimeError, match="page 3"):
            await fail()
        return first + len(asyncio.all_tasks())

    assert run(work()) == 1
    assert closed == [True, True]
