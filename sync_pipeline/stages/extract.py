"""Extract: read one entity from its source, page by page, into a batch of untouched records.

A record that is delivered as the source has it takes the short way: it travels on by its id alone, and is not mapped,
checked or stored again. References are not part of it: a delivered record stays delivered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

from sync_pipeline.connectors.error_category import category_of
from sync_pipeline.connectors.ports import Expected
from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import Cancelled, StoreError, SyncError
from sync_pipeline.gc_pause import gc_paused
from sync_pipeline.mapping.frames import RawRow, frame_of_rows, raw_rows
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.progress import Progress
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Batch, Days
from sync_pipeline.stages.journal import Ended, note_sync
from sync_pipeline.stages.process import has_label, unique_fields
from sync_pipeline.store.schema import FACTS
from sync_pipeline.store.scope import draw
from sync_pipeline.store.staged import FactsIn
from sync_pipeline.store.staging import Staging
from sync_pipeline.store.syncs import SyncOutcome

PART_ROWS = 2_000
"""Rows of one part: some 20 MB of entries as read, so memory stays flat however long the window is."""
RECENT = 10_000
"""Records that are remembered at least, to know one that comes again: two of the largest pages."""


def extract(session: Session, spec: EntitySpec, days: Days | None, *, independent: bool = False) -> Batch:
    """Read every record of the entity - or of the days - from its source; lazily, as the parts are walked.

    An ``independent`` read does not use the store, not even to choose the cheaper reader.
    """
    notes: dict[str, Any] = {
        "pair": session.pair,
        "observed_at": session.now().isoformat(),
        **({"days": str(days)} if days else {}),
    }
    return Batch(_parts(session, spec, days, notes, independent=independent), notes)


def _parts(
    session: Session, spec: EntitySpec, days: Days | None, notes: dict[str, Any], *, independent: bool
) -> Iterator[pd.DataFrame]:
    notes["read_no"] = draw(session.store)  # before the first request: nothing it reads is older than its number
    before, done = session.requests, 0
    is_short = not independent and has_short_way(session, spec, days)

    def part(rows: Sequence[RawRow]) -> pd.DataFrame:
        # Of an id with two contents both rows travel whole: the checks reject the record with both.
        return frame_of_rows(rows, unchanged_ids(session, spec, rows) - seen.conflicts if is_short else ())

    seen = DuplicateFilter(spec)
    rows: list[RawRow] = []
    window = Window.of_days(days.first, days.last) if days else None
    expected = _expected(session, spec, days, independent=independent)
    for page in session.read(spec, window, expected):
        rows += seen.fresh(page)
        done += len(page)
        session.report(Progress(spec.entity, "extract", done))
        while len(rows) >= PART_ROWS:
            yield part(rows[:PART_ROWS])
            del rows[:PART_ROWS]
    yield part(rows)
    notes.update(
        requests=session.requests - before,
        reader=session.source(spec).reader,
        duplicates=seen.duplicates,
        conflicts=sorted(seen.conflicts),
        source_keys=sorted(seen.keys),
    )


def _expected(session: Session, spec: EntitySpec, days: Days | None, *, independent: bool) -> Expected | None:
    """What the store knows of the window: who may have tracked time, and enough to choose the cheaper reader."""
    if days is None or not session.source(spec).uses_expected:
        return None
    owners = session.owners(spec)
    with session.ledger(spec).staging(days.keys) as entries:
        known = 0 if independent else entries.known()
    ids = (row.source_id for page in session.ledger(owners).scan() for row in page) if owners else ()
    return Expected(known or None, frozenset(ids))


class DuplicateFilter:
    """Drops a record that a shifting page returned twice, and remembers ids that came with different contents.

    Lists are paged by offset, so a row inserted meanwhile pushes another onto the next page: the same record again is
    harmless. Two different records under one id are not: both are rejected by the ``unique_ids`` check. Only what came
    shortly before is known here; what comes again after more than ``RECENT`` records, the check finds.
    """

    def __init__(self, spec: EntitySpec) -> None:
        self._spec = spec
        self._marks: dict[str, int] = {}
        self._former: dict[str, int] = {}
        self.duplicates = 0
        self.conflicts: set[str] = set()
        self.keys: set[str] = set()

    @gc_paused()
    def fresh(self, page: list[dict[str, Any]]) -> list[RawRow]:
        """The rows of a page that have not been seen before in the same form."""
        for record in page:
            self.keys.update(record)
        return [row for row in raw_rows(self._spec, page) if self._is_fresh(row)]

    def _is_fresh(self, row: RawRow) -> bool:
        if row.source_id is None:
            return True  # unknown without an id; the required_fields check rejects it
        source_id, mark = (
            row.source_id,
            hash(row.content),
        )  # 64 bits under a secret key: no two records can be made to collide
        known = self._marks.get(source_id) or self._former.get(source_id)
        if known is None:
            if len(self._marks) >= RECENT:
                self._former, self._marks = self._marks, {}
            self._marks[source_id] = mark
        elif known == mark:
            self.duplicates += 1
            return False
        else:
            self.conflicts.add(source_id)
        return True


def decided_by(session: Session, spec: EntitySpec) -> str:
    """What decides about a record beside the record: its mapping with the user's functions, label, facts, settings, version."""
    beside = (spec.label if has_label(session, spec) else None, spec.facts)
    facts = f"{spec.fingerprint} {session.settings.start_date} {_version()} {beside}"
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def decide(session: Session, spec: EntitySpec, staging: Staging) -> None:
    """Say what decides about the rows of a staging, and where their facts are kept."""
    staging.decided_by = decided_by(session, spec)
    if spec.facts is not None:
        staging.facts = FactsIn(FACTS[spec.facts.table], spec.facts.names)


@cache
def _version() -> str:
    try:
        return version("sync-pipeline")
    except PackageNotFoundError:  # run from its source without having been installed
        return ""


def has_short_way(session: Session, spec: EntitySpec, days: Days | None) -> bool:
    """Whether any of its records may be known to be unchanged: they are decided, and can be read again, one by one."""
    alone = spec.is_known_by_source_id and not unique_fields(spec) and not spec.links
    known = session.short_way and alone and session.can_fetch(spec)
    return known and session.ledger(spec).has_any(days.keys if days else None)


def unchanged_ids(session: Session, spec: EntitySpec, rows: Sequence[RawRow]) -> frozenset[str]:
    """The records that are passed on by id only."""
    pairs = [(row.source_id, row.source_hash) for row in rows if row.source_id is not None]
    if not pairs:
        return frozenset()
    return session.ledger(spec).unchanged(pairs, decided_by(session, spec))


def remembering_failure(session: Session, spec: EntitySpec, batch: Batch, days: Days | None, *, run_id: str) -> Batch:
    """The same batch; when walking it fails, the store keeps that: `status` reports it, and its requests are counted."""
    return Batch(_remembering(session, spec, batch, days, run_id), batch.notes)


def _remembering(
    session: Session, spec: EntitySpec, batch: Batch, days: Days | None, run_id: str
) -> Iterator[pd.DataFrame]:
    before = session.requests
    try:
        yield from batch.parts
    except SyncError as error:
        with suppress(StoreError):  # the store may be what failed; the first error is the one to report
            outcome: SyncOutcome = "cancelled" if isinstance(error, Cancelled) else "failed"
            ended = Ended(outcome, {}, session.requests - before, str(error), category_of(error))
            note_sync(session, spec, batch, days, ended, run_id=run_id)
        raise
