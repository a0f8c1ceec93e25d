"""Targeted sync: a few records by id, without any conclusion about what else exists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice

import orjson

from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import ApiError, SyncError
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.progress import Progress
from sync_pipeline.session.session import Session
from sync_pipeline.stages.absence import WITNESSES, People, people, reported
from sync_pipeline.stages.batch import Counts, Days
from sync_pipeline.stages.deliver import deliver_deletes, deliver_pending
from sync_pipeline.stages.extract import decide
from sync_pipeline.stages.guards import (
    first_contact_is_held,
    hold_creates,
    hold_deletes,
    hold_rewrites,
    leave_former,
    refuse_first_contact,
)
from sync_pipeline.stages.inbox import LISTED
from sync_pipeline.stages.plan import deletes, pages
from sync_pipeline.stages.polling import REPEAT_AFTER, SYSTEM
from sync_pipeline.stages.process import awaited, is_ready, process_records
from sync_pipeline.stages.references import find, kept, listed, undelivered
from sync_pipeline.store.events import Received, content_id, receive_many
from sync_pipeline.store.records import (
    Known,
)
from sync_pipeline.store.references import NOT_DELIVERED
from sync_pipeline.store.rejects import Reject
from sync_pipeline.store.scope import Scope, draw
from sync_pipeline.store.staged import StagedRow
from sync_pipeline.store.staging import Staging
from sync_pipeline.store.syncs import INTERRUPTED, TARGETED

UNBELIEVABLE = (
    "It reads as deleted, but so do records that are known to exist, so it is left unchanged. Check "
    "which account of the source is connected and the rights of its key, or let the next full read decide."
)
FORMER_USER = "Its user has left the workspace, so only the report can show whether it exists, and the report failed"
BEYOND = "The list may be outdated, and more such records exist than one run may read by id (SYNC_MAX_CONFIRMATIONS)."
WRITTEN_ELSEWHERE = "Another run has not finished writing it."
STORED_SINCE = "An older read has stored it since it was found missing: it is read again."
OUTDATED = "A newer read of it has stored other fields: it is read again."


@dataclass(frozen=True, slots=True)
class TargetedResult:
    """What a targeted sync did."""

    counts: Counts
    left: dict[str, str]
    """The records it could not deal with, by id, and why: they are to be tried again."""
    held: frozenset[str] = frozenset()
    """The records among them that wait for an approval."""
    nonexistent: frozenset[str] = frozenset()
    """Those that the source does not have, and that were never stored."""

    @property
    def problem(self) -> str:
        """Why records are left that wait for no approval, in one sentence; empty when none is left."""
        reasons = sorted({why for source_id, why in self.left.items() if source_id not in self.held})
        missed = len(self.left.keys() - self.held)
        return (
            f"{missed} of the records could not be synced and will be tried again: {' '.join(reasons)}"
            if missed
            else ""
        )


def sync_ids(session: Session, spec: EntitySpec, ids: Collection[str], *, run_id: str) -> TargetedResult:
    """Read these records again and bring the target up to date; deleted ones follow the delete policy.

    A record that cannot be read delays no other. Raises ApiError when none can be, or a system fails; what was
    delivered until then is remembered. At first contact, and beyond the deletes that a run may send, records are held.
    """
    if held := refuse_first_contact(session, spec):
        counts = Counts(extracted=len(set(ids)), held=len(set(ids)))
        return TargetedResult(counts, dict.fromkeys(ids, held), frozenset(ids))
    referred = _referred(session, spec, ids)
    answer = read_now(session, spec, ids, run_id)
    release(session, spec, run_id, referred)
    wake(session, spec, set(ids) - answer.left.keys())
    return answer


def wake(session: Session, spec: EntitySpec, ids: Collection[str]) -> None:
    """Note for each automation that reads the same list that these records may be new to it."""
    for name, other in session.specs.items():
        if not other.target.once or name == spec.entity or other.listed_at != spec.listed_at:
            continue
        new = sorted(set(ids) - session.ledger(other).lookup(ids).keys())
        received = [Received(content_id(LISTED, key, {}), LISTED, name, key, "{}", session.now()) for key in new]
        receive_many(session.store, session.pair, SYSTEM, received, repeat_after=REPEAT_AFTER)


def read_now(session: Session, spec: EntitySpec, ids: Collection[str], run_id: str) -> TargetedResult:
    """The same after the first contact, without releasing what the records referred to."""
    return Targeted(session, spec, sorted(set(ids)), run_id).run()


def release(session: Session, spec: EntitySpec, run_id: str, referred: Mapping[str, set[str]] | None = None) -> None:
    """Delete what was kept at the target only for records of this entity, now that none refers to it any more.

    ``referred`` limits it to these ids, by entity. What cannot be deleted now is left to a later run of its own entity.
    """
    for entity in dict.fromkeys(spec.references.values()):
        other = session.specs[entity]
        if other.target.delete != "unreferenced":
            continue
        ids = session.ledger(entity).kept_ids()
        ids &= ids if referred is None else referred[entity]
        if free := ids - kept(session, other, ids):
            # The guard sees all of them, and before any is read: what is held is not read again by each run.
            known = session.ledger(entity).lookup(free)
            held, why = hold_deletes(session, other, list(known.values()))
            left = {why} if held else set[str]()
            if asked := sorted(free - held)[: session.settings.max_confirmations]:
                try:
                    left |= set(sync_ids(session, other, asked, run_id=run_id).left.values())
                except SyncError as error:
                    left.add(str(error))
            for reason in sorted(left):
                session.report(Progress(entity, "delete", note=f"left to the next sync of {entity}: {reason}"))


def _referred(session: Session, spec: EntitySpec, ids: Collection[str]) -> dict[str, set[str]]:
    """What these records referred to until now, by entity."""
    found: dict[str, set[str]] = {entity: set() for entity in spec.references.values()}
    for record in session.ledger(spec).lookup(ids).values() if found else ():
        fields = orjson.loads(record.fields)
        for name, entity in spec.references.items():
            found[entity].add(str(fields.get(name)))
    return found


def sync_by_id(session: Session, spec: EntitySpec, ids: list[str]) -> set[str]:
    """Fetch, map, check and deliver these records; returns the ids that are at the target afterwards.

    None of an entity whose first delivery is held.
    """
    if first_contact_is_held(session, spec):
        return set()
    observed_at, number = session.now(), draw(session.store)
    found, by_id, unread = find(session, spec, ids)
    ids = [source_id for source_id in ids if source_id not in unread]
    newest = max(number, *by_id.values()) if by_id else number
    rows = process_records(session, spec, found.values(), ids, read_no=newest, run_id=None)
    listed_ones = dict.fromkeys(found.keys() - by_id.keys(), number)
    with session.ledger(spec).staging(None, number) as staging:
        decide(session, spec, staging)
        staging.add([row for row in rows if row.source_id in listed_ones])
        staging.add_read([row for row in rows if row.source_id in by_id], by_id, by_id=True)
        with session.ledger(spec).lock(on_wait=lambda note: _say(session, spec, note)):
            staging.keep_superseded()
            hold_creates(session, spec, staging, ids)
            staging.merge(observed_at)
            for numbers in (listed_ones, by_id):
                seen = {row.source_id: numbers[row.source_id] for row in rows if row.source_id in numbers}
                session.ledger(spec).mark_observed(seen, observed_at, by_id=numbers is by_id)
        deliver_pending(session, spec, staging, Counts(), sync_id=None)
    known = session.ledger(spec).lookup(ids)
    return {source_id for source_id, record in known.items() if record.is_delivered}


def deliver_references(
    session: Session, spec: EntitySpec, waiting: Callable[[], Iterable[list[StagedRow]]], read_no: int, run_id: str
) -> set[tuple[str, str]]:
    """Deliver the records for which these rows wait; returns the ``(entity, id)`` pairs that are at the target now.

    What waits for one that could not be delivered just now gets that reason.
    """
    wanted: dict[str, set[str]] = {}
    for rows in waiting():
        for row in rows:
            for entity, source_id in awaited(row):
                wanted.setdefault(entity, set()).add(source_id)
    delivered: set[tuple[str, str]] = set()
    for entity, ids in wanted.items():
        session.report(Progress(entity, "load", len(ids), "delivering what others refer to"))
        delivered |= {(entity, source_id) for source_id in sync_by_id(session, session.specs[entity], sorted(ids))}
    if any((entity, source_id) not in delivered for entity, ids in wanted.items() for source_id in ids):
        for rows in waiting():
            _note_waiting(session, spec, rows, delivered, read_no, run_id)
    return delivered


def _note_waiting(
    session: Session,
    spec: EntitySpec,
    rows: Iterable[StagedRow],
    delivered: Collection[tuple[str, str]],
    read_no: int,
    run_id: str,
) -> None:
    """Write down for what records wait, except where the checks have done so."""
    fields = {entity: name for name, entity in spec.references.items()}
    found = [
        Reject(row.source_id, fields[entity], NOT_DELIVERED, undelivered(entity), key, row.partition)
        for row in rows
        if row.rule is None
        for entity, key in awaited(row)
        if (entity, key) not in delivered
    ]
    ids = [str(reject.source_id) for reject in found]
    session.ledger(spec).rejects.replace(None, found, run_id, session.now(), source_ids=ids, read_no=read_no)


@dataclass(frozen=True, slots=True)
class Missed:
    """The state of requested records that the source did not return."""

    absent: Collection[str] = ()
    """Those that are not stored, or are stored as deleted."""
    nonexistent: Collection[str] = ()
    """Those of which at most a note is stored that they do not exist."""
    deleted: AbstractSet[str] = frozenset()
    """Those proven to be deleted."""
    unconfirmed: Collection[str] = ()
    held: frozenset[str] = frozenset()
    """Those whose delete is held."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why each of the unconfirmed is not deleted."""


