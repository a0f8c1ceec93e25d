"""Load: make the target what the checked batch says it should be.

Leave out the days for which a newer read is loaded, confirm what is missing, store the desired state, then deliver what
is pending. A crash at any point leaves pending rows, and pending rows are what the next load delivers: there is nothing
to replay.

The entity's lock covers what is decided from the ledger and its merge; no request is made while it is held. What has to
be read again first is read without it, compared once more under it, and left to the end of the load where it does not
hold any more. Deliveries need no lock: each record is claimed while it is written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple

from sqlalchemy import Connection

from sync_pipeline.connectors.error_category import category_of
from sync_pipeline.connectors.paging import Record
from sync_pipeline.errors import Cancelled, FatalApiError, NotAuthorized, RetryableApiError, SyncError
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.progress import Progress
from sync_pipeline.session.session import Session, is_first_contact
from sync_pipeline.stages.absence import Stage, look_up_absent, mark_absent, people
from sync_pipeline.stages.batch import Batch, Counts, Days, Options
from sync_pipeline.stages.check import staged
from sync_pipeline.stages.claims import await_others, still_held
from sync_pipeline.stages.deliver import deliver_deletes, deliver_pending
from sync_pipeline.stages.guards import HeldLines, Holding, hold, hold_rows, use_approvals
from sync_pipeline.stages.inbox import close_covered, events_about, leave_open, leave_unanswered, unanswered
from sync_pipeline.stages.journal import begin_sync
from sync_pipeline.stages.plan import pages
from sync_pipeline.stages.process import is_ready, process_records
from sync_pipeline.stages.targeted import deliver_references, read_now, release
from sync_pipeline.store.bulk import chunks
from sync_pipeline.store.ledger import Ledger
from sync_pipeline.store.loads import (
    Load,
    Loading,
    Reopened,
    days_in,
)
from sync_pipeline.store.records import BEFORE_SWITCH_ON
from sync_pipeline.store.staged_missing import BY_ID, DELETED, HELD, MOVED, PAGE, UNCONFIRMED, Which
from sync_pipeline.store.staging import Doubt, Staging
from sync_pipeline.store.syncs import INTERRUPTED, SCHEMA_CHANGED, SyncOutcome

SHOWN_DAYS = 5
MOST_FAILURES = 2
"""Reads by id that may fail, of records that have moved away, before the others are left to the next sync."""
MAY_HAVE_MOVED = "a record of it may have moved since, and could not be read again"
HAS_CHANGED = "a record of it was read as unchanged and is stored in another form by now, and could not be read again"
WHY_NOT_DONE = {"changed": HAS_CHANGED, "contested": MAY_HAVE_MOVED}
MAY_BE_DELETED = ("changed", "unlisted")
"""With these reasons a record that a read by id does not find is missing; otherwise what is stored of it is kept."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load did, day by day; an entity without days has the one day ``""``."""

    counts: Counts
    days: tuple[str, ...]
    """The days of this read that were loaded, to the end."""
    covered: dict[str, Load]
    """Days that were not loaded, because a newer read of them is, to the end."""
    not_done: dict[str, str]
    """Days that are not loaded to the end, and why."""
    held: tuple[HeldLines, ...] = ()
    """What the guards hold."""
    held_days: frozenset[str] = frozenset()
    """Days with creates or updates that are held: loaded except for these, and not done."""
    undecided: frozenset[str] = frozenset()
    """Records whose current state this read could not determine: events about them stay open. Only those that events are
    about are named, since it may be all records."""
    unanswered: frozenset[str] = frozenset()
    """The undecided records that the read may show in their state before an event."""

    @property
    def outcome(self) -> SyncOutcome:
        """How the sync ended; held deletes alone keep it from nothing."""
        return "incomplete" if self.not_done else "held" if self.held_days else "success"

    @property
    def why_held(self) -> str:
        """What is held and how to go on; empty when nothing is."""
        return " ".join(held.reason for held in self.held)

    @property
    def done(self) -> list[str]:
        """The days that are completely delivered, by this load or a newer one."""
        return sorted([*self.days, *self.covered])

    @property
    def problem(self) -> str:
        """What is not done and why, in one sentence; empty when everything is."""
        return f"{_not_loaded(self.not_done)} The other days are loaded." if self.not_done else ""


