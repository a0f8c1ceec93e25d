"""Clockify as a source: time entries by the cheaper reader, and anything that is listed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sync_pipeline.connectors.answers import record_of
from sync_pipeline.connectors.clockify.canonical import from_list, needs_field_names
from sync_pipeline.connectors.clockify.changes import KINDS, ChangeFeed
from sync_pipeline.connectors.clockify.entries import ReaderSetting, choose, complete
from sync_pipeline.connectors.http import RequestOptions
from sync_pipeline.connectors.limiter import OnTurn
from sync_pipeline.connectors.paging import Record, ahead, as_record, rows_of
from sync_pipeline.connectors.ports import Expected
from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import Request
from sync_pipeline.mapping.spec import SourceSpec

if TYPE_CHECKING:
    from sync_pipeline.connectors.clockify.api import Clockify

ENTRIES_READER = "time_entries"
USERS = "/workspaces/{workspace}/users"
NOT_CLOCKIFY = "Check CLOCKIFY_BASE_URL: is this Clockify's API?"


@dataclass(frozen=True, slots=True)
class ClockifySource:
    """One list of a workspace, or its time entries."""

    clockify: Clockify
    spec: SourceSpec
    parent: SourceSpec | None = None
    """Where the records are listed, one list for each."""
    notifies = True

    @property
    def is_entries(self) -> bool:
        """Whether these are time entries, which have readers of their own."""
        return self.spec.reader == ENTRIES_READER

    @property
    def needs_window(self) -> bool:
        """There is no list of a workspace's entries."""
        return self.is_entries

    @property
    def page_size(self) -> int:
        """The page size that is set, for the report as for lists."""
        return self.clockify.page_size

    @property
    def can_fetch(self) -> bool:
        """Whether the mapping names a path for one record."""
        return self.spec.item is not None

    @property
    def uses_expected(self) -> bool:
        """Only for entries, whose cheaper reader is chosen by it; there is no choice where the report is set as the reader."""
        return self.is_entries and self.clockify.setting != "report"

    @property
    def owner_list(self) -> str:
        """A read by id finds only the entries of people who are in the workspace."""
        return USERS if self.is_entries else ""

    @property
    def feed(self) -> ChangeFeed | None:
        """The changes of these records, where Clockify has such a feed."""
        kind = KINDS.get(ENTRIES_READER if self.is_entries else (self.spec.list or "").rpartition("/")[2])
        return self.clockify.changes(kind) if kind else None

    @property
    def reader(self) -> str:
        """The reader that was used last."""
        return self.clockify.reader if self.is_entries else "list"

    async def read(
        self, window: Window | None = None, *, expected: Expected | None = None
    ) -> AsyncGenerator[list[Record], None]:
        """All records, page by page, the next page being asked for while the caller works on this one."""
        if self.is_entries:
            if window is None:
                raise ValueError("Time entries are read for a window.")
            pages = self._entries(window, expected or Expected(), self.clockify.setting)
        else:
            pages = self._listed()
        async with aclosing(ahead(pages)) as waiting:
            async for page in waiting:
                yield page

    async def read_all(self, window: Window) -> AsyncGenerator[list[Record], None]:
        """The time entries of the window as the report has them, whatever reader is set."""
        async with aclosing(ahead(self._entries(window, Expected(), "report"))) as waiting:
            async for page in waiting:
                yield page

    async def sample(self, limit: int) -> list[Record]:
        """Some records for as few requests as can be: one, for time entries two at most."""
        if self.is_entries:
            return await self.clockify.entries().newest(limit)
        if self.parent:
            return await self._first(limit)
        path, query = self.spec.list or "", {**self.spec.params, "page": 1, "page-size": limit}
        answer = await self.clockify.core.request("GET", path, ids=self.clockify.ids(), params=query)
        return [as_record(row) for row in rows_of(answer, Request("Clockify", "GET", path), asked=limit)[:limit]]

    async def fetch(self, record_id: str, parent: str | None = None, on_turn: OnTurn | None = None) -> Record | None:
        """One record in the form ``read`` gives it; None only when Clockify says that it does not exist."""
        if self.spec.item is None:
            raise ValueError(f"{self.spec.list or self.spec.reader} has no read by id.")
        if self.parent and parent is None:
            return await self._found(record_id, on_turn)
        answer = await self.clockify.core.request(
            "GET",
            self.spec.item,
            ids=self.clockify.ids(id=record_id, parent=parent or ""),
            params={"hydrated": "true"} if self.is_entries else None,
            options=RequestOptions(may_be_missing=True, on_turn=on_turn),
        )
        if answer.missing:
            return None
        record = record_of(answer, Request("Clockify", "GET", self.spec.item), NOT_CLOCKIFY)
        if not self.is_entries:
            await self.clockify.names.learn(self.spec.item, [record])
            return record
        names = await self.clockify.field_names() if needs_field_names(record) else {}
        entry = from_list(record, self.clockify.account.workspace, names)
        await self.clockify.names.complete([entry])
        return entry

    async def prove_complete(self) -> frozenset[str] | None:
        """The members of the workspace, whose entries a read by id finds; for lists, checks that the key is an admin's."""
        if self.is_entries:
            return frozenset(await self.clockify.user_ids())  # only an admin may read it
        await self.clockify.prove_admin()
        return None

    async def probe(self, window: Window, user: str) -> None:
        """Request one record at most, to see whether reading is allowed; ``user`` is the user whose entries to request."""
        if self.is_entries:
            entries = replace(self.clockify.entries(), page_size=1)
            await entries.probe(window, "users" if self.clockify.setting == "users" else "report", user)
            return
        if self.parent:
            await self._first(1)
            return
        params = {**self.spec.params, "page": 1, "page-size": 1}
        await self.clockify.core.request("GET", self.spec.list or "", ids=self.clockify.ids(), params=params)

    async def _listed(self) -> AsyncIterator[list[Record]]:
        """One list, or that of each parent; one that was deleted meanwhile has none."""
        path, params = self.spec.list or "", self.spec.params
        if self.parent is None:
            async for page in self.clockify.list(path, params):
                yield page
            return
        async for parents in ClockifySource(self.clockify, self.parent).read():
            for parent in parents:
                ids = {"parent": str(parent[self.parent.id])}
                async for page in self.clockify.list(path, params, ids, may_be_missing=True):
                    yield page

    async def _first(self, limit: int) -> list[Record]:
        """Some records of the first parents that have any."""
        found: list[Record] = []
        async with aclosing(self.read()) as pages:
            async for page in pages:
                found += page
                if len(found) >= limit:
                    break
        return found[:limit]

    async def _found(self, record_id: str, on_turn: OnTurn | None) -> Record | None:
        """A record without a known parent, from the lists."""
        if on_turn is not None:
            await on_turn()
        async with aclosing(self.read()) as pages:
            async for page in pages:
                for record in page:
                    if str(record.get(self.spec.id)) == record_id:
                        return record
        return None

    async def _entries(self, window: Window, expected: Expected, setting: ReaderSetting) -> AsyncIterator[list[Record]]:
        clockify = self.clockify
        choice, listed = choose(window, expected, setting, clockify.page_size), list[str]()
        if choice.reader == "users":
            listed = await clockify.user_ids()
            choice = complete(choice, expected, listed) if setting == "auto" else choice
        if setting == clockify.setting:
            clockify.reader = choice.reader
            if clockify.on_choice:
                clockify.on_choice(choice)
        former = expected.users.difference(listed)  # some of them may still have a list of their own
        users = dict.fromkeys([*listed, *sorted(former)])
        async for page in clockify.entries().read(window, choice.reader, users, former):
            yield page
