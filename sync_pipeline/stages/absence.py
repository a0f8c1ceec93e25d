"""Absence: what was known and is missing from a complete read, and when that may become a delete.

A delete is only believed after a second, independent read: by id where the source offers that, with a record known to
live read successfully in the same run (an id of a foreign workspace answers like a deleted one); otherwise by a second
complete list. Of a person who left the workspace neither a read by id nor a list has any entries: only the report
decides about these. What the budget cannot confirm stays unconfirmed: shown, not deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from itertools import islice

import orjson

from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import ApiError
from sync_pipeline.mapping.json_types import LONGEST_ID
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.progress import Progress
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Counts
from sync_pipeline.stages.guards import Holding
from sync_pipeline.stages.references import among, keyed
from sync_pipeline.store.records import Absent
from sync_pipeline.store.scope import Scope, draw
from sync_pipeline.store.staged_missing import (
    ASKED,
    AT_TARGET,
    BY_ID,
    DELETED,
    HELD,
    IN_REPORT,
    SETTLED,
    UNCONFIRMED,
    Which,
    asked_or_found,
)
from sync_pipeline.store.staging import Staging

WITNESSES = 3
"""Of so many records that should live one has to be readable: one of them may have been deleted as well, unnoticed."""
AHEAD = timedelta(days=31)
"""How far ahead an entry is looked for that is missing from its day."""
NAMED = 20
"""Unconfirmed records that a message names."""
Stage = Callable[..., None]
"""Stages records that were read again; takes them and the numbers of these reads, both by id, and whether these were reads by id."""


@dataclass(frozen=True, slots=True)
class People:
    """Who is in the workspace; a read by id finds only their entries, while those of former users go on existing."""

    ids: frozenset[str] | None = None
    """``None``: the records of this entity are found whatever user created them."""
    field: str = ""
    """The mapped field that holds the user."""
    is_complete: bool = True
    """Whether no one is known to have left: an entry with an unknown user then belongs to one of these."""

    def include(self, fields: str) -> bool:
        """Whether the record with these mapped fields, as JSON, is one of theirs."""
        if self.ids is None:
            return True
        user = orjson.loads(fields).get(self.field) if fields and self.field else None
        return self.is_complete if user is None else user in self.ids


def mark_absent(session: Session, spec: EntitySpec, staging: Staging, holding: Holding, counts: Counts) -> None:
    """Mark as deleted what is confirmed to be.

    Only that may be deleted at the target by this run: what an earlier one proved may have come back.
    """
    ledger, missing = session.ledger(spec), staging.missing
    for by_id in (True, False):
        for page in missing.pages(DELETED, BY_ID if by_id else ~BY_ID):
            numbers = {known.source_id: known.read_no or 0 for known in page}
            ledger.mark_deleted(numbers, session.now(), by_id=by_id)
    ledger.mark_unconfirmed(missing.ids(UNCONFIRMED), session.now(), read_no=staging.read_no)
    counts.held_deletes += holding.deletes
    counts.unconfirmed += missing.count(UNCONFIRMED) - holding.deletes


def look_up_absent(session: Session, spec: EntitySpec, staging: Staging, holding: Holding, stage: Stage) -> None:
    """Read again what is missing from the staged read, as far as the guard and the budget allow.

    Notes in `Staging.missing` what was proven of each, and stages what exists elsewhere; nothing else is written.
    """
    missing = staging.missing
    if not holding.missing:
        return
    missing.mark_all("unconfirmed", ~SETTLED)
    # Where some deletes are held, only those that were allowed are looked up.
    looked_up = (UNCONFIRMED, AT_TARGET, ~HELD) if holding.deletes else (UNCONFIRMED,)
    if not (count := missing.count(*looked_up)):
        return
    budget = session.settings.max_confirmations
    session.report(Progress(spec.entity, "confirm", min(count, budget), "looking up missing records"))
    _Confirming(session, spec, staging, stage, looked_up).run()
    if left := missing.count(*looked_up):
        names = ", ".join(missing.first(NAMED, *looked_up)) + (", ..." if left > NAMED else "")
        note = f"{left} are missing and not proven deleted; the next run looks again: {names}"
        session.report(Progress(spec.entity, "confirm", note=note))


def people(session: Session, spec: EntitySpec) -> People:
    """Who is in the workspace now. Raises FatalApiError for the key of a plain member, who does not see all records."""
    present = session.call(session.source(spec).prove_complete)
    if present is None:
        return People()
    owners = session.owners(spec)
    known = {owner.source_id for page in session.ledger(owners).scan() for owner in page} if owners else set[str]()
    name = next((name for name, entity in spec.references.items() if entity == owners), "")
    return People(present, name, is_complete=bool(known) and known <= present)


def reported(session: Session, spec: EntitySpec, days_of: Mapping[str, str | None]) -> tuple[dict[str, Record], int]:
    """Those of these entries that the report has, first looked for on their days, then on all; and the read's number.

    Only the report has the entries of people who left the workspace.
    """
    number, wanted = draw(session.store), days_of.keys()
    days = [day for day in days_of.values() if day]
    found: dict[str, Record] = {}
    for window in _windows(session, (min(days), max(days)) if days else None):
        if wanted - found.keys():
            found |= among(session.read_all(spec, window), spec, wanted)
    return found, number


def _windows(session: Session, days: Scope) -> Iterator[Window]:
    """The windows in which entries of these days are looked for: these days first, then everything."""
    if days is not None:
        yield Window.of_days(*map(date.fromisoformat, days))
    yield _everything(session)


def _everything(session: Session) -> Window:
    return Window.of_days(session.settings.start_date, session.now().astimezone(UTC).date() + AHEAD)


@dataclass(frozen=True, slots=True)
class _Confirming:
    """The second read of the missing records for which the conditions ``looked_up`` hold."""

    session: Session
    spec: EntitySpec
    staging: Staging
    stage: Stage
    looked_up: tuple[Which, ...]

    def run(self) -> None:
        """Split them into deleted ones, records that still exist, and unconfirmed ones."""
        there, missing = people(self.session, self.spec), self.staging.missing
        if there.ids is not None:
            for page in missing.pages(*self.looked_up):
                missing.only_reported(self._only_reported(page, there))
        if missing.count(*self.looked_up, ~IN_REPORT):
            if self.session.can_fetch(self.spec):
                self._by_id(there)
            else:
                missing.mark_all("asked", *self.looked_up, ~IN_REPORT)
                self._by_list()
        if missing.count(*self.looked_up, IN_REPORT):
            missing.mark_all("asked", *self.looked_up, IN_REPORT)
            self._by_report()

    def _only_reported(self, page: Sequence[Absent], there: People) -> list[str]:
        """Those that a read by id would not find even if they exist."""
        known = self.session.ledger(self.spec).lookup(row.source_id for row in page)
        found = {source_id for source_id, record in known.items() if there.include(record.fields)}
        return [row.source_id for row in page if row.source_id not in found]

    def _by_id(self, there: People) -> None:
        session, spec, missing = self.session, self.spec, self.staging.missing
        witnesses = list(islice(self._witnesses(there), WITNESSES))
        if witnesses and all(session.fetch(spec, witness) is None for witness in witnesses):
            return  # existing records read as missing: none of the answers counts
        numbers, theirs = dict(self.staging.missed), (*self.looked_up, ~IN_REPORT)
        missed = missing.among(numbers, *theirs)
        unread = (source_id for source_id in missing.ids(*theirs) if source_id not in numbers)
        read = {
            key: session.fetch_numbered(spec, key) for key in list(islice(unread, session.settings.max_confirmations))
        }
        numbers |= {key: number for key, (_, number) in read.items()}
        moved = {key: record for key, (record, _) in read.items() if record is not None}
        deleted = [key for key in (*read, *missed) if key not in moved]
        if not witnesses and not moved:  # none is known to exist, so the key may be why all read as deleted
            missing.mark("asked", dict.fromkeys(deleted))
            self._by_list()
            return
        missing.mark("deleted", {key: numbers[key] for key in deleted}, by_id=True)
        self._found(moved, numbers, by_id=True)

    def _witnesses(self, there: People) -> Iterator[str]:
        """Records that must be readable if reads by id are reliable: those of this read, then any other known ones."""
        met = ((key, fields) for page in self.staging.met() for key, fields in page)
        yield from (key for key, fields in met if there.include(fields))
        for page in self.session.ledger(self.spec).scan():
            lives = [record for record in page if record.deleted_at is None and record.unconfirmed_at is None]
            missing = self.staging.missing.among(record.source_id for record in lives)
            for record in lives:
                is_read = record.source_id not in missing and len(record.source_id) <= LONGEST_ID
                if is_read and there.include(record.fields):
                    yield record.source_id

    def _by_list(self) -> None:
        """For sources without reads by id, or no witness: a second complete list decides about those that are asked for."""
        session, spec, number = self.session, self.spec, draw(self.session.store)
        window = _everything(session) if session.source(spec).needs_window else None
        self._look_in(session.read(spec, window), number)
        self.staging.missing.mark_all("deleted", ASKED, read_no=number)

    def _by_report(self) -> None:
        """For entries of people who left the workspace: a second report decides about those that are asked for."""
        session, spec, missing, number = self.session, self.spec, self.staging.missing, draw(self.session.store)
        try:
            for window in _windows(session, missing.days(ASKED)):
                if missing.count(ASKED):
                    self._look_in(session.read_all(spec, window), number)
        except ApiError as error:
            note = (
                f"only the report can show whether {missing.count(ASKED)} entries of former users exist, and the report "
                f"failed: {error}"
            )
            session.report(Progress(spec.entity, "confirm", note=note))
            missing.mark_all("unconfirmed", ASKED)
        else:
            missing.mark_all("deleted", ASKED, read_no=number)

    def _look_in(self, pages: Iterable[list[Record]], number: int) -> None:
        """Find the records that are asked for in the pages of a list."""
        for page in pages:
            rows = dict(keyed(page, self.spec))
            found = self.staging.missing.among(rows, asked_or_found(number))
            self._found({key: rows[key] for key in found}, dict.fromkeys(found, number), by_id=False)

    def _found(self, records: Mapping[str, Record], numbers: Mapping[str, int], *, by_id: bool) -> None:
        """Stage records that exist elsewhere."""
        self.staging.missing.mark("moved", {key: numbers[key] for key in records}, by_id=by_id)
        self.stage(records, numbers, by_id=by_id)
