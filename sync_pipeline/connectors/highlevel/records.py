"""Records of a custom object as the target of an entity: found by a key of ours, with ids that HighLevel gives out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sync_pipeline.connectors.answers import as_text
from sync_pipeline.connectors.highlevel.canary import MARK, author_of
from sync_pipeline.connectors.highlevel.fields import Properties
from sync_pipeline.connectors.highlevel.search import Search, days_of, properties_of
from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import AmbiguousWrite, RejectedRecord
from sync_pipeline.mapping.spec import EntitySpec

if TYPE_CHECKING:
    from sync_pipeline.connectors.highlevel.account import HighLevel

ID, CREATED, SOURCE, AUTHOR = "@id", "@created", "@source", "@author"
"""What a record is read with beside its properties: no field of a mapping can be called so."""
DELETED = "Delete"
"""What the kinds of events about deletions hold."""
KEY_TAKEN = "key_taken"
BY_API = "PUBLIC_API"
HIDDEN = "HighLevel says that it exists, but does not show it: it may be among the deleted records."


@dataclass(frozen=True, slots=True)
class HighLevelRecords:
    """The records of one entity."""

    account: HighLevel
    spec: EntitySpec
    assigns_ids: ClassVar[Literal[True]] = True
    takes_unknown_ids = True
    feed = None
    finds = True
    noun, label, unique_names, longest_name, id_field = "record", "HighLevel", False, 255, ID

    @property
    def key(self) -> tuple[str, ...]:
        """The field that holds our id."""
        return (self.spec.target.id,)

    @property
    def find_lag(self) -> float:
        """How long its search may not show a new record."""
        return self.account.profile.objects.find_lag_seconds

    @property
    def at_once(self) -> int:
        """Its keys are ids of the source: no two rows have the same."""
        return self.account.profile.objects.at_once

    @property
    def can_window(self) -> bool:
        """Whether records have the day of what they are partitioned by."""
        return self._day is not None

    async def read(self, window: Window | None = None) -> AsyncGenerator[list[Record], None]:
        """Every record (that starts in the window), page by page; none that a measurement left behind."""
        day = self._day
        filters = days_of(window, day) if window is not None and day is not None else []
        async with aclosing(self._search.read(filters)) as pages:
            async for rows in pages:
                kept = (row for row in rows if not self._search.key_of(row).startswith(MARK))
                found = [self._record(row) for row in kept]
                yield found if window is None else [row for row in found if self._is_in(window, row)]

    async def find(self, rows: Sequence[Mapping[str, Any]]) -> list[Record]:
        """Every record that has the key of one of these rows; of several with one key, the oldest comes last."""
        keys = list(dict.fromkeys(as_text(row[self.spec.target.id]) for row in rows if row.get(self.spec.target.id)))
        found = [self._record(row) for row in await self._search.by_keys(keys)]
        return sorted(found, key=lambda record: (record[CREATED], record[ID]), reverse=True)

    async def get(self, target_id: str) -> Record | None:
        """One record; None when it does not exist."""
        row = await self.account.record(self.spec.entity, target_id)
        return None if row is None else self._record(row)

    async def create(self, row: Mapping[str, Any]) -> Record:
        """Create a record. Never sent twice: AmbiguousWrite when it is unknown whether it arrived.

        One that is refused since there is one with its key is waited for, until the search shows that one.
        """
        sent = self._properties.written(row, new=True)
        try:
            made = await self._create(sent, await self.account.owners.of(self.spec.entity, row))
        except AmbiguousWrite:
            self.account.whole.pop(self.spec.entity, None)
            raise
        except RejectedRecord as error:
            self.account.whole.pop(self.spec.entity, None)
            if error.request.code == KEY_TAKEN and not await self._is_shown(row):
                raise RejectedRecord(HIDDEN, error.request) from None
            raise
        return self._record({**made, "properties": {**sent, **properties_of(made)}})

    async def update(self, target_id: str, row: Mapping[str, Any]) -> Record | None:
        """Change only these fields (None clears); None when the record does not exist."""
        shown = self._properties.archived(is_archived=False) if self.spec.target.delete == "archive" else {}
        return await self._change(target_id, {**shown, **self._properties.written(row, new=False)})

    async def remove(self, target_id: str) -> None:
        """Delete the record, or mark it as archived where the mapping wants that; an absent one is no error."""
        if self.spec.target.delete == "archive":
            await self._change(target_id, self._properties.archived(is_archived=True))
        else:
            await self.account.delete(self.spec.entity, target_id)

    def is_own(self, record: Record) -> bool:
        """Whether it was created through the API, and by us where that was measured; a read by id does not say."""
        ours = self.account.profile.objects.own_source_id
        return record.get(SOURCE) == BY_API and ours in ("", record.get(AUTHOR))

    def can_become(self, target_id: str, row: Mapping[str, Any]) -> bool:
        """An update can change each field."""
        del target_id, row
        return True

    def needs_update(self, record: Record, row: Mapping[str, Any]) -> bool:
        """Whether what is derived for people is not as these fields make it."""
        return not self._properties.shows(record, row)

    def in_event(self, kind: str, body: Mapping[str, Any]) -> Record | None:
        """The record in the body of an event, where every value is a text; that of a deletion shows what was deleted."""
        found = body.get("properties")
        if DELETED in kind or not isinstance(found, list):
            return None
        texts = {as_text(one.get("key")): one.get("valueString") for one in found if isinstance(one, dict)}
        return self._record({"id": body.get("id"), "properties": texts})

    def is_archived(self, record: Record) -> bool:
        """Whether the record is marked as archived."""
        profile = self.account.profile
        return record.get(profile.objects.archived) in (True, profile.booleans[True])

    async def _create(self, sent: dict[str, Any], owners: list[str]) -> Record:
        """Create a record, without an owner if the owner is refused; from then on no other is tried with an owner."""
        if owners:
            try:
                return await self.account.create(self.spec.entity, sent, owners)
            except RejectedRecord as error:
                if "owner" not in error.message.lower():
                    raise
                self.account.owners.is_on = False
        return await self.account.create(self.spec.entity, sent)

    async def _change(self, target_id: str, sent: dict[str, Any]) -> Record | None:
        changed = await self.account.change(self.spec.entity, target_id, sent)
        if changed is None:
            return None
        return self._record({**changed, "id": target_id, "properties": {**sent, **properties_of(changed)}})

    async def _is_shown(self, row: Mapping[str, Any]) -> bool:
        for seconds in self.account.profile.objects.patience:
            await self.account.sleep(seconds)
            if await self.find([row]):
                return True
        return False

    @property
    def _properties(self) -> Properties:
        return Properties(self.account.profile, self.spec)

    @property
    def _search(self) -> Search:
        return Search(self.account, self.spec.entity, self.spec.target.id)

    @property
    def _day(self) -> str | None:
        """The property with the day of what the entity is partitioned by."""
        days = self.account.profile.object_of(self.spec.entity).day
        return next((day for day, source in days.items() if source == self.spec.partition_by), None)

    def _record(self, row: Mapping[str, Any]) -> Record:
        created, author = row.get("createdAt") or row.get("dateAdded") or "", row.get("createdBy")
        beside = {ID: as_text(row.get("id")), CREATED: as_text(created)}
        source = {SOURCE: author.get("source"), AUTHOR: author_of(row)} if isinstance(author, dict) else {}
        return {**self._properties.read(properties_of(row)), **beside, **source}

    def _is_in(self, window: Window, record: Record) -> bool:
        """Whether it starts in the window; one that says no instant may."""
        with suppress(ValueError):
            start = datetime.fromisoformat(as_text(record.get(str(self.spec.partition_by))))
            return (start if start.tzinfo else start.replace(tzinfo=UTC)) in window
        return True
