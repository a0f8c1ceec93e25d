"""What the vendor's documents leave open, measured at one object with two records that are deleted again."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sync_pipeline.connectors.answers import as_text
from sync_pipeline.connectors.highlevel.fields import by_bare_keys
from sync_pipeline.connectors.highlevel.schema import NeededObject
from sync_pipeline.connectors.highlevel.search import properties_of
from sync_pipeline.connectors.http import RequestOptions
from sync_pipeline.connectors.paging import Record
from sync_pipeline.errors import ApiError, NotAuthorized, RejectedRecord

if TYPE_CHECKING:
    from sync_pipeline.connectors.highlevel.account import HighLevel

MARK = "sync-pipeline-canary-"
WAITS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""The pauses before the searches; together a minute."""
SHORT_WAITS = WAITS[:4]
"""Before a record is created with the key of a deleted one."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a location treats the records of one object."""

    unique: bool
    """Whether a second record with the same key is refused."""
    merge: bool
    """Whether a change leaves the fields that it does not name."""
    is_current: bool
    """Whether a record can be read by its id immediately after it is created."""
    index_lag: float | None
    """After how many seconds the search shows a new record; None when it does not within a minute."""
    deleted_blocks: bool | None
    """Whether a deleted record still blocks its key; None where keys are not unique."""
    words: Mapping[str, str]
    """The texts of the refusals."""
    source_id: str = ""
    """What HighLevel says made the records that are made here; "" where it does not say, or something else of each."""

    def document(self) -> dict[str, Any]:
        """The facts in the form in which they are stored."""
        return {**asdict(self), "words": dict(self.words)}


@dataclass(slots=True)
class Canary:
    """Measures one object; what it makes there it deletes, also what an earlier one that was killed left."""

    there: HighLevel
    _made: list[str] = field(default_factory=list)
    _authors: set[str] = field(default_factory=set)

    async def measure(self, one: NeededObject) -> Behaviour:
        """Everything about one object. RejectedRecord when it takes no records at all."""
        for row in await self._found(one, MARK, "contains"):
            self._made.append(as_text(row.get("id")))
        await self._clean(one)
        self._authors.clear()
        try:
            found = await self._measure(one, MARK + secrets.token_hex(6))
            return replace(found, source_id=self._authors.pop() if len(self._authors) == 1 else "")
        finally:
            with suppress(ApiError):  # the next one deletes them
                await self._clean(one)

    async def _measure(self, one: NeededObject, key: str) -> Behaviour:
        words: dict[str, str] = {}
        first, at = await self._create(one, key), time.monotonic()
        is_current = await self.there.record(one.entity, first) is not None
        twice = await self._refusal(one, key)
        merges = await self._merges(one, first, key)
        lag = await self._lag(one, key, at)
        await self._clean(one)
        words["deleted"] = await self._words_of_deleted(one, first)
        if twice is None:
            return Behaviour(False, merges, is_current, lag, None, words)
        words["same key"] = twice
        again = await self._refusal_after_delete(one, key)
        if again is not None:
            words["key of a deleted record"] = again
        return Behaviour(True, merges, is_current, lag, again is not None, words)

    async def _create(self, one: NeededObject, key: str) -> str:
        title, id_field = one.fields[0].key, one.fields[1].key
        row = await self.there.create(one.entity, {title: MARK.rstrip("-"), id_field: key})
        self._made.append(as_text(row.get("id")))
        return self._made[-1]

    async def _refusal(self, one: NeededObject, key: str) -> str | None:
        """The refusal of one more record with this key; None if it is created."""
        try:
            await self._create(one, key)
        except RejectedRecord as refusal:
            return _words(refusal)
        return None

    async def _refusal_after_delete(self, one: NeededObject, key: str) -> str | None:
        said: str | None = None
        for wait in SHORT_WAITS:
            await self.there.sleep(wait)
            said = await self._refusal(one, key)
            if said is None:
                break
        return said

    async def _merges(self, one: NeededObject, record: str, key: str) -> bool:
        """Whether a change of one field leaves the others unchanged."""
        title, changed = one.fields[0].key, f"{MARK}changed"
        await self.there.change(one.entity, record, {title: changed})
        found = _bare(await self.there.record(one.entity, record) or {})
        return (found.get(title), found.get(one.fields[1].key)) == (changed, key)

    async def _lag(self, one: NeededObject, key: str, at: float) -> float | None:
        """After how many seconds the search shows a record; None when it does not within a minute."""
        waited = 0.0
        for wait in WAITS:
            await self.there.sleep(wait)
            waited += wait
            if rows := await self._found(one, key, "eq"):
                self._authors.update(author_of(row) for row in rows)
                return round(max(time.monotonic() - at, waited), 1)
        return None

    async def _found(self, one: NeededObject, key: str, operator: str) -> list[Record]:
        """The records that the search shows of this key, looked through once more by us."""
        name = one.fields[1].key
        wanted = {"field": f"properties.{name}", "operator": operator, "value": key}
        filters = [{"group": "AND", "filters": [wanted]}]
        answer = await self.there.search(one.entity, limit=self.there.profile.objects.page_size, filters=filters)
        rows = answer.data.get("records", []) if isinstance(answer.data, dict) else []
        return [row for row in rows if as_text(_bare(row).get(name, "")).startswith(key)]

    async def _words_of_deleted(self, one: NeededObject, record: str) -> str:
        """The answer about a record that was deleted."""
        options = RequestOptions(scope=self.there.profile.scope(one.entity))
        path = self.there.path(one.entity, "/{id}")
        try:
            await self.there.send(self.there.home, "GET", path, {"id": record}, options=options)
        except NotAuthorized:
            raise
        except ApiError as refusal:
            return _words(refusal)
        return "it is still shown"

    async def _clean(self, one: NeededObject) -> None:
        while self._made:
            await self.there.delete(one.entity, self._made[-1])
            self._made.pop()


def author_of(row: Mapping[str, Any]) -> str:
    """The id of what created a record, as its row in the search says; "" where it does not."""
    author = row.get("createdBy")
    return as_text(author.get("sourceId") or "") if isinstance(author, dict) else ""


def _words(refusal: ApiError) -> str:
    return f"{refusal.request.status}: {refusal.request.excerpt}"


def _bare(row: object) -> dict[str, Any]:
    """The properties of a record by their keys without a prefix."""
    return by_bare_keys(properties_of(row)) if isinstance(row, dict) else {}
