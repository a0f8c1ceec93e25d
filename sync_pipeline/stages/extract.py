"""Extract: read one entity from its source, page by page, into a batch of untouched records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from sync_pipeline.connectors.entries import Expected
from sync_pipeline.connectors.window import Window
from sync_pipeline.mapping.frames import RawRow, frame_of_rows, raw_row
from sync_pipeline.mapping.garbage import collector_paused
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.stages.batch import Batch, Days
from sync_pipeline.stages.session import Progress, Session
from sync_pipeline.store.records import scan
from sync_pipeline.store.staging import stage

PART_ROWS = 2_000
"""Rows of one part: some 20 MB of entries as read, so memory stays flat however long the window is."""


def extract(session: Session, spec: EntitySpec, days: Days | None, *, independent: bool = False) -> Batch:
    """Read every record of the entity - or of the days - from its source; lazily, as the parts are walked.

    An ``independent`` read makes no use of what the store believes, not even to choose the cheaper reader.
    """
    notes: dict[str, Any] = {"observed_at": session.now().isoformat()}
    return Batch(_parts(session, spec, days, notes, independent=independent), notes)


def _parts(
    session: Session, spec: EntitySpec, days: Days | None, notes: dict[str, Any], *, independent: bool
) -> Iterator[pd.DataFrame]:
    before, done = session.requests, 0
    seen = Seen(spec)
    rows: list[RawRow] = []
    window = Window.of_days(days.first, days.last) if days else None
    expected = None if independent else _expected(session, spec, days)
    for page in session.read(spec, window, expected):
        rows += seen.fresh(page)
        done += len(page)
        session.report(Progress(spec.entity, "extract", done))
        while len(rows) >= PART_ROWS:
            yield frame_of_rows(rows[:PART_ROWS])
            del rows[:PART_ROWS]
    yield frame_of_rows(rows)
    notes.update(
        requests=session.requests - before,
        duplicates=seen.duplicates,
        conflicts=sorted(seen.conflicts),
        source_keys=sorted(seen.keys),
    )


def _expected(session: Session, spec: EntitySpec, days: Days | None) -> Expected | None:
    """What the store knows of the window: enough to choose the cheaper reader."""
    if days is None or session.settings.clockify_reader == "report":
        return None
    users = spec.references.get("user_id", "users")
    with stage(session.store, session.connection, spec.entity, days.keys) as entries:
        known = entries.known()
    ids = (row.source_id for page in scan(session.store, session.connection, users) for row in page)
    return Expected(known or None, frozenset(ids))


class Seen:
    """Drops a record that a shifting page returned twice, and remembers ids that came with different contents.

    Lists are paged by offset, so a row inserted meanwhile pushes another onto the next page: the same record again is
    harmless. Two different records under one id are not: both are set aside by the ``unique_ids`` check.
    """

    def __init__(self, spec: EntitySpec) -> None:
        self._spec = spec
        self._marks: dict[str, int] = {}
        self.duplicates = 0
        self.conflicts: set[str] = set()
        self.keys: set[str] = set()

    @collector_paused()
    def fresh(self, page: list[dict[str, Any]]) -> list[RawRow]:
        """The rows of a page that have not been seen before in the same form."""
        rows = []
        for record in page:
            row = raw_row(self._spec, record)
            self.keys.update(record)
            if self._is_fresh(*row):
                rows.append(row)
        return rows

    def _is_fresh(self, source_id: str | None, content: bytes) -> bool:
        if source_id is None:
            return True  # without an id nothing can be said; the required_fields check sets it aside
        mark = hash(content)  # 64 bits under a secret key: nobody can make two records collide
        known = self._marks.get(source_id)
        if known is None:
            self._marks[source_id] = mark
        elif known == mark:
            self.duplicates += 1
            return False
        else:
            self.conflicts.add(source_id)
        return True
