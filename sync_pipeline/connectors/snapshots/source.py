"""The Snapshots API as a source: of the records of one entity, and of figures of projects where the profile says at which address."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sync_pipeline.connectors.answers import as_text, hundredths
from sync_pipeline.connectors.http import ApiClient, RequestOptions
from sync_pipeline.connectors.limiter import OnTurn
from sync_pipeline.connectors.paging import Record, as_record, by_cursor, rows_of
from sync_pipeline.connectors.ports import Expected, ListSource
from sync_pipeline.connectors.profile import AnalyticsFacts, Profile
from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import Request

if TYPE_CHECKING:
    from sync_pipeline.connectors.snapshots.api import Snapshots

KEY = "\0key"
"""Of a row, which has no id: a project, a month and a currency."""


@dataclass(frozen=True, slots=True)
class SnapshotsSource(ListSource):
    """One entity of an account; its paths come from the profile."""

    snapshots: Snapshots
    entity: str

    @property
    def page_size(self) -> int:
        """What the profile allows."""
        return self.snapshots.page_size

    def read(self, window: Window | None = None, *, expected: Expected | None = None) -> AsyncIterator[list[Record]]:
        """All records of the entity; what is expected makes no difference."""
        del expected
        return self.snapshots.read(self.entity, window)

    async def fetch(self, record_id: str, parent: str | None = None, on_turn: OnTurn | None = None) -> Record | None:
        """One record; None when it does not exist."""
        del parent
        return await self.snapshots.get(self.entity, record_id, on_turn)

    async def sample(self, limit: int) -> list[Record]:
        """The first records of the entity."""
        return await self.snapshots.sample(self.entity, limit)


async def project_figures(
    client: ApiClient, profile: Profile, months: tuple[str, str], page_size: int
) -> AsyncGenerator[list[Record], None]:
    """Pages of figures of these months, each with ``project``, ``month``, ``currency`` and numbers in hundredths."""
    facts, lists = profile.analytics, profile.list
    if facts is None:
        return
    about = Request(profile.system, "GET", facts.path)
    params = {lists.size_parameter: page_size, facts.from_: months[0], facts.to: months[1]}

    async def get(cursor: str | None) -> tuple[list[Any], str | None]:
        here = params if cursor is None else {**params, lists.cursor_parameter: cursor}
        answer = await client.request("GET", facts.path, params=here, options=RequestOptions(scope=facts.scope))
        rows = [_figure(as_record(row), facts) for row in rows_of(answer, about, lists.items, asked=page_size)]
        following = answer.data.get(lists.next_cursor) if isinstance(answer.data, dict) else None
        return rows, None if following is None else as_text(following)

    async for rows in by_cursor(get, about=about, key=KEY):
        yield [{name: value for name, value in row.items() if name != KEY} for row in rows]


def _figure(row: Mapping[str, Any], facts: AnalyticsFacts) -> dict[str, Any]:
    names = {name: as_text(row.get(at) or "") for name, at in facts.names().items()}
    numbers = {name: hundredths(row.get(at)) for name, at in facts.numbers().items()}
    return {KEY: "\0".join(names.values()), **names, **numbers}