def load(
    session: Session, spec: EntitySpec, batch: Batch, days: Days | None, options: Options, *, run_id: str
) -> Loaded:
    """Deliver a checked batch and return the outcome of its records and days.

    A day that a newer read has loaded is left out; what a guard holds is neither stored nor delivered. Raises ApiError when a
    system fails (what was delivered until then is remembered); StoreError.
    """
    before = session.requests
    ledger = session.ledger(spec)
    with staged(session, spec, batch, days, options, run_id=run_id) as staging:
        counts, reason, category = Counts(), "", ""
        sync_id = begin_sync(session, spec, batch, days, run_id=run_id)
        outcome: SyncOutcome = "failed"
        try:
            loaded = _BatchLoad(session, spec, batch, options, staging, counts, sync_id, run_id).run()
            ledger.loads.mark_done(loaded.days, sync_id, session.now())
            outcome, reason = loaded.outcome, loaded.problem or loaded.why_held
        except SyncError as error:
            outcome = "cancelled" if isinstance(error, Cancelled) else "failed"
            leave_open(session, batch, reason := str(error))
            category = category_of(error)
            raise
        except BaseException as error:
            reason = "" if isinstance(error, Exception) else INTERRUPTED
            raise
        finally:
            counts.requests = batch.notes.get("requests", 0) + session.requests - before
            figures, at = asdict(counts) | _schema(batch), session.now()
            ledger.syncs.finish(sync_id, outcome, figures, counts.requests, at=at, reason=reason, category=category)
    close_covered(session, spec, days, loaded.done, batch, run_id, besides=loaded.undecided)
    if reason:
        leave_open(session, batch, reason)
    elif loaded.unanswered:
        leave_unanswered(session, spec, batch, loaded.unanswered)
    if counts.updated or counts.deleted:
        release(session, spec, run_id)
    return loaded


def _schema(batch: Batch) -> dict[str, str]:
    """That the source has other fields than are known, for the row of the sync."""
    return {SCHEMA_CHANGED: batch.notes[SCHEMA_CHANGED]} if SCHEMA_CHANGED in batch.notes else {}


def _deliver_awaited(session: Session, spec: EntitySpec, staging: Staging, run_id: str) -> None:
    """Deliver the records that the batch waits for, and accept the rows that wait for nothing else."""
    delivered = deliver_references(session, spec, lambda: staging.rows(waiting=True), staging.read_no, run_id)
    for rows in staging.rows(waiting=True):
        staging.accept(row.source_id for row in rows if is_ready(row, delivered))


def _first_contact(
    session: Session, spec: EntitySpec, options: Options, staging: Staging, counts: Counts, unstaged: int
) -> Loaded | None:
    """At first contact nothing is written - not even what the batch refers to - until a person approves it."""
    if not is_first_contact(session, spec.entity):
        return None
    holding, statuses = hold(session, spec, staging, options), staging.counts()
    if not holding.everything:
        return None
    counts.rejected = unstaged + statuses.get("rejected", 0)
    counts.excluded, counts.held = statuses.get("excluded", 0), holding.held[0].count
    counts.extracted = counts.rejected + counts.excluded + counts.held
    return Loaded(counts, (), {}, {}, holding.held, frozenset(days_in(staging.scope)))


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """What came of the records that were to be read by id."""

    days: Mapping[str, str] = field(default_factory=dict)
    """Days that lack a record that could not be read again, and why."""
    missed: frozenset[str] = frozenset()
    """Records that a read by id did not find: their deletion is confirmed like that of any other absent record."""
    unanswered: frozenset[str] = frozenset()
    """Records with new events that the batch does not reflect and that could not be read again."""