class Targeted:
    """One run over a few ids."""

    def __init__(
        self,
        session: Session,
        spec: EntitySpec,
        ids: list[str],
        run_id: str,
        *,
        in_list: bool = False,
        days: Days | None = None,
    ) -> None:
        """``in_list``: read one list, of these days or of the entity, since the ids are too many to read each."""
        self._session, self._spec, self._ids, self._run_id = session, spec, ids, run_id
        self._in_list, self._days, self._listed = in_list, days, set[str]()
        self._missing = Missed()
        self._ledger = session.ledger(spec)
        self._observed_at = session.now()
        self._numbers: dict[str, int] = {}
        self._reported: set[str] = set()
        self._counts = Counts()
        self._left: dict[str, str] = {}
        self._held = frozenset[str]()
        self._only: Collection[str] | None = None
        """The records that may be touched at all; None where what earlier runs left of others may be finished, too."""

    def run(self) -> TargetedResult:
        """Read, settle deletions, deliver; the row in ``syncs`` makes no partition look complete."""
        before, at = self._session.requests, self._observed_at
        sync_id = self._ledger.syncs.begin(run_id=self._run_id, observed_at=at, at=at, targeted=True)
        reason = ""
        try:
            found = self._read()
            self._missing = self._look_for_missing(found)
            self._note_missing(found)
            with self._ledger.staging() as staging:
                decide(self._session, self._spec, staging)
                self._deliver(found, staging, sync_id)
            reason = TargetedResult(self._counts, self._left, self._held).problem
        except BaseException as error:  # Ctrl-C, too
            reason = str(error) if isinstance(error, SyncError) else INTERRUPTED
            raise
        finally:
            self._counts.requests = self._session.requests - before
            counts, requests = asdict(self._counts), self._counts.requests
            self._ledger.syncs.finish(sync_id, TARGETED, counts, requests, at=self._session.now(), reason=reason)
        return TargetedResult(
            self._counts, self._left, self._held, frozenset(self._missing.nonexistent) - self._left.keys()
        )

    def _read(self) -> dict[str, Record]:
        """What the source has of these now."""
        if not self._session.can_fetch(self._spec):
            self._numbers = dict.fromkeys(self._ids, draw(self._session.store))
            return listed(self._session, self._spec, self._ids)
        read: dict[str, Record | None] = self._read_list()
        failed: dict[str, ApiError] = {}
        asked = [source_id for source_id in self._ids if source_id not in read]
        budget = self._session.settings.max_confirmations if self._in_list else None
        for source_id in asked[:budget]:
            try:
                read[source_id], self._numbers[source_id] = self._session.fetch_numbered(self._spec, source_id)
            except ApiError as error:
                failed[source_id] = error
        if failed and not read:
            raise next(iter(failed.values()))  # no single record is to blame, as far as is known
        self._left = {source_id: str(error) for source_id, error in failed.items()}
        self._left |= dict.fromkeys(asked[budget:] if budget is not None else [], BEYOND)
        self._ids = sorted(read)
        return {source_id: record for source_id, record in read.items() if record is not None}

    def _read_list(self) -> dict[str, Record | None]:
        """Those of the records that one list has, where it is to be read; what it lacks is read by id."""
        if not self._in_list:
            return {}
        number, days = draw(self._session.store), self._days
        window = Window.of_days(days.first, days.last) if days is not None else None
        lately = self._ledger.lately_read_by_id(self._ids)  # a list may lag behind it
        found = listed(self._session, self._spec, set(self._ids) - lately, window)
        self._numbers, self._listed = dict.fromkeys(found, number), set(found)
        return dict(found)

    def _look_for_missing(self, found: dict[str, Record]) -> Missed:
        """The state of the records that were not found; those that a second look finds are added to ``found``."""
        missing = [source_id for source_id in self._ids if source_id not in found]
        known = self._ledger.lookup(missing)
        stored = {record.source_id for record in known.values() if not record.is_tombstone}
        nonexistent = [source_id for source_id in missing if source_id not in stored]
        asked = [record for record in known.values() if self._may_exist(record)]
        absent = sorted(set(missing).difference(record.source_id for record in asked))
        if not asked:
            return Missed(absent, nonexistent)
        held, why = hold_deletes(self._session, self._spec, asked)
        free = [record for record in asked if record.source_id not in held]
        deleted = self._confirmed(free, found) if free else set[str]()
        unconfirmed = [record.source_id for record in asked if record.source_id not in deleted | found.keys()]
        reasons = {source_id: why if source_id in held else UNBELIEVABLE for source_id in unconfirmed}
        return Missed(absent, nonexistent, deleted, unconfirmed, held, reasons)

    def _note_missing(self, found: Collection[str]) -> None:
        """Say why each record that is missing without proof stays."""
        missed = self._missing
        stored = self._note_absent([source_id for source_id in missed.absent if source_id not in found])
        self._left = dict(missed.reasons) | dict.fromkeys(stored, STORED_SINCE) | self._left
        self._held |= missed.held
        self._counts.held_deletes += len(missed.held)
        self._counts.unconfirmed += len(missed.unconfirmed) - len(missed.held)

    def _mark_deleted(self, deleted: Collection[str], unconfirmed: Collection[str]) -> set[str]:
        """Mark these as deleted, except what a newer read has found meanwhile, and return them; under the lock."""
        newer = self._ledger.read_since({key: self._numbers[key] for key in deleted})
        self._left |= dict.fromkeys(newer, OUTDATED)
        for by_id in (True, False):
            numbers = {key: self._numbers[key] for key in deleted if key not in newer and self._is_by_id(key) is by_id}
            self._ledger.mark_deleted(numbers, self._observed_at, by_id=by_id)
        newest = max(self._numbers.values(), default=0)
        self._ledger.mark_unconfirmed(unconfirmed, self._session.now(), read_no=newest)
        return {*deleted} - newer

    def _note_absent(self, absent: Collection[str]) -> set[str]:
        """Note ids that do not exist, so that a batch that was read earlier does not load them; returns those it has loaded."""
        numbers = {source_id: self._numbers[source_id] for source_id in absent if self._is_by_id(source_id)}
        return self._ledger.leave_tombstones(numbers, self._observed_at)

    def _may_exist(self, known: Known) -> bool:
        """Whether the record exists as far as we know - or was proven to be deleted, but is still at the target."""
        return known.deleted_at is None or (known.delivered_hash is not None and deletes(self._spec))

    def _is_by_id(self, source_id: str) -> bool:
        """Whether what is known of the record now is from a read by id, rather than from a list or report."""
        return self._session.can_fetch(self._spec) and source_id not in self._reported | self._listed

    def _confirmed(self, missing: Collection[Known], found: dict[str, Record]) -> set[str]:
        """The missing records that a second, independent look proves to be deleted.

        The id of another workspace's record reads like a deleted one, and a plain member does not see other people's
        records: reads by id count only if a record known to exist could be read in the same run. An entry of a user
        who left reads like a deleted one, too: only the report decides about it. What a second list or the report
        contains is added to ``found``.
        """
        session, spec = self._session, self._spec
        there, ids = people(session, spec), {record.source_id for record in missing}
        if not session.can_fetch(spec):
            self._numbers |= dict.fromkeys(ids, draw(session.store))
            again = listed(session, spec, ids)
            found.update(again)
            return ids - again.keys()
        theirs = {record.source_id for record in missing if there.include(record.fields)}
        witnesses = islice(self._witnesses(missing, there), WITNESSES)
        believable = theirs and (found or any(session.fetch(spec, witness) is not None for witness in witnesses))
        others = [record for record in missing if record.source_id not in theirs]
        return (theirs if believable else set()) | (self._not_reported(others, found) if others else set())

    def _not_reported(self, entries: list[Known], found: dict[str, Record]) -> set[str]:
        """The entries of former users that the report does not contain; the others are added to ``found``."""
        ids = {entry.source_id for entry in entries}
        try:
            days = {entry.source_id: entry.partition for entry in entries}
            again, number = reported(self._session, self._spec, days)
        except ApiError as error:
            self._left |= dict.fromkeys(ids, f"{FORMER_USER}: {error}")
            return set()
        self._numbers |= dict.fromkeys(ids, number)
        self._reported |= ids
        found.update(again)
        return ids - again.keys()

    def _witnesses(self, missing: Collection[Known], there: People) -> Iterator[str]:
        """Records that should be readable, those of the same days first: what was read lately is likely to exist."""
        days = {known.partition for known in missing if known.partition}
        scopes: list[Scope] = [*((day, day) for day in sorted(days, reverse=True)), None]
        others = {*self._ids, *self._left}
        for known in (known for scope in scopes for page in self._ledger.scan(scope) for known in page):
            lives = known.deleted_at is None and known.unconfirmed_at is None
            if lives and known.source_id not in others and there.include(known.fields):
                others.add(known.source_id)
                yield known.source_id

    def _deliver(self, found: dict[str, Record], staging: Staging, sync_id: int) -> None:
        session, spec = self._session, self._spec
        newest = max(self._numbers.values(), default=0)
        rows = process_records(session, spec, found.values(), self._ids, read_no=newest, run_id=self._run_id)
        self._stage(self._deliver_references(rows, newest), staging)
        with self._ledger.lock(on_wait=lambda note: _say(session, spec, note)):
            deleted = self._mark_deleted(self._missing.deleted, self._missing.unconfirmed)
            self._merge(staging, found)
        self._send(deleted, staging, sync_id)

    def _stage(self, rows: list[StagedRow], staging: Staging) -> None:
        """Stage the rows, each with the number of its read."""
        for by_id in (True, False):
            some = [row for row in rows if self._is_by_id(row.source_id) is by_id]
            staging.add_read(some, self._numbers, by_id=by_id)

    def _hold(self, staging: Staging, ids: Collection[str]) -> set[str]:
        """Mark those of these rows that a guard holds, and return them."""
        leave_former(self._session, self._spec, staging)
        held = hold_rewrites(self._session, self._spec, staging, ids)
        held |= hold_creates(self._session, self._spec, staging, ids)
        self._left |= held
        self._held |= held.keys()
        return set(held)

    def _merge(self, staging: Staging, found: Collection[str]) -> None:
        """Store what was found; under the lock."""
        superseded = staging.doubtful() if staging.keep_superseded() else ()
        self._left |= dict.fromkeys([*staging.outdated(), *superseded], OUTDATED)
        held = self._hold(staging, found)
        staging.merge(self._observed_at)
        for by_id in (True, False):
            seen = [key for key in found if key not in held and self._is_by_id(key) is by_id]
            self._ledger.mark_observed({key: self._numbers[key] for key in seen}, self._observed_at, by_id=by_id)

    def _send(self, deleted: Collection[str], staging: Staging, sync_id: int) -> None:
        """Deliver what is pending, and delete what is deleted at the source."""
        session, spec, counts = self._session, self._spec, self._counts
        statuses = Counter(staging.counts())
        counts.extracted = statuses.total()
        counts.rejected, counts.excluded, counts.waiting, counts.held = (
            statuses[s] for s in ("rejected", "excluded", "waiting", "held")
        )
        counts.rejected += staging.refused()
        counts.lagging = statuses["kept"]
        try:
            deliver_pending(session, spec, staging, counts, sync_id, self._only)
            left = staging.left()
            counts.waiting += len(left)
            left |= deliver_deletes(session, spec, deleted, counts, sync_id)
            self._left |= dict.fromkeys(left, WRITTEN_ELSEWHERE)
        except BaseException:  # Ctrl-C, too
            with suppress(SyncError):  # a broken store cannot count: what broke it is what matters
                counts.waiting += sum(map(len, pages(spec, staging)))  # not sent: pending, not unchanged
            raise
        finally:
            sent = counts.created + counts.adopted + counts.updated
            apart = counts.rejected + counts.excluded + counts.waiting + counts.held + counts.lagging
            counts.unchanged = counts.extracted - sent - apart

    def _deliver_references(self, rows: list[StagedRow], number: int) -> list[StagedRow]:
        """The rows, accepted where all they wait for is delivered now."""
        waiting = [row for row in rows if row.status == "waiting"]
        delivered = deliver_references(self._session, self._spec, lambda: [waiting], number, self._run_id)
        ready = {row.source_id for row in waiting if is_ready(row, delivered)}
        return [row._replace(status="accepted") if row.source_id in ready else row for row in rows]


def _say(session: Session, spec: EntitySpec, note: str) -> None:
    session.report(Progress(spec.entity, "wait", note=note))
