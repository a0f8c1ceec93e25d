"""The search over the records of an object: reading all of them, and finding some by their keys.

The search lags, and nothing proves that it honours its filters: each row is compared with what was asked for, and a
list that holds fewer rows than it says is never believed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from sync_pipeline.connectors.answers import as_text
from sync_pipeline.connectors.paging import MOST_PAGES, Record, as_record, rows_of
from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import FatalApiError, Request

if TYPE_CHECKING:
    from sync_pipeline.connectors.highlevel.account import HighLevel

TRY_LATER = "Nothing was changed. Try again later."
OLDEST_FIRST = [{"field": "createdAt", "direction": "asc"}]


@dataclass(frozen=True, slots=True)
class Search:
    """The records of one entity's object, as the search shows them."""

    account: HighLevel
    entity: str
    key: str

    async def read(self, filters: list[Any]) -> AsyncGenerator[list[Record], None]:
        """Every record that the filters let through, once; read again when there should be more, FatalApiError when it stays so."""
        seen, total = set[int](), 0
        for _ in range(2):
            met = set[int]()  # each pass notices by itself that a page is repeated
            async with aclosing(self._pages(filters, met)) as pages:
                async for rows, said in pages:
                    total = said
                    if fresh := [row for row in rows if _number(row) not in seen]:
                        yield fresh
            seen = seen | met if seen else met
            if len(seen) >= total:
                return
        raise FatalApiError(
            f"the list is incomplete: it should hold {total:,} records and holds {len(seen):,}.",
            self._about(),
            fix=TRY_LATER,
        )

    async def by_keys(self, keys: Sequence[str]) -> list[Record]:
        """Every record with one of these keys."""
        read_at, whole = self.account.whole.get(self.entity, (0.0, None))
        if whole is None or monotonic() - read_at >= self.account.profile.objects.find_lag_seconds:
            if (filtered := await self._filtered(keys)) is not None:
                return filtered
            whole = await self._read_whole()
        ids = [record_id for key in keys for record_id in whole.get(key, ())]
        read = [await self.account.record(self.entity, record_id) for record_id in ids]
        return [row for row in read if row is not None and self.key_of(row) in keys]

    async def _filtered(self, keys: Sequence[str]) -> list[Record] | None:
        """The same by filters; None where they are ignored, or find nothing that is there."""
        found, size = list[Record](), self.account.profile.objects.keys_per_find
        for start in range(0, len(keys), size):
            async with aclosing(self.read(self._with_keys(keys[start : start + size]))) as pages:
                async for rows in pages:
                    if any(self.key_of(row) not in keys for row in rows):
                        return None
                    found += rows
        if found:
            self.account.filtering.add(self.entity)
        return found if self.entity in self.account.filtering or await self._finds_the_first() else None

    async def _finds_the_first(self) -> bool:
        """Whether a filter finds the first record that has a key; true without any: then there is nothing to be found."""
        async with aclosing(self._pages([], set())) as pages:
            async for rows, _ in pages:
                if key := next(filter(None, map(self.key_of, rows)), ""):
                    async with aclosing(self.read(self._with_keys([key]))) as found:
                        return any([row async for page in found for row in page if self.key_of(row) == key])
        return True

    def _with_keys(self, keys: Sequence[str]) -> list[Any]:
        filters = [{"field": f"properties.{self.key}", "operator": "eq", "value": key} for key in keys]
        return [{"group": "OR", "filters": filters}]

    def key_of(self, row: Mapping[str, Any]) -> str:
        """The key of a record, under its bare or its full name."""
        found = properties_of(row)
        return next((as_text(value) for name, value in found.items() if name.rpartition(".")[2] == self.key), "")

    async def _read_whole(self) -> dict[str, list[str]]:
        """The ids of all records by key: where filters are ignored, an empty answer proves nothing."""
        whole: dict[str, list[str]] = {}
        async with aclosing(self.read([])) as pages:
            async for rows in pages:
                for row in rows:
                    whole.setdefault(self.key_of(row), []).append(as_text(row.get("id")))
        self.account.whole[self.entity] = monotonic(), whole
        return whole

    async def _pages(self, filters: list[Any], met: set[int]) -> AsyncGenerator[tuple[list[Record], int], None]:
        """New rows page by page with how many there are in all; ends with a page that has nothing new, or is the last."""
        size = longest = self.account.profile.objects.page_size
        after = list[Any]()
        for number in range(1, MOST_PAGES):
            more = {"filters": filters} if filters else {}
            place = {"searchAfter": after} if after else {"page": number}
            answer = await self.account.search(self.entity, limit=size, sort=OLDEST_FIRST, **more, **place)
            rows = [as_record(row) for row in rows_of(answer, self._about(), "records", asked=size)]
            for row in rows:
                self.account.refuse_nameless(row, self._about())
                self.account.refuse_other(row.get("locationId"), self.account.location, self._about())
            fresh = [row for row in rows if _number(row) not in met]
            before = len(met)
            met.update(map(_number, fresh))
            said = answer.data.get("total") if isinstance(answer.data, dict) else None
            total = said if isinstance(said, int) else None
            yield fresh, total or 0
            if not rows or (total is not None and len(met) >= total and len(rows) < longest):
                return  # a full page is never the last: some searches count only so far, or give shorter pages
            longest = len(rows) if number == 1 else max(longest, len(rows))
            if len(met) == before:
                if total is None or len(met) >= total:  # what is behind the repeated page is unknown
                    raise FatalApiError("the list repeats a page.", self._about(), fix=TRY_LATER)
                return
            cursor = rows[-1].get("searchAfter") or rows[-1].get("sort")
            after = cursor if isinstance(cursor, list) else []
        raise FatalApiError("the list does not end.", self._about(), fix=TRY_LATER)

    def _about(self) -> Request:
        return Request(self.account.profile.system, "POST", self.account.path(self.entity, "/search"))


def _number(row: Record) -> int:
    """What a record is remembered by: less than its id takes."""
    return hash(as_text(row.get("id")))


def properties_of(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The properties of a record; none where it has no such object."""
    found = row.get("properties")
    return found if isinstance(found, dict) else {}


def days_of(window: Window, field: str) -> list[Any]:
    """The filter for the days that a window touches; its instants are cut exactly afterwards."""
    value = {"gte": window.start.date().isoformat(), "lte": window.end.date().isoformat()}
    return [{"group": "AND", "filters": [{"field": f"properties.{field}", "operator": "range", "value": value}]}]
