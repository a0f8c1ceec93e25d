"""Sending one operation of the catalogue, and reading its lists page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from sync_pipeline.connectors.answers import CODE, Answer, as_text, excerpt
from sync_pipeline.connectors.http import ApiClient, RequestOptions
from sync_pipeline.errors import ConfigError, FatalApiError, Request
from sync_pipeline.operations.inputs import COUNTED, CURSORS, PAGE_SIZE, OperationCall, WrongInputs

MOST_ROWS = 100_000


async def send(client: ApiClient, form: OperationCall, *, may_be_missing: bool = False) -> Answer:
    """Send it; a write is sent once."""
    one = form.operation
    writes = one.kind != "read"
    options = RequestOptions(
        idempotent=not writes,
        writes=writes,
        may_be_missing=may_be_missing,
        scope=one.scope,
        headers={"Version": one.version} if one.version else None,
    )
    return await client.request(one.method, one.path, ids=form.ids, params=form.query, json=form.body, options=options)


async def pages(client: ApiClient, form: OperationCall) -> AsyncGenerator[list[Any], None]:
    """The rows of a list, page by page; ConfigError when it has no pages."""
    first, moves, size = _first_page(form)
    leaf = moves.rpartition(".")[2]
    form, number, count, before = first, 1, 0, None
    while True:
        answer = await send(client, form)
        rows = rows_of(answer.data)
        if count and rows and rows == before:
            if len(rows) < size:  # all of them: it has no pages
                return
            raise FatalApiError("every page is the same, so its end cannot be found.", about(client, form))
        yield rows
        count, before = count + len(rows), rows
        if _is_last(answer.data, rows, size, count):
            return
        if count >= MOST_ROWS:
            raise ConfigError(f"There are more than {MOST_ROWS} rows.", fix="Limit the list with its inputs.")
        number += 1
        after = form.after(rows, answer.data.get("meta") if isinstance(answer.data, dict) else None)
        if after is None and leaf in CURSORS:  # nothing says where the next page begins
            return
        form = after or first.changed(moves, count if leaf in COUNTED else number)


async def only_page(client: ApiClient, form: OperationCall) -> list[Any] | None:
    """All rows of a list, for one request; None when there are more than a page holds."""
    if form.paged is None:
        return rows_of((await send(client, form)).data)
    first, _, size = _first_page(form)
    answer = await send(client, first)
    rows = rows_of(answer.data)
    return rows if _is_last(answer.data, rows, size, len(rows)) else None


def _first_page(form: OperationCall) -> tuple[OperationCall, str, int]:
    """The first page of a list, the input that moves from page to page, and how many rows a page has."""
    if form.paged is None:
        raise ConfigError(f"{form.operation.name} has no pages.", fix="Run it without --all.")
    moves, sized = form.paged
    size = _page_size(form, sized)
    first, leaf = form.changed(sized, size), moves.rpartition(".")[2]
    return first if leaf in CURSORS else first.changed(moves, 0 if leaf in COUNTED else 1), moves, size


def _is_last(data: Any, rows: list[Any], size: int, count: int) -> bool:
    is_short = len(rows) < min(size, PAGE_SIZE)  # what is asked for beyond that may be more than a page can hold
    return not rows or (is_short and count >= _total(data))


def about(client: ApiClient, form: OperationCall) -> Request:
    """The request that an error of this operation names."""
    return Request(client.endpoint.system, form.operation.method, form.operation.path)


def rows_of(data: Any) -> list[Any]:
    """The rows of an answer: a list, the list in an object, or the object itself where it is a record."""
    if isinstance(data, list):
        return data
    if not isinstance(data, dict):
        return [] if data is None else [{"answer": data}]
    if "id" in data or not data:
        return [data] if data else []
    lists = {name: each for name, each in data.items() if isinstance(each, list)}
    inner = [each for each in data.values() if lists and isinstance(each, dict) and "id" not in each]
    lists |= {f"{name} inside": each for one in inner for name, each in one.items() if isinstance(each, list)}
    found = [each for name, each in lists.items() if "total" not in name.lower()]  # sums beside the rows
    return next(iter(found or lists.values()), [data])


def _total(data: Any) -> int:
    """How many rows there are, if an answer contains it: its pages may be smaller than requested."""
    meta = data.get("meta") if isinstance(data, dict) else None
    said = [each.get("total") for each in (data, meta) if isinstance(each, dict)]
    return max((each for each in said if isinstance(each, int)), default=0)


def id_of(data: Any) -> str | None:
    """The id in an answer, or in the only object that it holds."""
    if isinstance(data, dict):
        inner = [each for each in data.values() if isinstance(each, dict)]
        found = data.get("id") or next((each["id"] for each in inner if each.get("id")), None)
        return None if found is None else excerpt(as_text(found), CODE)
    return None


def _page_size(form: OperationCall, name: str) -> int:
    value = form.value(name)
    try:
        size = PAGE_SIZE if value is None else int(value)
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        raise WrongInputs(form.operation.name, [f"{name}: {value!r} is not the size of a page"])
    return size
