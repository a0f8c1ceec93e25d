"""The Snapshots API as a source of one entity."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sync_pipeline.connectors.limiter import OnTurn
from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.ports import Expected
from sync_pipeline.connectors.window import Window

if TYPE_CHECKING:
    from sync_pipeline.connectors.snapshots.api import Snapshots


@dataclass(frozen=True, slots=True)
class SnapshotsSource:
    """One entity of an account; its paths come from the profile."""

    snapshots: Snapshots
    entity: str
    can_fetch = True
    needs_window = False
    notifies = False
    is_budgeted = False
    owner_list = ""
    feed = None
    reader = "list"

    def read(self, window: Window | None = None, *, expected: Expected | None = None) -> AsyncIterator[list[Record]]:
        """All records of the entity; what is expected makes no difference."""
        del expected
        return self.snapshots.read(self.entity, window)

    def read_all(self, window: Window) -> AsyncIterator[list[Record]]:
        """The same: there is one reader."""
        return self.snapshots.read(self.entity, window)

    async def fetch(self, record_id: str, parent: str | None = None, on_turn: OnTurn | None = None) -> Record | None:
        """One record; None when it does not exist."""
        del parent
        return await self.snapshots.get(self.entity, record_id, on_turn)

    async def sample(self, limit: int) -> list[Record]:
        """The first records of the entity."""
        return await self.snapshots.sample(self.entity, limit)

    async def prove_complete(self) -> frozenset[str] | None:
        """Nothing to prove: what a key may not read is refused, not left out."""
        return None
