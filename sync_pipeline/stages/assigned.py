"""Deliver to a target that gives out its own ids, without ever creating a record twice.

A record is recognized by the stored link; without one, by its key. Creating is not idempotent, so an intent is committed
before the request and an outcome after it: what an interrupted create left behind is found before anything else is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

import orjson

from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.ports import AssigningTarget
from sync_pipeline.errors import AmbiguousWrite, RejectedRecord, Request, SyncError
from sync_pipeline.mapping.canonical import canonical_target
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session, settled
from sync_pipeline.stages.batch import Counts
from sync_pipeline.stages.claims import note_sending, remember, take_turns, writing_alone
from sync_pipeline.stages.plan import changes, claimed_pages, pages
from sync_pipeline.stages.unique_names import (
    NAME_TAKEN,
    Directory,
    RenameCycle,
    chain_of,
    fields_of,
    owned_fields_of,
    plan_names,
    unparked_name,
)
from sync_pipeline.store.deliveries import AS_IT_IS, Delivered, Intent, Kind, Refused
from sync_pipeline.store.planned import Pending
from sync_pipeline.store.records import Known
from sync_pipeline.store.rejects import UNKNOWN_OUTCOME
from sync_pipeline.store.schema import SENT
from sync_pipeline.store.staging import Staging

CREATE_TRIES = 3
UNSETTLED = (
    "It may or may not have been done, and cannot be looked for. Look at the target: `sync-pipeline rejects retry` with "
    "its id does it again, `sync-pipeline rejects accept` leaves it."
)
HIDDEN = (
    "The list does not show it either. To try again, run `sync-pipeline rejects retry {} ID`: it uses the record if it is "
    "found by then, and creates it otherwise."
)
MANY = 100
"""Updates that take longer than waiting until a search shows everything that was written before."""

T = TypeVar("T")
Rows = dict[str, Pending]
Step = tuple[Kind, Callable[[Pending], Record | None]]


def deliver_assigned(
    session: Session,
    spec: EntitySpec,
    target: AssigningTarget,
    staging: Staging,
    counts: Counts,
    sync_id: int | None,
    only: Collection[str] | None = None,
) -> None:
    """Resolve open intents, then create, adopt or update one record after the other, what other runs hold last.

    With ``only``, no other record is touched: neither its intent, nor a temporary name, nor a name it was refused.
    """

    def deliver() -> None:
        with writing_alone(session, spec):
            _deliver(session, spec, target, staging, counts, sync_id, only)

    take_turns(session, spec, deliver, staging.is_left)


def _deliver(
    session: Session,
    spec: EntitySpec,
    target: AssigningTarget,
    staging: Staging,
    counts: Counts,
    sync_id: int | None,
    only: Collection[str] | None,
) -> None:
    intents = _by_record(session.ledger(spec).open_intents())
    waiting, clashing = _of(intents, only), _of(clashes(session, spec), only)
    unknown = _of(_unknown(session, spec), only) if target.unique_names else {}
    if not waiting and not clashing and not unknown and not staging.pending(1, ""):
        return
    session.ledger(
        spec
    ).claims.free_ended()  # a refused row is not left to be delivered: nothing else would end its claim
    directory = Directory(session, spec, target)
    writer = _Writer(session, spec, directory, counts, sync_id)
    for source_id in _held_by_others(session, spec, waiting):
        del waiting[source_id]
    for source_id in intents.keys() - waiting.keys():
        directory.reserve(source_id, [intent.attempted for intent in intents[source_id]])
    if (
        waiting and target.find_lag
    ):  # what interrupted creates have made may not be found at once, whatever instant was noted then
        session.pause(target.find_lag)
    together = _pending(spec, staging) | clashing | unknown if target.unique_names else {}
    directory.look_up(together.values(), _attempted(session, spec, waiting))
    writer.creator.resolve(waiting)
    if clashing:
        _free(session, spec, directory, staging, clashing, counts)
    if target.unique_names:  # each row may depend on any other
        writer.deliver({row.source_id: row for page in claimed_pages(spec, staging) for row in page})
        unknown = _of(_unknown(session, spec), only)
        for source_id in unknown.keys() - _held_by_others(session, spec, unknown):
            writer.unpark(unknown[source_id])
    else:
        for page in claimed_pages(spec, staging):
            rows: Rows = {row.source_id: row for row in page}
            directory.look_up(page)
            writer.adopt_unchanged(rows)
            writer.update_missing(rows)
            writer.deliver(rows)
    staging.put_back(writer.creator.lost)
    session.ledger(spec).claims.give_back()


def _of(rows: Mapping[str, T], only: Collection[str] | None) -> dict[str, T]:
    return {source_id: row for source_id, row in rows.items() if only is None or source_id in only}


def _held_by_others(session: Session, spec: EntitySpec, source_ids: Collection[str]) -> set[str]:
    """Those of these records that other runs are writing; the rest is claimed for this one."""
    taken = session.ledger(spec).claims.take(source_ids)
    return {*session.ledger(spec).lookup(set(source_ids) - taken)}


def clashes(session: Session, spec: EntitySpec) -> Rows:
    """Records rejected because another had their name: that one may have given it up."""
    ids = session.ledger(spec).rejects.rejected_by(NAME_TAKEN)
    found = session.ledger(spec).lookup(ids)
    return {key: _as_pending(known) for key, known in found.items() if known.refused_hash == known.fields_hash}


def _unknown(session: Session, spec: EntitySpec) -> Rows:
    """Records of which it is not known how they are at the target, temporary names included."""
    return {known.source_id: _as_pending(known) for known in session.ledger(spec).with_unknown_delivery()}


def _as_pending(known: Known) -> Pending:
    return Pending(**{name: getattr(known, name) for name in Pending.__slots__ if name != "before"}, before=None)


def _pending(spec: EntitySpec, staging: Staging) -> Rows:
    return {row.source_id: row for page in pages(spec, staging) for row in page}


def _free(
    session: Session, spec: EntitySpec, directory: Directory, staging: Staging, clashing: Rows, counts: Counts
) -> None:
    """Make those pending again whose name is free by now."""
    refused = staging.refused()
    actions = plan_names(directory, _pending(spec, staging) | clashing)
    if freed := [source_id for source_id in clashing if actions[source_id] != "refuse"]:
        session.ledger(spec).clear_refused(freed)
        counts.rejected -= refused - staging.refused()


def _by_record(intents: list[Intent]) -> dict[str, list[Intent]]:
    waiting: dict[str, list[Intent]] = {}
    for intent in intents:
        waiting.setdefault(intent.source_id, []).append(intent)
    return waiting


def _attempted(session: Session, spec: EntitySpec, waiting: Mapping[str, list[Intent]]) -> list[dict[str, Any]]:
    """All fields that creates of these records were ever attempted with."""
    ledger = session.ledger(spec)
    return [attempt.attempted for source_id in waiting for attempt in ledger.attempts(source_id)]


class Unsettled(Exception):  # not an error: the reject says what to do
    """It is unknown whether a record was made, and a person is asked."""


class _Creator:
    """Creates records, and finishes creates that an earlier run was interrupted in.

    Where names are unique a request is safe to repeat under the same name: the second one is refused, and the record is
    found.
    """

    def __init__(self, session: Session, spec: EntitySpec, directory: Directory, sync_id: int | None) -> None:
        self._session, self._spec, self._directory, self._sync_id = session, spec, directory, sync_id
        self._ledger = session.ledger(spec)
        self._unresolved: dict[str, Intent] = {}
        self.lost: set[str] = set()
        """Records of which the outcome was not noted: another run has claimed them since."""

    def resolve(self, waiting: Mapping[str, list[Intent]]) -> None:
        """Link what interrupted creates left behind, and keep the intents that left nothing so far.

        A request that was cut off may still be on its way, so that one list without its record proves nothing. Where
        names are unique such an intent is not given up while a new record is wanted: it is carried out again under the
        very same name, and then it does not matter which of the two requests arrives.
        """
        known = self._ledger.lookup(waiting)
        for source_id, intents in waiting.items():
            *older, newest = intents
            for intent in older:  # two intents of one record mean one record there: the newest says what became of it
                self._give_up(intent)
            record = known.get(source_id)
            if record is not None and self._keeps(record, newest):
                self._give_up(newest)
            elif (left := self._left_behind(intents, record)) is not None:
                wanted = record.fields_hash if record is not None and self._spec.target.once else None
                with suppress(RejectedRecord):  # then its row is delivered like any other
                    self._take(newest, left, record, wanted)  # what is made once is never changed
            elif record is not None and not self._directory.target.finds:
                self._leave_to_person(record, newest.id)
            elif self._is_wanted_anew(record) and self._directory.target.unique_names:
                self._unresolved[source_id] = newest
            else:
                self._give_up(newest)

    def _keeps(self, record: Known, intent: Intent) -> bool:
        """Whether the record it is linked to exists, and can become what the intent was to create."""
        return record.target_id in self._directory.by_id and self._directory.replaced(record, intent.attempted) is None

    def _is_wanted_anew(self, record: Known | None) -> bool:
        """Whether the record is wanted, and none that it is linked to can become it: such a move may have been taken back since."""
        if record is None or not _is_wanted(record):
            return False
        return record.target_id not in self._directory.by_id or self._directory.replaced(record) is not None

    def leave(self, row: Pending | Known, wanted: Mapping[str, Any] | None = None) -> None:
        """Remove the record of a row that cannot get the ``wanted`` fields, before the row is linked to another one.

        Where another record is to be renamed to its name, it gives that up. Raises RejectedRecord when the target refuses.
        """
        directory = self._directory
        if (target_id := directory.replaced(row, wanted)) is None:
            return
        if (name := directory.name_left(target_id)) is not None:
            changed = self._session.call(directory.target.update, target_id, {directory.target.key[0]: name})
            if changed is not None:
                directory.put(changed)
        self._session.call(directory.target.remove, target_id)
        directory.leave(target_id)

    def finish(self, row: Pending) -> Record | None:
        """Carry out what an interrupted run intended, under the name it had then; nothing when there is no such intent."""
        if (intent := self._unresolved.pop(row.source_id, None)) is None:
            return None
        try:
            record, _ = self._post(row, intent.attempted)
        except RejectedRecord as error:
            self._directory.refresh(intent.attempted)
            found = self._directory.unlinked(intent.attempted)
            if found is None:
                self._conclude(intent.id, str(error))
                return None
            record = found
        return self._took(row, intent, record, answered=False)

    def create(self, row: Pending) -> Record | None:
        """Create the record; None when there is one of that name after all, to be adopted or updated next."""
        fields, at = fields_of(row), self._session.now()
        intent = self._ledger.intend(row.source_id, "create", fields, at, self._sync_id)
        try:
            record, answered = self._post(row, fields)
            self._refuse_shared(row, record)
        except AmbiguousWrite:
            if self._directory.target.finds:
                raise
            self._leave_to_person(row, intent)
            raise Unsettled from None
        except Unsettled:
            self._conclude(intent, HIDDEN.format(self._spec.entity))
            raise
        except RejectedRecord as error:
            self._conclude(intent, str(error))
            self._directory.refresh(fields)
            if self._directory.adoptable(row) is None:
                raise
            return None
        return self._took(row, Intent(intent, row.source_id, "create", fields, at), record, answered=answered)

    def create_together(self, rows: Sequence[Pending]) -> list[tuple[Pending, Record]]:
        """Create these records at the same time, each of another key; returns those that exist as wanted.

        What was refused, or is not there after all, is left to be delivered alone.
        """
        started: list[tuple[Pending, Intent, Future[Record]]] = []
        try:
            for row in rows:
                fields, at = fields_of(row), self._session.now()
                intent = Intent(
                    self._ledger.intend(row.source_id, "create", fields, at, self._sync_id),
                    *(row.source_id, "create", fields, at),
                )
                started.append((row, intent, self._session.begin(self._directory.target.create, fields)))
            return self._settle(started)
        finally:
            for *_, answer in started:
                answer.cancel()  # no effect on one that has ended

    def _settle(self, started: Sequence[tuple[Pending, Intent, Future[Record]]]) -> list[tuple[Pending, Record]]:
        """All are answered, and noted, before the first error counts: an intent without an answer stays open."""
        made: list[tuple[Pending, Record]] = []
        unknown: list[tuple[Pending, Intent]] = []
        failed: SyncError | None = None
        for row, intent, answer in started:
            try:
                record = settled(answer)
            except RejectedRecord as error:
                self._conclude(intent.id, str(error))
                self._directory.refresh(intent.attempted)
            except AmbiguousWrite:
                unknown.append((row, intent))
            except SyncError as error:
                failed = failed or error
            else:
                self._took(row, intent, record, answered=True)
                made.append((row, record))
        if failed is not None:
            raise failed
        return made + self._look_up_again(unknown)

    def _look_up_again(self, unknown: Sequence[tuple[Pending, Intent]]) -> list[tuple[Pending, Record]]:
        """Those of these creates that have arrived."""
        made: list[tuple[Pending, Record]] = []
        if unknown:
            self._session.pause(self._directory.target.find_lag)
        for row, intent in unknown:
            self._directory.refresh(intent.attempted)
            if (found := self._directory.unlinked(intent.attempted)) is None:
                self._give_up(intent)
            elif (record := self._took(row, intent, found, answered=False)) is not None:
                made.append((row, record))
        return made

    def _took(self, row: Pending, intent: Intent, record: Record, *, answered: bool) -> Record | None:
        """Link what was created; None when it is not as the row wants it, and has to be updated."""
        sent = row.fields_hash if answered or self._spec.target.once else None
        if self._take(intent, record, row, sent) == row.fields_hash:
            return record
        self._directory.found[row.source_id] = self._directory.id_of(record)
        return None

    def _take(self, intent: Intent, record: Record, row: Pending | Known | None, sent: str | None = None) -> str:
        """Link the record an intent made; returns the hash of what was ``sent``, or else of what it is now.

        Raises RejectedRecord when the row cannot leave the one it has; the new one is removed then.
        """
        digest, target_id = sent or canonical_target(self._spec, record)[1], self._directory.id_of(record)
        try:
            if row is not None:
                self.leave(row, intent.attempted)
        except RejectedRecord as error:
            self._conclude(intent.id, str(error))
            self._session.call(self._directory.target.remove, target_id)
            raise
        at = self._session.now()
        if not self._ledger.conclude(intent.id, "delivered", at, target_id=target_id, fields_hash=digest):
            self.lost.add(intent.source_id)
        self._directory.put(record)
        self._directory.links[target_id] = intent.source_id
        return digest

    def _leave_to_person(self, record: Known | Pending, intent: int) -> None:
        """Reject what may have been done before closing its intent, so that it is not done again if the process ends in between."""
        refused = Refused(record.source_id, record.fields_hash, "create", UNSETTLED, rule=UNKNOWN_OUTCOME)
        self._ledger.mark_refused([refused], self._sync_id, self._session.now())
        self._conclude(intent, UNSETTLED)

    def _refuse_shared(self, row: Pending, record: Record) -> None:
        """RejectedRecord when the answer is what was made of another record: a service may recognize what it is given."""
        target_id, target = self._directory.id_of(record), self._spec.target
        owner = self._ledger.owners([target_id]).get(target_id) if target.once else None
        if owner not in (None, row.source_id):
            what = f"it answered with {self._directory.target.noun} {target_id}, which was made of {owner}."
            raise RejectedRecord(what, Request(target.system, "POST", target.operation))

    def _post(self, row: Pending, fields: dict[str, Any], tries: int = CREATE_TRIES) -> tuple[Record, bool]:
        """Create a record; when it is unknown whether it arrived, look it up before trying again.

        Says beside the record whether that is the answer to the request.
        """
        target = self._directory.target
        try:
            return self._session.call(target.create, fields), True
        except AmbiguousWrite as error:
            if not target.finds or (tries == 1 and not error.was_done):
                raise
            if error.was_done:
                self._note_done(row, error)
            if target.find_lag:
                self._session.pause(target.find_lag)
            self._directory.refresh(fields)
            if (found := self._directory.unlinked(fields)) is not None:
                return found, False
            if error.was_done:
                raise Unsettled from None
        return self._post(row, fields, tries - 1)

    def _note_done(self, row: Pending, error: AmbiguousWrite) -> None:
        """Reject what was done before it is looked for, so that it is not done again if the process ends, or the list fails."""
        refused = Refused(
            row.source_id, row.fields_hash, "create", self._hidden(error), rule=UNKNOWN_OUTCOME, partition=row.partition
        )
        self._ledger.mark_refused([refused], self._sync_id, self._session.now())
        self._ledger.claims.take([row.source_id])  # the answer is still to be noted

    def _hidden(self, error: AmbiguousWrite) -> str:
        return f"{error.request}: {error.cause} {HIDDEN.format(self._spec.entity)}"

    def _left_behind(self, intents: list[Intent], known: Known | None) -> Record | None:
        """A record that nothing is linked to, with any key that was ever attempted.

        Under that of an attempt that was concluded, or of a record that is not wanted any more and would be archived
        at once, only one that still shows that we made it: by now that name may be in use elsewhere.
        """
        unanswered = {intent.id for intent in intents} if _is_wanted(known) else set[int]()
        for attempt in self._ledger.attempts(intents[0].source_id):
            record = self._directory.unlinked(attempt.attempted)
            if record is not None and (attempt.id in unanswered or self._is_marked(record, attempt)):
                return record
        return None

    def _is_marked(self, record: Record, attempt: Intent) -> bool:
        """Whether a field that was made of the source's id is as we wrote it."""
        marks = [field.name for field in self._spec.fields if field.source == self._spec.source.id_path]
        return any(attempt.attempted.get(name) and record.get(name) == attempt.attempted[name] for name in marks)

    def _give_up(self, intent: Intent) -> None:
        self._conclude(intent.id, f"no {self._directory.target.noun} of that name exists")

    def _conclude(self, intent: int, reason: str) -> None:
        self._ledger.conclude(intent, "failed", self._session.now(), reason=reason)