@dataclass(slots=True)
class _BatchLoad:
    """One load of a batch."""

    session: Session
    spec: EntitySpec
    batch: Batch
    options: Options
    staging: Staging
    counts: Counts
    sync_id: int
    run_id: str
    again: ReadAgain = field(default_factory=ReadAgain)
    holding: Holding = field(default_factory=Holding)
    cut: dict[str, Load] = field(default_factory=dict)
    """The days that a newer read has loaded."""
    mine: list[str] = field(default_factory=list)
    """The other days."""
    numbers: dict[str, int] = field(default_factory=dict)
    """Of the reads of single records by id."""
    reopened: dict[str, Reopened] = field(default_factory=dict)
    held_days: frozenset[str] = frozenset()
    unfound: set[str] = field(default_factory=set)
    """Records that are to be read once more, and may be on any of these days."""
    not_found: dict[str, int] = field(default_factory=dict)
    """Records that have moved away from these days and that a read by id did not find: with its number."""

    @property
    def ledger(self) -> Ledger:
        """What is stored of the entity."""
        return self.session.ledger(self.spec)

    def run(self) -> Loaded:
        """Merge, deliver, and say what is done."""
        session, spec, staging = self.session, self.spec, self.staging
        # Without an id, or under that of another record: rejected.
        unstaged = int(self.batch.notes["rows"]) - sum(staging.counts().values())
        held = _first_contact(session, spec, self.options, staging, self.counts, unstaged)
        if held is not None:
            return held
        if self.batch.notes["waiting"]:
            _deliver_awaited(session, spec, staging, self.run_id)
        is_looked_up = self._merge(unstaged)
        written_elsewhere = _deliver(session, spec, staging, self.counts, self.sync_id)
        self.ledger.loads.close_again(self.reopened)
        unread = self._read_once_more() if is_looked_up else set[str]()
        not_done = await_others(session, spec, staging.scope, self._late)
        not_done |= self.again.days
        not_done |= dict.fromkeys(unread.intersection(self.mine), HAS_CHANGED)
        elsewhere = {*written_elsewhere.values()}.intersection(self.mine)
        not_done |= dict.fromkeys(elsewhere, still_held(written_elsewhere))
        return self._loaded(not_done)

    def _merge(self, unstaged: int) -> bool:
        """Merge under the lock; returns whether records were read before it, so that others may have to be read once more."""
        session, spec, staging, ledger = self.session, self.spec, self.staging, self.ledger
        say = partial(_announce, session, spec)
        with ledger.lock(on_wait=say):
            self.cut = staging.cut()
            doubts = doubts_of(session, spec, self.batch, staging)
            if not self._is_to_be_looked_up(doubts):
                self._store(unstaged)
                return False
        self._look_up(doubts)
        with ledger.lock(on_wait=say):
            self.cut |= staging.cut()
            self._drop_outdated()
            self._store(unstaged)
        return True

    def _is_to_be_looked_up(self, doubts: Doubts) -> bool:
        """Whether records have to be read by id first; if not, it is decided what the guards hold."""
        session, spec, staging = self.session, self.spec, self.staging
        if any(doubts) or (session.can_fetch(spec) and staging.left_behind(1)):
            return True
        self.holding = hold(session, spec, staging, self.options)
        return self.holding.missing > 0

    def _look_up(self, doubts: Doubts) -> None:
        """Read what this batch cannot decide; without the lock, since that takes requests."""
        session, spec, staging = self.session, self.spec, self.staging
        self.again = read_again(session, spec, staging, doubts, self._stage)
        missed = {key: staging.missed[key] for key in self.again.missed}
        self.ledger.leave_tombstones(missed, session.now())  # of those never stored
        if not self.holding.missing:  # else nothing was read that could have changed it
            self.holding = hold(session, spec, staging, self.options)
        look_up_absent(session, spec, staging, self.holding, self._stage)
        if missed := finish_moves(session, spec, staging, self._stage):
            there, known = (
                people(session, spec),
                self.ledger.lookup(missed),
            )  # a read by id finds no record of a former user
            self.not_found = {key: missed[key] for key, record in known.items() if there.include(record.fields)}

    def _stage(self, found: Mapping[str, Record], numbers: Mapping[str, int], *, by_id: bool) -> None:
        """Process records that were read again like those of the batch, each with the number of its read."""
        if not found:
            return
        newest = max(numbers[key] for key in found)
        ids, run_id = list(found), self.run_id
        rows = process_records(self.session, self.spec, found.values(), ids, read_no=newest, run_id=run_id)
        self.staging.add_read(rows, numbers, by_id=by_id)
        if by_id:
            self.numbers |= {key: numbers[key] for key in found}

    def _drop_outdated(self) -> None:
        """Leave out what is outdated because other runs have merged in the meantime."""
        staging = self.staging
        unfound = staging.still_unfound()
        staging.keep_superseded()
        self._leave_missing(DELETED, why="unlisted")
        self._leave_missing(UNCONFIRMED, ~HELD)
        staging.keep_missing_since()
        staging.keep_doubtful()
        staging.keep(unfound, "contested")
        self.unfound = unfound | staging.doubtful_among(staging.unfound)
        doubtful = staging.doubtful_among(self.numbers)
        self.numbers = {key: number for key, number in self.numbers.items() if key not in doubtful}

    def _leave_missing(self, *which: Which, why: Doubt | None = None) -> None:
        """Decide nothing about those of these missing records that a newer read has found since; keep them, if there is a doubt."""
        missing = self.staging.missing
        for page in missing.pages(*which):
            numbers = {known.source_id: known.read_no or self.staging.read_no for known in page}
            newer = self.ledger.read_since(numbers)
            missing.mark("left", dict.fromkeys(newer))
            self.staging.keep(newer if why else (), why)

    def _read_once_more(self) -> set[str]:
        """Read the records that other runs have merged while this load was reading; returns the days of those that are left."""
        session, staging, most = self.session, self.staging, self.session.settings.max_confirmations
        some = sorted({*staging.doubtful(most), *self.unfound})[:most]
        if not some:
            return set()
        left = read_now(session, self.spec, some, self.run_id).left
        read = [key for key in some if key not in left]
        staging.settle(read)
        self.unfound.difference_update(read)
        return {*self.mine} if self.unfound else staging.unread_days()

    def _leave_existing(self) -> None:
        """Keep what the first sync in these accounts leaves alone, before it is noted that there was one."""
        for rows in self.staging.rows():
            existing = [row.source_id for row in rows if row.rule == BEFORE_SWITCH_ON]
            self.ledger.leave_alone(existing, self.session.now(), self.batch.read_no)

    def _store(self, unstaged: int) -> None:
        """Make the batch the desired state of its records; under the lock."""
        session, staging, ledger, holding = self.session, self.staging, self.ledger, self.holding
        mark_absent(session, self.spec, staging, holding, self.counts)
        unproven_days = self._mark_not_found()
        hold_rows(staging, holding)
        use_approvals(staging, holding.uses)
        self.held_days = staging.held_days() if holding.rewritten or holding.creates else frozenset()
        self.mine = [day for day in days_in(staging.scope) if day not in self.cut]
        fingerprint, held = self.spec.fingerprint, self.held_days
        loading = Loading(self.mine, self.batch.read_no, fingerprint, self.sync_id, self.run_id, session.now(), held)
        moved_days = staging.moved_days()

        def open_days(tx: Connection) -> None:
            # A run that is killed before the merge has ended leaves the other rows to the next read of these days.
            ledger.loads.mark_not_done(tx, self.mine)
            self.reopened.update(ledger.loads.reopen(tx, moved_days))

        def note(tx: Connection) -> None:
            ledger.loads.note(tx, loading)
            self.reopened.update(ledger.loads.reopen(tx, moved_days))  # where only what was pending before is left
            ledger.loads.reopen(tx, unproven_days.difference(self.mine))
            staging.drop_unmet_facts(tx)

        if self.spec.target.once and not ledger.loads.any_newer(-1):
            self._leave_existing()
        staging.merge(self.batch.observed_at, note, open_days)
        if self.numbers:
            ledger.mark_observed(self.numbers, session.now(), by_id=True)
        ledger.syncs.mark_loaded(self.sync_id, session.now())
        _count(self.counts, staging, unstaged)

    def _mark_not_found(self) -> set[str]:
        """Name what was not found, unless it was read since; returns the days whose next read proves whether it is deleted."""
        if not self.not_found:
            return set()
        unread, oldest = self.not_found.keys() - self.ledger.read_since(self.not_found), min(self.not_found.values())
        self.counts.unconfirmed += self.ledger.mark_unconfirmed(unread, self.session.now(), read_no=oldest)
        return {record.partition or "" for record in self.ledger.lookup(unread).values()}

    def _late(self) -> dict[str, str]:
        """Days that wait for what other runs are to deliver, and why they are not done yet."""
        staging, mine = self.staging, self.mine
        newest = self.ledger.loads.newer(staging.scope, staging.read_no) if self.cut else {}
        self.cut |= {day: load for day, load in newest.items() if day in self.cut}
        late = {
            day: f"run {load.run_id} has read it since and did not finish"
            for day, load in self.cut.items()
            if not load.done_at
        }
        late |= dict.fromkeys(staging.days_left(mine), "a record that moved away is not delivered yet")
        days = staging.undelivered_days().intersection(mine)
        late |= dict.fromkeys(days, "what a newer read found of a record of it is not delivered yet")
        return late

    def _loaded(self, not_done: dict[str, str]) -> Loaded:
        again, holding, held_days, missing = self.again, self.holding, self.held_days, self.staging.missing
        covered = {day: load for day, load in self.cut.items() if day not in not_done}
        done = tuple(day for day in self.mine if day not in not_done and day not in held_days)
        # The report is a list, too: what it still has of a former user's entry answers no event.
        open_still = again.unanswered | missing.among(again.missed, MOVED, ~BY_ID)
        is_any = missing.total or self.counts.lagging
        named = events_about(self.session, self.spec, self.batch) if is_any else set[str]()
        kept = self.staging.kept_among(named)
        undecided = open_still.union(
            self.unfound, kept - missing.among(kept, HELD), missing.among(named, UNCONFIRMED, ~HELD)
        )
        return Loaded(
            self.counts, done, covered, not_done, holding.held, held_days.difference(self.cut), undecided, open_still
        )


