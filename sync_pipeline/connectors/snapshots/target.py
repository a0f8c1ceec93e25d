"""The Snapshots API as a target of one entity: our keys, idempotent batches that merge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.ports import Outcome
from sync_pipeline.connectors.window import Window
from sync_pipeline.mapping.spec import TargetSpec

if TYPE_CHECKING:
    from sync_pipeline.connectors.snapshots.api import Snapshots


@dataclass(frozen=True, slots=True)
class SnapshotsTarget:
    """One entity of an account; its paths come from the profile."""

    snapshots: Snapshots
    entity: str
    spec: TargetSpec
    assigns_ids: ClassVar[Literal[False]] = False
    feed = None

    @property
    def can_window(self) -> bool:
        """Whether the profile names a window for the entity's list."""
        return self.snapshots.profile.of(self.entity).window is not None

    @property
    def id_field(self) -> str:
        """The key is ours."""
        return self.spec.id

    @property
    def takes_unknown_ids(self) -> bool:
        """Whether the profile says that references are not checked."""
        return not self.snapshots.profile.checks_references

    def read(self, window: Window | None = None) -> AsyncIterator[list[Record]]:
        """Every record of the entity (that starts in the window), page by page."""
        return self.snapshots.read(self.entity, window)

    async def get(self, target_id: str) -> Record | None:
        """One record; None when it does not exist."""
        return await self.snapshots.get(self.entity, target_id)

    async def upsert(self, rows: Sequence[Record]) -> list[Outcome]:
        """Create or merge any number of records; one outcome per row, in order."""
        return await self.snapshots.upsert(self.entity, rows)

    async def remove(self, target_id: str) -> None:
        """Delete the record, or mark it as archived where the mapping wants that."""
        if self.spec.delete == "archive":
            await self.snapshots.archive(self.entity, target_id)
        else:
            await self.snapshots.delete(self.entity, target_id)

    def in_event(self, kind: str, body: Mapping[str, Any]) -> None:
        """None: no event shows all of a record."""
        del kind, body

    def is_archived(self, record: Record) -> bool:
        """Whether the record is marked as archived."""
        return bool(record.get("archived"))