def _is_wanted(known: Known | None) -> bool:
    return known is not None and known.deleted_at is None and known.excluded_rule is None


class _Writer:
    """Delivers one record after the other; knows which are still to be renamed."""

    def __init__(
        self, session: Session, spec: EntitySpec, directory: Directory, counts: Counts, sync_id: int | None
    ) -> None:
        self._session, self._spec, self._directory = session, spec, directory
        self._ledger = session.ledger(spec)
        self._counts, self._sync_id = counts, sync_id
        self.creator = _Creator(session, spec, directory, sync_id)
        self._pending: Rows = {}
        self._cycling: set[str] = set()
        self._exchanged: set[str] = set()
        self._is_settled = not directory.target.find_lag

    def adopt_unchanged(self, rows: Rows) -> None:
        """Link the records that are found as these rows want them, without a write; takes those out of the rows.

        A search that lags is only believed once it shows what was written before this run; for a few records that is not worth the wait.
        """
        same = self._unchanged(rows)
        if len(same) >= MANY and not self._is_settled:
            self._session.pause(self._directory.target.find_lag)
            self._is_settled = True
            self._directory.look_up(rows.values())
            same = self._unchanged(rows)
        if same and self._is_settled:
            linked = [(rows.pop(key), record) for key, record in same.items() if self._link(rows[key], record)]
            self._remember(done=[self._delivered(row, "adopt", record) for row, record in linked])

    def update_missing(self, rows: Rows) -> None:
        """Update the records that a read has not found, several at a time, and look up the keys of those that do not exist.

        Takes out of the rows what was updated; what was refused is left to be delivered alone.
        """
        directory, missing = self._directory, list[Pending]()
        unread = [row for row in rows.values() if row.target_id is not None and row.delivered_hash is None]
        for start in range(0, len(unread), directory.target.at_once):
            some = unread[start : start + directory.target.at_once]
            note_sending(self._session, self._spec, some, [row.target_id for row in some])
            answered, failed = self._update_together(some)
            for row, record in answered:
                if record is None:
                    directory.note_missing(str(row.target_id))
                    missing.append(row)
                else:
                    self._done(rows.pop(row.source_id), "update", record)
            if failed is not None:
                raise failed
        if missing:
            directory.look_up(rows.values(), [fields_of(row) for row in missing])

    def _update_together(self, rows: Sequence[Pending]) -> tuple[list[tuple[Pending, Record | None]], SyncError | None]:
        """The answers to all of these updates, and the first error among them: what was done can be noted before it is raised."""
        update = self._directory.target.update
        started = [(row, self._session.begin(update, row.target_id, owned_fields_of(self._spec, row))) for row in rows]
        answered: list[tuple[Pending, Record | None]] = []
        failed: SyncError | None = None
        for row, answer in started:
            try:
                answered.append((row, settled(answer)))
            except RejectedRecord:
                continue
            except SyncError as error:
                failed = failed or error
        return answered, failed

    def _unchanged(self, rows: Rows) -> dict[str, Record]:
        """The unlinked records with the keys of these rows that have all the wanted values."""
        directory, same = self._directory, dict[str, Record]()
        for row in rows.values():
            record = directory.unlinked(fields_of(row)) if row.target_id is None else None
            if record is None or directory.target.is_archived(record):
                continue
            equal = canonical_target(self._spec, record)[1] == row.fields_hash
            if equal and not directory.target.needs_update(record, fields_of(row)):
                same[row.source_id] = record
        return same

    def deliver(self, rows: Rows) -> None:
        """Deliver these rows."""
        self._pending = rows
        if (size := self._directory.target.at_once) > 1:
            new = list({self._directory.wanted(row): row for row in rows.values() if self._is_new(row)}.values())
            for start in range(0, len(new), size):
                for row, record in self.creator.create_together(new[start : start + size]):
                    del self._pending[row.source_id]
                    self._done(row, "create", record)
        for source_id in list(rows):
            if source_id in self._pending:
                self._deliver_chain(source_id)

    def _is_new(self, row: Pending) -> bool:
        """Whether nothing is there of a row, and no other record has its key."""
        is_there = row.target_id is not None and not self._directory.is_missing(row.target_id)
        return not is_there and self._directory.wanted(row) not in self._directory.by_key

    def _deliver_chain(self, source_id: str) -> None:
        """Deliver one row, and before it those whose records give up the name it wants."""
        chain = chain_of(self._directory, self._pending, self._pending[source_id])
        renamed = [] if chain.is_exchange else chain.cycle
        cycle = RenameCycle(self._session, self._spec, self._directory, renamed)
        self._cycling = {row.source_id for row in chain.cycle}
        self._exchanged = self._cycling if chain.is_exchange else set()
        for row in chain.rows:
            del self._pending[row.source_id]
        rows = chain.rows[::-1]
        if chain.is_exchange:
            self._ledger.exchange_links(self._directory.exchange(chain.cycle))
        elif renamed:
            try:
                cycle.open()
            except RejectedRecord as error:
                # Not about a name that is taken: no other record has the temporary one.
                refused = Refused(cycle.parked.source_id, cycle.parked.fields_hash, "update", str(error))
                self._remember(refused=refused)
                rows.remove(cycle.parked)
        for row in rows:
            kind = self._deliver_one(row)
            if kind == "update":
                cycle.note_renamed(row)
            elif kind is None and row in renamed:
                for undone in cycle.undo():
                    self._counts.updated -= undone.source_id not in self.creator.lost
                    self._refuse(undone, "update", "The exchange of names it is part of was refused.")

    def _deliver_one(self, row: Pending) -> Kind | None:
        """Create, adopt or update the record; None when it was refused, which becomes a reject."""
        steps: tuple[Step, ...] = (
            ("create", self.creator.finish),
            *(("update", self._renew), ("adopt", self._adopt), ("create", self.creator.create)),
            # Once more, for what a refused or uncertain create was found to be.
            *(("update", self._renew), ("adopt", self._adopt), ("create", self.creator.create)),
        )
        reason = f"Its {self._directory.target.noun} changed hands while it was being written."
        kind: Kind = steps[-1][0]
        for kind, step in steps:
            try:
                record = step(row)
            except RejectedRecord as error:
                reason = str(error)
                break
            except Unsettled:
                self._counts.rejected += 1
                return None
            if record is not None:
                is_taken = kind == "update" and row.source_id in self._exchanged
                self._done(row, "adopt" if is_taken else kind, record)
                return kind
        self._refuse(row, kind, reason)
        return None

    def _done(self, row: Pending, kind: Kind, record: Record) -> None:
        self._directory.put(record)
        self._directory.links[self._directory.id_of(record)] = row.source_id
        if kind == "create":  # the concluded intent has written it down
            self._counts.created += row.source_id not in self.creator.lost
        else:
            self._remember(done=[self._delivered(row, kind, record)])

    def _delivered(self, row: Pending, kind: Kind, record: Record) -> Delivered:
        target_id, changed = self._directory.id_of(record), changes(self._spec, row, fields_of(row))
        return Delivered(row.source_id, target_id, row.fields_hash, kind, changed)

    def _renew(self, row: Pending) -> Record | None:
        """Update the row's own record; None when it has none, has it no longer, or leaves it."""
        target_id = self._directory.own_id(row)
        if target_id is None or self._directory.is_missing(target_id):
            return None
        if not self._spec.target.once:  # of these nothing is sent
            # Also before it is left: should the row want again what it had, it is still pending.
            note_sending(self._session, self._spec, [row], [target_id])
        fields = owned_fields_of(self._spec, row)
        if self._directory.replaced(row, fields) is not None:
            return None
        changed = self._update(target_id, fields)
        if changed is None and not self._directory.target.unique_names:
            self._directory.refresh(fields_of(row))  # not looked up so far: it had a link
        return changed

    def _adopt(self, row: Pending) -> Record | None:
        """Take over the record with the wanted key, if that is allowed; one that was deleted meanwhile is looked up again."""
        for _ in range(2):
            if (record := self._directory.adoptable(row)) is None:
                return None
            former = self._directory.former_owner(record)
            changed = self._inherit(row, record, former) if former is not None else self._link_and_update(row, record)
            if changed is not None:
                return changed
            self._directory.refresh(fields_of(row))
        return None

    def _link_and_update(self, row: Pending, record: Record) -> Record | None:
        """Linked before it is changed, so that a crash in between adopts it again."""
        return (
            self._update(self._directory.id_of(record), owned_fields_of(self._spec, row))
            if self._link(row, record)
            else None
        )

    def _inherit(self, row: Pending, record: Record, owner: str) -> Record | None:
        """Take over the record of a deleted source record, whose link ends only when all else is the new one's.

        Cut off before that, it is handed over again; after it, nothing is linked to it, and it is adopted by its key.
        What we wrote once and no person has changed since is written for the new one.
        """
        target_id = self._directory.id_of(record)
        if not self._ledger.claims.take([owner]):
            return None
        former = self._ledger.lookup([owner]).get(owner)
        if former is None or former.deleted_at is None:
            return None
        if (now := self._session.call(self._directory.target.get, target_id)) is None:
            return None
        fields, theirs = fields_of(row), orjson.loads(former.fields)
        left = {field.name for field in self._spec.fields if field.owner == "target"}
        ours = {name: fields.get(name) for name in left if now.get(name) == theirs.get(name)}
        changed = self._update(target_id, ours | owned_fields_of(self._spec, row))
        if changed is not None:
            self._ledger.forget_delivered(owner, is_done=self._spec.target.once)
            self._link(row, record)
        return changed

    def _link(self, row: Pending, record: Record) -> bool:
        target_id = self._directory.id_of(record)
        delivered_hash = row.fields_hash if self._spec.target.once else SENT
        self.creator.leave(row)
        if linked := self._ledger.link(row.source_id, target_id, delivered_hash=delivered_hash):
            self._directory.links[target_id] = row.source_id
            if row.target_id is not None:
                self._directory.found[row.source_id] = target_id
        return linked

    def _update(self, target_id: str, fields: dict[str, Any]) -> Record | None:
        changed = self._session.call(self._directory.target.update, target_id, fields)
        if changed is None:
            self._directory.note_missing(target_id)
        return changed

    def _refuse(self, row: Pending, kind: Kind, reason: str) -> None:
        """Reject the row; when another record has the name it wants, the reason says which and whose."""
        directory, own = self._directory, self._directory.own(row)
        if kind == "update" and own is not None and directory.wanted(row) not in directory.by_key:
            directory.refresh(fields_of(row))  # the name may have been taken since the list was read
        # What was refused is as before - unless its name goes round in a cycle, or its row has left it.
        is_as_before = kind == "update" or directory.links.get(directory.replaced(row) or "") == row.source_id
        target_hash = row.delivered_hash if is_as_before and row.source_id not in self._cycling else AS_IT_IS
        # One that is adopted has the name itself.
        if kind != "adopt" and (holder := directory.holder(row)) is not None:
            field = directory.target.key[0]
            reason = f"{reason} The name {holder[field]!r} belongs to {directory.whose(holder)}."
            refused = Refused(row.source_id, row.fields_hash, kind, reason, field, NAME_TAKEN, holder[field])
        else:
            refused = Refused(row.source_id, row.fields_hash, kind, reason)
        self._remember(refused=refused._replace(delivered_hash=target_hash))
        self.unpark(row)

    def unpark(self, row: Pending) -> None:
        """Give back its name to a record that an interrupted exchange of names left under a temporary one."""
        directory, own, name = self._directory, self._directory.own(row), self._directory.target.key[0]
        before = unparked_name(str(own.get(name)), directory.id_of(own)) if own is not None else None
        if own is not None and before is not None and directory.key_of({**own, name: before}) not in directory.by_key:
            RenameCycle(self._session, self._spec, directory, [row]).rename(row, directory.id_of(own), {name: before})

    def _remember(self, *, done: Sequence[Delivered] = (), refused: Refused | None = None) -> None:
        answers = done, [refused] if refused else []
        self.creator.lost |= remember(self._session, self._spec, *answers, self._counts, self._sync_id)