class Doubts(NamedTuple):
    """Records about which a batch cannot decide by itself."""

    kept: int
    """How many keep their stored state unless a read by id returns a newer one: these are marked in the staging."""
    unfound: Collection[str]
    """Those of which it is not known on which day they are."""
    unanswered: Collection[str]
    """Those with events that the list does not reflect."""


def doubts_of(session: Session, spec: EntitySpec, batch: Batch, staging: Staging) -> Doubts:
    """The records about which the batch cannot decide by itself; what is stored of them is kept."""
    new, unfound = unanswered(session, spec, staging, batch), staging.still_unfound()
    kept = staging.keep_doubtful()
    others = staging.doubtful_among(new) | unfound
    return Doubts(kept, sorted(unfound), [key for key in new if key not in others])


def read_again(session: Session, spec: EntitySpec, staging: Staging, doubts: Doubts, stage: Stage) -> ReadAgain:
    """Read by id what this batch cannot decide, as many as a run may; the rest keeps its stored state."""
    if not any(doubts):
        return ReadAgain()
    budget = session.settings.max_confirmations if session.can_fetch(spec) else 0
    kept = staging.doubtful(budget)
    asked = dict.fromkeys([*doubts.unfound, *kept, *doubts.unanswered])
    now = {key: session.fetch_numbered(spec, key) for key in islice(asked, budget)}
    found = {key: record for key, (record, _) in now.items() if record is not None}
    numbers = {key: number for key, (_, number) in now.items()}
    may_miss = {*doubts.unanswered, *staging.unfound, *(key for key, why in kept.items() if why in MAY_BE_DELETED)}
    missed = {key: numbers[key] for key in now if key in may_miss and key not in found}
    staging.keep(key for key in doubts.unfound if key not in missed)
    staging.settle(now)
    staging.miss(missed)
    stage(found, numbers, by_id=True)
    # Those on a day that this batch leaves to a newer read are not looked at with what it lacks.
    known = session.ledger(spec).lookup(missed)
    elsewhere = {key for key, record in known.items() if record.deleted_at is None} - staging.absent_among(missed)
    days = {day: WHY_NOT_DONE[why] for why, day in sorted(staging.doubtful_days()) if why in WHY_NOT_DONE}
    staging.settle()
    return ReadAgain(days, frozenset(missed), frozenset(doubts.unanswered) - now.keys() | elsewhere)


