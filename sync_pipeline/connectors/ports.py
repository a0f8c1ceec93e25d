"""What the stages ask of a source and of a target, whoever stands behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sync_pipeline.connectors.entries import Expected
from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.window import Window
from sync_pipeline.mapping.spec import SourceSpec


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one record of a write; ``reason`` and ``code`` when it was refused."""

    ok: bool
    id: str
    reason: str = ""
    code: str = ""
    field: str = ""


class Counted(Protocol):
    """Something that counts what it asks."""

    @property
    def requests(self) -> Counter[str]:
        """Requests sent so far by ``"VERB /route"``, retries included."""


class Source(Counted, Protocol):
    """A system records are read from."""

    def read(
        self, source: SourceSpec, window: Window | None = None, *, expected: Expected | None = None
    ) -> AsyncIterator[list[Record]]:
        """Everything the source holds (in the window), page by page."""

    async def fetch(self, source: SourceSpec, record_id: str) -> Record | None:
        """One record as ``read`` would give it; None only when it certainly does not exist."""

    async def glimpse(self, source: SourceSpec, limit: int) -> list[Record]:
        """Some records as ``read`` would give them, for one or two requests."""


class Target(Counted, Protocol):
    """A system records are delivered to by idempotent upserts."""

    def read(self, entity: str, window: Window | None = None) -> AsyncIterator[list[Record]]:
        """Everything the target holds, page by page."""

    async def get(self, entity: str, record_id: str) -> Record | None:
        """One record; None when it does not exist."""

    async def upsert(self, entity: str, rows: Sequence[Record]) -> list[Outcome]:
        """Create or merge; one outcome per row, in order."""

    async def delete(self, entity: str, record_id: str) -> None:
        """Remove; an absent record is no error."""


class ClientTarget(Counted, Protocol):
    """Clockify's clients as a target: creation is not idempotent, updates replace."""

    async def list_clients(self) -> list[Record]:
        """All clients, archived ones included."""

    async def get_client(self, client_id: str) -> Record | None:
        """One client; None when it does not exist."""

    async def create_client(self, fields: Mapping[str, object]) -> Record:
        """Create; RejectedRecord when refused (the name may be taken), AmbiguousWrite when nobody knows."""

    async def update_client(self, client_id: str, fields: Mapping[str, object]) -> Record | None:
        """Change only ``fields``; None when the client does not exist."""

    async def delete_client(self, client_id: str) -> None:
        """Archive and delete; an absent client is no error."""
