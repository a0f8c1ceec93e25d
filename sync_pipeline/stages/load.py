"""Load: make the target what the checked batch says it should be.

Under the entity's lock: leave out the days of which a newer read is loaded, remember the desired state, confirm what
vanished, then deliver what is pending. A crash at any point leaves pending rows, and pending rows are what the next
load delivers: there is nothing to replay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from sync_pipeline.connectors.paging import Record
from sync_pipeline.errors import SyncError
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.progress import Progress
from sync_pipeline.session.session import Session, is_first_contact
from sync_pipeline.stages.absence import settle_absent
from sync_pipeline.stages.batch import Batch, Counts, Days
from sync_pipeline.stages.check import Options, staged
from sync_pipeline.stages.deliver import deliver_deletes, deliver_pending
from sync_pipeline.stages.guards import HeldLines, hold, hold_rows, use_approvals
from sync_pipeline.stages.inbox import close_covered, leave_open, leave_unanswered, unanswered
from sync_pipeline.stages.journal import begin_sync
from sync_pipeline.stages.plan import pages
from sync_pipeline.stages.process import awaited, is_ready, process_records, processed_rows
from sync_pipeline.stages.references import undelivered
from sync_pipeline.store.loads import (
    Load,
    Loading,
    days_in,
)
from sync_pipeline.store.references import NOT_DELIVERED
from sync_pipeline.store.rejects import Reject
from sync_pipeline.store.staged import StagedRow
from sync_pipeline.store.staging import Staging
from sync_pipeline.store.syncs import SyncOutcome

SHOWN_DAYS = 5
MAY_HAVE_MOVED = "a record of it may have moved since, and could not be read again"
HAS_CHANGED = "a record of it was read as unchanged and is stored in another form by now, and could not be read again"
INTERRUPTED = "It was interrupted. What was delivered stays delivered; the next sync goes on from there."


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
    """Days with creates or updates that are held: loaded but for these, and not done."""
    undecided: frozenset[str] = frozenset()
    """Records of which this read could not say what they are now: events about them are not answered."""
    unanswered: frozenset[str] = frozenset()
    """Those of them of which the read may show what was before an event."""

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
        """The days of which everything is delivered, by this load or a newer one."""
        return sorted([*self.days, *self.covered])

    @property
    def problem(self) -> str:
        """What is not done and why, in one sentence; empty when everything is."""
        return f"{_told(self.not_done)} The other days are loaded." if self.not_done else ""


def load(
    session: Session, spec: EntitySpec, batch: Batch, days: Days | None, options: Options, *, run_id: str
) -> Loaded:
    """Deliver a checked batch and say what became of its records, and of its days.

    A day that a newer read has loaded is left out; what a guard holds is neither stored nor delivered. Raises ApiError when a
    system fails (what was delivered until then is remembered); StoreError.
    """
    before = session.requests
    ledger = session.ledger(spec)
    with (
        staged(session, spec, batch, days, options, run_id=run_id) as staging,
        ledger.lock(on_wait=lambda note: _announce(session, spec, note)),
    ):
        counts, reason = Counts(), ""
        sync_id = begin_sync(session, spec, batch, days, run_id=run_id)
        outcome: SyncOutcome = "failed"
        try:
            loaded = _apply(session, spec, batch, options, staging, counts, sync_id, run_id)
            ledger.loads.mark_done(loaded.days, sync_id, session.now())
            outcome, reason = loaded.outcome, loaded.problem or loaded.why_held
        except SyncError as error:
            leave_open(session, batch, reason := str(error))
            raise
        except BaseException as error:
            reason = "" if isinstance(error, Exception) else INTERRUPTED
            raise
        finally:
            counts.requests = batch.notes.get("requests", 0) + session.requests - before
            ledger.syncs.finish(sync_id, outcome, asdict(counts), counts.requests, at=session.now(), reason=reason)
    close_covered(session, spec, days, loaded.done, batch, run_id, besides=loaded.undecided)
    if reason:
        leave_open(session, batch, reason)
    elif loaded.unanswered:
        leave_unanswered(session, spec, batch, loaded.unanswered)
    if counts.updated or counts.deleted:
        _release(session, spec, run_id)
    return loaded


def _release(session: Session, spec: EntitySpec, run_id: str) -> None:
    from sync_pipeline.stages.targeted import release

    release(session, spec, run_id)


def _apply(
    session: Session,
    spec: EntitySpec,
    batch: Batch,
    options: Options,
    staging: Staging,
    counts: Counts,
    sync_id: int,
    run_id: str,
) -> Loaded:
    # Without an id, or under that of another record: rejected.
    unstaged = int(batch.notes["rows"]) - sum(staging.counts().values())
    held = _first_contact(session, spec, options, staging, counts, unstaged)
    if held is not None:
        return held
    if batch.notes["waiting"]:
        _deliver_awaited(session, spec, staging, run_id)
    cut = staging.cut()
    again = read_again(session, spec, batch, staging, run_id)
    holding = hold(session, spec, staging, options)
    absence = settle_absent(session, spec, staging, holding, counts)
    for by_id in (True, False):
        moved = {key: record for key, record in absence.moved.items() if (key in absence.by_id) is by_id}
        stage_again(session, spec, staging, moved, absence.numbers, run_id, by_id=by_id)
    finish_moves(session, spec, staging, run_id)
    hold_rows(staging, holding)
    held_days = staging.held_days() if holding.rewritten or holding.creates else frozenset[str]()
    mine = [day for day in days_in(staging.scope) if day not in cut]
    loading = Loading(mine, batch.read_no, spec.fingerprint, sync_id, run_id, session.now(), held_days)
    ledger = session.ledger(spec)

    moved_days, reopened = staging.moved_days(), dict[str, datetime]()

    def note(tx: Connection) -> None:
        ledger.loads.note(tx, loading)
        reopened.update(ledger.loads.reopen(tx, moved_days))
        use_approvals(tx, holding)
        staging.drop_unmet_facts(tx)

    staging.merge(batch.observed_at, note)
    ledger.syncs.mark_loaded(sync_id, session.now())
    _count(counts, staging, unstaged)
    _deliver(session, spec, staging, absence.gone, counts, sync_id)
    ledger.loads.close_again(reopened)
    not_done = {
        day: f"run {load.run_id} has read it since and did not finish" for day, load in cut.items() if not load.done_at
    }
    not_done |= again.days
    not_done |= dict.fromkeys(staging.days_left().intersection(mine), "a record that moved away is not delivered yet")
    late = staging.undelivered_days().intersection(mine)
    not_done |= dict.fromkeys(late, "what a newer read found of a record of it is not delivered yet")
    covered = {day: load for day, load in cut.items() if day not in not_done}
    done = tuple(day for day in mine if day not in not_done and day not in held_days)
    # The report is a list, too: what it still has of a former user's entry answers no event.
    open_still = again.unanswered | (again.missed & absence.moved.keys() - absence.by_id)
    undecided = (staging.kept_ids().union(absence.unconfirmed) - holding.deletes) | open_still
    return Loaded(counts, done, covered, not_done, holding.held, held_days.difference(cut), undecided, open_still)


def _deliver_awaited(session: Session, spec: EntitySpec, staging: Staging, run_id: str) -> None:
    """Deliver the records that the batch waits for, and accept the rows that wait for nothing else."""
    delivered = deliver_references(session, spec, lambda: staging.rows(waiting=True), staging.read_no, run_id)
    for rows in staging.rows(waiting=True):
        staging.accept(row.source_id for row in rows if is_ready(row, delivered))


def _first_contact(
    session: Session, spec: EntitySpec, options: Options, staging: Staging, counts: Counts, unstaged: int
) -> Loaded | None:
    """At first contact nothing is written - not even what the batch refers to - until somebody allows it."""
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
    """Records that a read by id did not find: whether they are gone is proven as for any that the batch lacks."""
    unanswered: frozenset[str] = frozenset()
    """Records with new events of which the batch shows nothing and that could not be read again."""


def read_again(session: Session, spec: EntitySpec, batch: Batch, staging: Staging, run_id: str | None) -> ReadAgain:
    """Read by id what this batch cannot decide, as many as a run may; of the rest what is stored is kept.

    Without a run nothing of it is remembered: a preview decides as the sync would.

    Records that a newer read has on another day may have moved back; one that was read as unchanged may be stored in another form by now; a list may lag behind what a read by id found
    minutes ago, or behind an event.
    """
    contested, changed, unlisted = staging.contested(), staging.changed_since(), staging.unlisted()
    doubtful = list(dict.fromkeys([*contested, *changed, *staging.lagging(), *unlisted]))
    told = [key for key in unanswered(session, spec, staging, batch) if key not in doubtful]
    asked = [*doubtful, *told]
    if not asked:
        return ReadAgain()
    budget = session.settings.max_confirmations if session.can_fetch(spec) else 0
    now = {key: session.fetch_numbered(spec, key) for key in asked[:budget]}
    found = {key: record for key, (record, _) in now.items() if record is not None}
    numbers = {key: number for key, (_, number) in now.items()}
    missed = {key: numbers[key] for key in (*changed, *unlisted, *told) if key in now and key not in found}
    staging.keep(key for key in doubtful if key not in missed)
    staging.miss(missed)
    if run_id is not None:
        session.ledger(spec).leave_tombstones(missed, session.now())  # of those never stored
    stage_again(session, spec, staging, found, numbers, run_id, by_id=True)
    left = asked[budget:]
    # Those on a day that this batch leaves to a newer read are not looked at with what it lacks.
    known = session.ledger(spec).lookup(missed)
    elsewhere = {key for key, record in known.items() if record.deleted_at is None} - staging.absent_among(missed)
    days = {changed[key]: HAS_CHANGED for key in left if key in changed}
    days |= {contested[key]: MAY_HAVE_MOVED for key in left if key in contested}
    return ReadAgain(days, frozenset(missed), frozenset(left).intersection(told) | elsewhere)


def finish_moves(session: Session, spec: EntitySpec, staging: Staging, run_id: str | None) -> None:
    """Deliver along what has moved away from these days, where the run that found it was cut off before it delivered."""
    if not session.can_fetch(spec):
        return
    left = staging.left_behind(session.settings.max_confirmations)
    now = {key: session.fetch_numbered(spec, key) for key in left}
    found = {key: record for key, (record, _) in now.items() if record is not None}
    stage_again(session, spec, staging, found, {key: number for key, (_, number) in now.items()}, run_id, by_id=True)


def stage_again(
    session: Session,
    spec: EntitySpec,
    staging: Staging,
    found: Mapping[str, Record],
    numbers: Mapping[str, int],
    run_id: str | None,
    *,
    by_id: bool,
) -> None:
    """Process records that were read apart like those of the batch, each with the number of its read."""
    if not found:
        return
    newest = max(numbers[key] for key in found)
    if run_id is None:
        rows = processed_rows(session, spec, found.values())
    else:
        rows = process_records(session, spec, found.values(), list(found), read_no=newest, run_id=run_id)
    staging.add_read(rows, numbers, by_id=by_id)


def _count(counts: Counts, staging: Staging, unstaged: int) -> None:
    statuses = staging.counts()
    counts.extracted, counts.lagging = sum(statuses.values()) + unstaged, statuses.get("kept", 0)
    counts.rejected = statuses.get("rejected", 0) + unstaged + staging.refused()
    counts.excluded, counts.waiting = statuses.get("excluded", 0), statuses.get("waiting", 0)
    counts.held = statuses.get("held", 0)


def _deliver(
    session: Session, spec: EntitySpec, staging: Staging, gone: list[str], counts: Counts, sync_id: int
) -> None:
    try:
        deliver_pending(session, spec, staging, counts, sync_id)
        deliver_deletes(session, spec, gone, counts, sync_id)
    except BaseException:  # Ctrl-C, too
        with suppress(SyncError):  # a broken store cannot count: what broke it is what matters
            counts.waiting += sum(map(len, pages(spec, staging)))  # not sent: pending, not unchanged
        raise
    finally:
        sent = counts.created + counts.adopted + counts.updated
        apart = counts.rejected + counts.excluded + counts.waiting + counts.held + counts.lagging
        counts.unchanged = counts.extracted - sent - apart


def _told(not_done: Mapping[str, str]) -> str:
    """Which days are not done, joined by the reason."""
    together: dict[str, list[str]] = {}
    for day, reason in sorted(not_done.items()):
        together.setdefault(reason, []).append(day)
    parts = []
    for reason, days in together.items():
        shown = ", ".join(days[:SHOWN_DAYS]) + (f" and {len(days) - SHOWN_DAYS} more days" if days[SHOWN_DAYS:] else "")
        parts.append(f"{shown or 'It'}: {reason}" if shown else f"Not loaded: {reason}")
    return f"{'. '.join(parts)}."


def deliver_references(
    session: Session, spec: EntitySpec, waiting: Callable[[], Iterable[list[StagedRow]]], read_no: int, run_id: str
) -> set[tuple[str, str]]:
    """Deliver the records for which these rows wait; returns the ``(entity, id)`` pairs that are at the target now.

    What waits for one that could not be delivered just now gets that reason.
    """
    from sync_pipeline.stages.targeted import sync_by_id

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


def _announce(session: Session, spec: EntitySpec, note: str) -> None:
    session.report(Progress(spec.entity, "wait", note=note))