def finish_moves(session: Session, spec: EntitySpec, staging: Staging, stage: Stage) -> dict[str, int]:
    """Read by id the records that the target may still show on these days.

    Returns those that were not found, with the numbers of the reads. One that cannot be read does not block others, but its days are
    not done; after ``MOST_FAILURES`` of them the others are left to the next sync.
    """
    now: dict[str, tuple[Record | None, int]] = {}
    failures = 0
    for key in staging.left_behind(session.settings.max_confirmations) if session.can_fetch(spec) else ():
        try:
            now[key] = session.fetch_numbered(spec, key)
        except (FatalApiError, RetryableApiError) as error:
            failures += 1
            if isinstance(error, NotAuthorized):
                raise
            if failures == MOST_FAILURES:  # each is tried several times: for all of them that may take an hour
                break
    found = {key: record for key, (record, _) in now.items() if record is not None}
    numbers = {key: number for key, (_, number) in now.items()}
    stage(found, numbers, by_id=True)
    return {key: number for key, number in numbers.items() if key not in found}


def _count(counts: Counts, staging: Staging, unstaged: int) -> None:
    statuses = staging.counts()
    counts.extracted, counts.lagging = sum(statuses.values()) + unstaged, statuses.get("kept", 0)
    counts.rejected = statuses.get("rejected", 0) + unstaged + staging.refused()
    counts.excluded, counts.waiting = statuses.get("excluded", 0), statuses.get("waiting", 0)
    counts.held = statuses.get("held", 0)


