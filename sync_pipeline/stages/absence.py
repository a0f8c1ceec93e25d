"""Absence: what was known and is missing from a complete read, and when that may become a delete.

A delete is only believed after a second, independent read: by id where the source offers that, with a record known to
live read successfully in the same run (an id of a foreign workspace answers like a deleted one); otherwise by a second
complete list. Of a person who left the workspace neither a read by id nor a list has any entries: only the report
decides about these. What the budget cannot confirm stays unconfirmed: shown, not deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, timedelta
from itertools import islice

import orjson

from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import ApiError
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.progress import Progress
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Counts
from sync_pipeline.stages.guards import Holding
from sync_pipeline.stages.references import among, kept, listed
from sync_pipeline.store.bulk import chunks
from sync_pipeline.store.records import Absent
from sync_pipeline.store.scope import draw
from sync_pipeline.store.staging import Staging

WITNESSES = 3
"""Of so many records that should live one has to be readable: one of them may have been deleted as well, unnoticed."""
AHEAD = timedelta(days=31)
"""How far ahead an entry is looked for that is missing from its day."""
NAMED = 20
"""Unconfirmed records that a message names."""


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


@dataclass(frozen=True, slots=True)
class Absence:
    """The state of the records that a read did not find."""

    deleted: list[str] = field(default_factory=list)
    moved: dict[str, Record] = field(default_factory=dict)
    """The current records of those that exist elsewhere, by id."""
    unconfirmed: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    """The number of the read that found each of them missing or moved."""
    by_id: frozenset[str] = frozenset()
    """Those that were read by id, rather than in a list or report."""

    def __add__(self, other: Absence) -> Absence:
        return Absence(
            [*self.deleted, *other.deleted],
            self.moved | other.moved,
            [*self.unconfirmed, *other.unconfirmed],
            self.numbers | other.numbers,
            self.by_id | other.by_id,
        )


def mark_absent(
    session: Session, spec: EntitySpec, staging: Staging, absence: Absence, holding: Holding, counts: Counts
) -> None:
    """Mark as deleted what is confirmed to be.

    Only that may be deleted at the target by this run: what an earlier one proved may have come back.
    """
    ledger = session.ledger(spec)
    for by_id in (True, False):
        deleted = {each: absence.numbers[each] for each in absence.deleted if (each in absence.by_id) is by_id}
        ledger.mark_deleted(deleted, session.now(), by_id=by_id)
    ledger.mark_unconfirmed(absence.unconfirmed, session.now(), read_no=staging.read_no)
    counts.held_deletes += len(holding.deletes)
    counts.unconfirmed += len(absence.unconfirmed) - len(holding.deletes)


def look_up_absent(session: Session, spec: EntitySpec, staging: Staging, holding: Holding) -> Absence:
    """Read again what is missing from the staged read, as far as the guard and the budget allow; nothing is written."""
    still = kept(session, spec, {known.source_id for known in holding.missing if known.deleted_at is not None})
    missing = [known for known in holding.missing if known.source_id not in still]
    absent = [known for known in missing if _may_be_deleted(known, holding)]
    stays = [known.source_id for known in missing if not _may_be_deleted(known, holding)]
    if not absent:
        return Absence(unconfirmed=stays)
    budget = session.settings.max_confirmations
    session.report(Progress(spec.entity, "confirm", min(len(absent), budget), "looking up what vanished"))
    absence = _confirm(session, spec, staging, absent, {known.source_id for known in missing})
    if absence.unconfirmed:
        names = ", ".join(absence.unconfirmed[:NAMED]) + (", ..." if absence.unconfirmed[NAMED:] else "")
        note = f"{len(absence.unconfirmed)} are missing and not proven deleted; the next run looks again: {names}"
        session.report(Progress(spec.entity, "confirm", note=note))
    return absence + Absence(unconfirmed=stays)


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
    days = sorted(date.fromisoformat(day) for day in days_of.values() if day)
    windows = [Window.of_days(days[0], days[-1])] if days else []
    found: dict[str, Record] = {}
    for window in (*windows, _everything(session)):
        if wanted - found.keys():
            found |= among(session.read_all(spec, window), spec, wanted)
    return found, number


def _everything(session: Session) -> Window:
    return Window.of_days(session.settings.start_date, session.now().astimezone(UTC).date() + AHEAD)


def _may_be_deleted(known: Absent, holding: Holding) -> bool:
    """Whether an absent record is looked up; where some deletes are held, only those that were allowed are."""
    return not holding.deletes or (known.delivered_hash is not None and known.source_id not in holding.deletes)


def _confirm(
    session: Session, spec: EntitySpec, staging: Staging, absent: Sequence[Absent], missing: Collection[str]
) -> Absence:
    """Split the absent ids into deleted ones, records that still exist, and unconfirmed ids."""
    there = people(session, spec)
    found = _found_by_id(session, spec, absent, there)
    theirs = [known.source_id for known in absent if known.source_id in found]
    others = [known for known in absent if known.source_id not in found]
    absence = Absence()
    if theirs and session.can_fetch(spec):
        absence += _confirm_by_id(session, spec, staging, theirs, missing, there)
    elif theirs:
        absence += _confirm_by_list(session, spec, theirs)
    return absence + _confirm_by_report(session, spec, others) if others else absence


def _found_by_id(session: Session, spec: EntitySpec, absent: Sequence[Absent], there: People) -> set[str]:
    """Those of the absent records that a read by id finds if they live."""
    if there.ids is None:
        return {known.source_id for known in absent}
    lookup = session.ledger(spec).lookup
    pages = (lookup(some).items() for some in chunks(known.source_id for known in absent))
    return {source_id for page in pages for source_id, known in page if there.include(known.fields)}


def _confirm_by_id(
    session: Session, spec: EntitySpec, staging: Staging, ids: list[str], missing: Collection[str], there: People
) -> Absence:
    witnesses = list(islice(_witnesses(session, spec, staging, missing, there), WITNESSES))
    if witnesses and all(session.fetch(spec, witness) is None for witness in witnesses):
        return Absence(unconfirmed=ids)  # existing records read as missing: none of the answers counts
    budget, unread = session.settings.max_confirmations, [key for key in ids if key not in staging.missed]
    asked, unconfirmed = unread[:budget], unread[budget:]
    read = {source_id: session.fetch_numbered(spec, source_id) for source_id in asked}
    moved = {source_id: record for source_id, (record, _) in read.items() if record is not None}
    numbers = {source_id: number for source_id, (_, number) in read.items()}
    numbers |= {source_id: staging.missed[source_id] for source_id in ids if source_id in staging.missed}
    deleted = sorted(numbers.keys() - moved.keys())
    if not witnesses and not moved:  # none is known to exist, so the key may be why all read as deleted
        return _confirm_by_list(session, spec, deleted) + Absence(unconfirmed=unconfirmed)
    return Absence(deleted, moved, unconfirmed, numbers, frozenset(numbers))


def _confirm_by_report(session: Session, spec: EntitySpec, entries: list[Absent]) -> Absence:
    """Deleted and existing records according to a second report, for entries of people who left the workspace."""
    ids = [entry.source_id for entry in entries]
    try:
        found, number = reported(session, spec, {entry.source_id: entry.partition for entry in entries})
    except ApiError as error:
        note = (
            f"only the report can show whether {len(ids)} entries of former users exist, and the report failed: {error}"
        )
        session.report(Progress(spec.entity, "confirm", note=note))
        return Absence(unconfirmed=ids)
    return Absence(sorted(set(ids) - found.keys()), found, numbers=dict.fromkeys(ids, number))


def _witnesses(
    session: Session, spec: EntitySpec, staging: Staging, missing: Collection[str], there: People
) -> Iterator[str]:
    """Records that must be readable if reads by id are reliable: those of this read, then any other known ones."""
    met = ((key, fields) for page in staging.met() for key, fields in page)
    yield from (key for key, fields in met if there.include(fields))
    for page in session.ledger(spec).scan():
        for record in page:
            lives = record.deleted_at is None and record.unconfirmed_at is None
            if lives and record.source_id not in missing and there.include(record.fields):
                yield record.source_id


def _confirm_by_list(session: Session, spec: EntitySpec, ids: list[str]) -> Absence:
    """Deleted and existing records according to a second complete list: for sources without reads by id, or no witness."""
    number = draw(session.store)
    window = _everything(session) if session.source(spec).needs_window else None
    found = listed(session, spec, ids, window)
    return Absence(sorted(set(ids) - found.keys()), found, numbers=dict.fromkeys(ids, number))
