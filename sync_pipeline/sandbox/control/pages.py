"""Lists that change while they are read: which page a request asks for, and pages repeated or shifted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson

PAGE_NAMES = frozenset({"page", "cursor", "skip", "searchAfter", "startAfter", "startAfterId"})
FIRST = frozenset({"", "0", "1", "[]"})


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for a page: the list it is about, and whether it is the list's first page."""

    key: str
    first: bool


def asked_page(method: str, path: str, query: bytes, body: bytes) -> Asked:
    """What a request asks for, from its query string or its JSON body."""
    params = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    pages = [value for name, value in params if name in PAGE_NAMES]
    rest = sorted((name, value) for name, value in params if name not in PAGE_NAMES)
    try:
        content = _without_page(orjson.loads(body), pages) if body else None
    except orjson.JSONDecodeError:
        content = None
    first = all(page in FIRST for page in pages)
    return Asked(orjson.dumps([method, path, rest, content], option=orjson.OPT_SORT_KEYS).decode(), first)


def _without_page(value: Any, pages: list[str]) -> Any:
    """``value`` without its page numbers, which are added to ``pages``."""
    if not isinstance(value, dict):
        return value
    pages.extend(str(value[name]) for name in PAGE_NAMES & value.keys())
    return {name: _without_page(inner, pages) for name, inner in value.items() if name not in PAGE_NAMES}


def rows_of(content: Any) -> list[Any] | None:
    """The rows of an answered page, for changing in place: the body itself or its first list of objects."""
    if isinstance(content, list):
        return content
    if isinstance(content, dict):
        for value in content.values():
            if isinstance(value, list) and value and isinstance(value[0], dict):
                return value
    return None


def shift(content: Any, previous_last: Any, headers: Mapping[bytes, bytes]) -> Any:
    """The page after a row was inserted before it: one row is repeated, everything moves down.

    The row that falls off the end opens the next page. On the last page it stays: no later page would show it, and
    a fault must not hide a record from a client that reads correctly. Returns the previous last row.
    """
    rows = rows_of(content)
    if not rows:
        return None
    last = rows[-1]
    if not _is_last(content, headers):
        rows.pop()
    rows.insert(0, previous_last)
    return last


def _is_last(content: Any, headers: Mapping[bytes, bytes]) -> bool:
    if b"last-page" in headers:
        return headers[b"last-page"].lower() == b"true"
    # HighLevel's pages do not state whether they are the last.
    return isinstance(content, dict) and (
        content.get("next_cursor", "") is None or not content.keys().isdisjoint({"locations", "records"})
    )