def _deliver(session: Session, spec: EntitySpec, staging: Staging, counts: Counts, sync_id: int) -> dict[str, str]:
    """Deliver; returns the records that other runs are still writing, with their days."""
    try:
        deliver_pending(session, spec, staging, counts, sync_id)
        left = staging.left()
        counts.waiting += len(left)
        for some in chunks(staging.missing.ids(DELETED), PAGE):
            left |= deliver_deletes(session, spec, some, counts, sync_id)
        return left
    except BaseException:  # Ctrl-C, too
        with suppress(SyncError):  # a broken store cannot count: what broke it is what matters
            counts.waiting += sum(map(len, pages(spec, staging)))  # not sent: pending, not unchanged
        raise
    finally:
        sent = counts.created + counts.adopted + counts.updated
        apart = counts.rejected + counts.excluded + counts.waiting + counts.held + counts.lagging
        counts.unchanged = counts.extracted - sent - apart


def _not_loaded(not_done: Mapping[str, str]) -> str:
    """Which days are not done, joined by the reason."""
    together: dict[str, list[str]] = {}
    for day, reason in sorted(not_done.items()):
        together.setdefault(reason, []).append(day)
    parts = []
    for reason, days in together.items():
        shown = ", ".join(days[:SHOWN_DAYS]) + (f" and {len(days) - SHOWN_DAYS} more days" if days[SHOWN_DAYS:] else "")
        parts.append(f"{shown or 'It'}: {reason}" if shown else f"Not loaded: {reason}")
    return f"{'. '.join(parts)}."


def _announce(session: Session, spec: EntitySpec, note: str) -> None:
    session.report(Progress(spec.entity, "wait", note=note))
