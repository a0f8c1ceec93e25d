"""Lists with cursor paging: a cursor is the sort key of the last row, so a page costs the same anywhere."""

from __future__ import annotations

import base64
import binascii
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from sync_pipeline.sandbox.snapshots.entities import Entity
from sync_pipeline.sandbox.snapshots.problems import invalid_parameter
from sync_pipeline.sandbox.snapshots.validation import EPOCH, read_instant

DEFAULT_LIMIT = 100


@dataclass(frozen=True, slots=True)
class ListQuery:
    """One list request, understood: which rows, in which order, after which."""

    limit: int
    updated_since: int | None = None
    start_from: int | None = None
    start_before: int | None = None
    after: tuple[Any, ...] | None = None

    @property
    def order(self) -> tuple[str, ...]:
        """The columns the list is sorted by: those of the index that answers it."""
        if self.start_from is not None or self.start_before is not None:
            return ("start_ms", "id")
        return ("id",) if self.updated_since is None else ("updated_us", "id")


def read_query(entity: Entity, params: Mapping[str, str], cap: int) -> ListQuery:
    """The query parameters of a list, or a 400 that names the wrong one."""
    windowed = entity.window_field is not None
    query = ListQuery(
        limit=read_limit(params.get("limit"), cap),
        updated_since=_instant(params, "updated_since", timedelta(microseconds=1)),
        start_from=_instant(params, "start_from", timedelta(milliseconds=1)) if windowed else None,
        start_before=_instant(params, "start_before", timedelta(milliseconds=1)) if windowed else None,
    )
    after = read_cursor(params.get("cursor"), query.order)
    return ListQuery(query.limit, query.updated_since, query.start_from, query.start_before, after)


def read_limit(text: str | None, cap: int) -> int:
    """``limit``: 1 to ``cap``, 100 when absent."""
    if text is None:
        return min(DEFAULT_LIMIT, cap)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= cap:
        raise invalid_parameter("limit", f"must be a whole number from 1 to {cap}")
    return int(text)


def list_page(db: sqlite3.Connection, entity: Entity, query: ListQuery) -> bytes:
    """One page as a JSON body, joined from stored bodies without looking into them."""
    order = ", ".join(query.order)
    where, values = _conditions(entity, query)
    rows = db.execute(
        f"SELECT body, {order} FROM snapshots_records WHERE {where} ORDER BY {order} LIMIT ?",
        (*values, query.limit + 1),
    ).fetchall()
    more = len(rows) > query.limit
    page = rows[: query.limit]
    cursor = write_cursor(query.order, tuple(page[-1])[1:]) if more else None
    return page_body([row[0] for row in page], cursor)


def page_body(bodies: list[bytes], cursor: str | None) -> bytes:
    """The envelope every list of this API comes in."""
    return b'{"data":[' + b",".join(bodies) + b'],"next_cursor":' + orjson.dumps(cursor) + b"}"


def write_cursor(order: tuple[str, ...], position: tuple[Any, ...]) -> str:
    """An opaque cursor that continues after ``position``."""
    return base64.urlsafe_b64encode(orjson.dumps([list(order), list(position)])).rstrip(b"=").decode()


def read_cursor(text: str | None, order: tuple[str, ...]) -> tuple[Any, ...] | None:
    """The position in a cursor of a list sorted by ``order``."""
    if text is None:
        return None
    try:
        made_for, position = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
        types = [str if column in {"id", "month", "project_id"} else int for column in order]
        fits = made_for == list(order) and [type(value) for value in position] == types
    except (binascii.Error, ValueError, TypeError):
        fits = False
    if not fits:
        raise invalid_parameter("cursor", "is not a cursor of this list; start again without one")
    return tuple(position)


def _conditions(entity: Entity, query: ListQuery) -> tuple[str, list[Any]]:
    terms, values = ["entity = ?"], [entity.name]
    for column, comparison, bound in (
        ("updated_us", ">=", query.updated_since),
        ("start_ms", ">=", query.start_from),
        ("start_ms", "<", query.start_before),
    ):
        if bound is not None:
            terms.append(f"{column} {comparison} ?")
            values.append(bound)  # type: ignore[arg-type]
    if query.after is not None:
        terms.append(f"({', '.join(query.order)}) > ({', '.join('?' * len(query.order))})")
        values.extend(query.after)
    return " AND ".join(terms), values


def _instant(params: Mapping[str, str], name: str, unit: timedelta) -> int | None:
    text = params.get(name)
    if text is None:
        return None
    try:
        instant: datetime = read_instant(text)
    except (ValueError, OverflowError) as error:
        raise invalid_parameter(name, str(error)) from None
    return (instant - EPOCH) // unit
