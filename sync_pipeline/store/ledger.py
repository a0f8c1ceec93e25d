"""The ledger: all that is stored about one entity of a pair. Only it and its parts write these rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    case,
    delete,
    func,
    literal,
    select,
    update,
)

from sync_pipeline.store.bulk import chunks, execute_together
from sync_pipeline.store.claims import taken_over
from sync_pipeline.store.deliveries import Deliveries
from sync_pipeline.store.engine import insert_into
from sync_pipeline.store.events import Events
from sync_pipeline.store.facts import delete_facts_of_deleted
from sync_pipeline.store.history import Histories
from sync_pipeline.store.loads import WHOLE, Loading, Loads
from sync_pipeline.store.locks import LockForWrites, OnWait, lock
from sync_pipeline.store.records import BEFORE_SWITCH_ON, LEFT_ALONE, SETTLED, TOMBSTONE, Records
from sync_pipeline.store.rejects import UNKNOWN_OUTCOME
from sync_pipeline.store.schema import (
    FACTS,
    SENT,
    WIDENED,
    approval_lines,
    approvals,
    deliveries,
    events,
    loads,
    records,
    rejects,
)
from sync_pipeline.store.scope import LAST, Scope, draw_in, lock_in_order
from sync_pipeline.store.staging import Staging
from sync_pipeline.store.syncs import Cause, Syncs
from sync_pipeline.store.totals import delete_deliveries

_OBSERVED = """
    WITH seen (source_id, found) AS ({rows})
    UPDATE records
    SET delivered_hash = seen.found, moved_from = {widened}
    FROM seen WHERE connection = ? AND entity = ? AND records.source_id = seen.source_id
"""

_REPLACED = """
    WITH cleaned (source_id, fields, hash) AS ({rows})
    UPDATE records SET fields = cleaned.fields, fields_hash = cleaned.hash, read_no = ?,
        delivered_fields = NULL, source_hash = NULL, label = NULL
    FROM cleaned WHERE connection = ? AND entity = ? AND records.source_id = cleaned.source_id
"""


@dataclass(frozen=True)
class Ledger(Records, Deliveries):
    """What is known of one entity of a pair, and what was done about it."""

    cause: Cause = Cause()
    """What started the syncs that begin."""

    @property
    def loads(self) -> Loads:
        """Which read of each day is loaded."""
        return Loads(self.store, self.pair, self.entity)

    @property
    def events(self) -> Events:
        """Changes that were reported and not yet looked at."""
        return Events(self.store, self.pair, self.entity)

    @property
    def history(self) -> Histories:
        """What happened to single records."""
        return Histories(self.store, self.pair, self.entity)

    @property
    def syncs(self) -> Syncs:
        """The attempts to sync the entity."""
        return Syncs(self.store, self.pair, self.entity, self.cause)

    @contextmanager
    def lock(self, on_wait: OnWait | None = None) -> Iterator[None]:
        """Be the only process that merges into the entity's records; no request is made meanwhile.

        If another one does, report it once through ``on_wait`` and wait.
        """
        words = f"Another process is loading {self.entity}: waiting for it to finish."
        with (
            lock(self.store, f"{self.pair}\n{self.entity}", self.entity, words, on_wait) as taken,
            self.store.working_under(LockForWrites(self.store, taken, f"the lock for loading {self.entity}")),
        ):
            yield

    @contextmanager
    def delivery_lock(self, on_wait: OnWait | None = None) -> Iterator[None]:
        """Be the only process that writes the entity to a target that assigns the ids; once the lock is lost, no write is sent.

        Claims of single records are not enough there: whether a name is free, is given up by another record or is part of
        a cycle, and what an interrupted create has left behind, is decided from several records at a time.
        """
        words = f"Another process is writing {self.entity}: waiting for it to finish."
        label = f"{self.entity}-delivery"
        with (
            lock(self.store, f"{self.pair}\n{self.entity}\ndelivery", label, words, on_wait) as taken,
            self.store.working_under(LockForWrites(self.store, taken, f"the lock for writing {self.entity}")),
        ):
            yield

    @contextmanager
    def staging(self, scope: Scope = None, read_no: int = 0) -> Iterator[Staging]:
        """An empty batch; ``scope`` (first and last day) is what the read ``read_no`` covered."""
        with closing(self.open_staging(scope, read_no)) as staging:
            yield staging

    def open_staging(self, scope: Scope = None, read_no: int = 0) -> Staging:
        """The same, until it is closed."""
        held = self.store.hold()
        try:
            return Staging(self.loads, self.rejects, held, scope, read_no)
        except BaseException:
            held.close()
            raise

    def mark_observed(self, numbers: Mapping[str, int], observed_at: datetime, *, by_id: bool) -> int:
        """Note that reads with these numbers found these records unchanged: an older batch may not change them any more."""
        values: dict[str, Any] = {"observed_at": observed_at}
        with self.store.writing() as tx:
            values |= {"by_id_at": self.store.now(tx)} if by_id else {}
            return self._by_number(tx, numbers, [], values)

    def mark_deleted(self, numbers: Mapping[str, int], at: datetime, *, by_id: bool = False) -> int:
        """Note that reads with these numbers proved these deleted; a newer read wins. Returns how many were live before."""
        if not numbers:
            return 0
        left = case((records.c.excluded_rule.in_(LEFT_ALONE), records.c.excluded_rule))  # also when it comes back
        deleted = {"deleted_at": at, "observed_at": at, "unconfirmed_at": None, "excluded_rule": left}
        with self.store.writing() as tx:
            read = {"by_id_at": self.store.now(tx)} if by_id else {}
            changed = self._by_number(tx, numbers, [records.c.deleted_at.is_(None)], deleted | read)
            self._by_number(tx, numbers, [records.c.deleted_at.isnot(None)], read)
            self._delete_facts(tx, numbers)
        if changed:
            self.rejects.drop_obsolete()
        return changed

    def read_since(self, numbers: Mapping[str, int]) -> set[str]:
        """The records for which a read with this number may not be the newest: a newer one changed the record or its day.

        A load that finds a record unchanged leaves its number with the day only.
        """
        day = func.coalesce(records.c.partition, WHOLE)
        of_day = and_(
            loads.c.connection == records.c.connection, loads.c.entity == records.c.entity, loads.c.day == day
        )
        columns = (records.c.source_id, records.c.read_no, func.coalesce(loads.c.read_no, 0))
        newer: set[str] = set()
        with self.store.reading() as tx:
            for some in chunks(numbers):
                found = (
                    select(*columns).select_from(records.outerjoin(loads, of_day)).where(*self._named(records, some))
                )
                newer |= {key for key, *read in tx.execute(found) if max(read) > numbers[key]}
        return newer

    def leave_tombstones(self, numbers: Mapping[str, int], at: datetime) -> set[str]:
        """Note that reads by id did not find these ids, unknown or deleted ones, so that older batches do not add them.

        Returns those under which a record is stored that is not deleted: that has to be proven first.
        """
        if not numbers:
            return set()
        with self.store.writing() as tx:
            fixed = {
                "connection": self.pair,
                "entity": self.entity,
                "fields": "{}",
                "fields_hash": TOMBSTONE,
                "observed_at": at,
                "deleted_at": at,
                "by_id_at": self.store.now(tx),
            }
            rows = [{**fixed, "source_id": key, "read_no": number} for key, number in sorted(numbers.items())]
            insert = insert_into(self.store, records)
            newer = and_(records.c.deleted_at.isnot(None), records.c.read_no < insert.excluded.read_no)
            update_to = {name: insert.excluded[name] for name in ("read_no", "by_id_at")}
            keys = ["connection", "entity", "source_id"]
            tx.execute(insert.on_conflict_do_update(index_elements=keys, set_=update_to, where=newer), rows)
            live = select(records.c.source_id).where(records.c.deleted_at.is_(None))
            found = {key for some in chunks(numbers) for key in tx.scalars(live.where(*self._named(records, some)))}
            self._delete_facts(tx, numbers)
        return found

    def leave_alone(self, source_ids: Iterable[str], at: datetime, read_no: int) -> int:
        """Note that these exist already and are left alone, except those for which something was made; returns how many."""
        fixed: dict[str, Any] = {
            "connection": self.pair,
            "entity": self.entity,
            "fields": "{}",
            "fields_hash": TOMBSTONE,
        }
        fixed |= {"observed_at": at, "read_no": read_no, "excluded_rule": BEFORE_SWITCH_ON}
        count = 0
        for some in chunks(sorted(source_ids)):
            rows = [{**fixed, "source_id": key} for key in some]
            statement = insert_into(self.store, records)
            unmade = and_(records.c.target_id.is_(None), records.c.excluded_rule.is_distinct_from(SETTLED))
            update_to = {"excluded_rule": BEFORE_SWITCH_ON, "deleted_at": None, "unconfirmed_at": None}
            keys = ["connection", "entity", "source_id"]
            with self.store.writing() as tx:
                lock_in_order(tx, self._named(records, some))
                tx.execute(statement.on_conflict_do_update(index_elements=keys, set_=update_to, where=unmade), rows)
            count += len(rows)
        return count

    def note_switched_on(self, loading: Loading) -> None:
        """Note that it was switched on in these accounts: what is found from now on did not exist before."""
        with self.store.writing() as tx:
            self.loads.note(tx, loading)
        self.loads.mark_done(loading.days, loading.sync_id, loading.at)

    def include_existing(self) -> int:
        """No longer leave alone what existed before the automation was switched on; returns how many."""
        left = [*self.of(records), records.c.excluded_rule == BEFORE_SWITCH_ON]
        with self.store.writing() as tx:
            lock_in_order(tx, left)
            return tx.execute(update(records).where(*left).values(excluded_rule=None)).rowcount

    def settle(self, source_ids: Iterable[str]) -> int:
        """Stop delivering those of these records that may or may not have been created; returns how many."""
        ids = sorted(set(self.rejects.rejected_by(UNKNOWN_OUTCOME)).intersection(source_ids))
        with self.store.writing() as tx:
            for some in chunks(ids):
                lock_in_order(tx, self._named(records, some))
                mine = update(records).where(*self._named(records, some))
                tx.execute(mine.values(excluded_rule=SETTLED, refused_hash=None))
            self.rejects.forget_of_target(tx, ids)
        return len(ids)

    def mark_unconfirmed(self, source_ids: Iterable[str], at: datetime, *, read_no: int) -> int:
        """Note that these are missing from a read with this number, without proof; the first such time is kept."""
        missing = [records.c.deleted_at.is_(None), records.c.unconfirmed_at.is_(None), records.c.read_no <= read_no]
        statement = update(records).where(*missing).values(unconfirmed_at=at)
        return self._update(source_ids, statement)

    def observe_target(self, rows: Iterable[tuple[str, str | None]], read_no: int) -> int:
        """Correct the stored hashes of the target after a read with the number ``read_no``: (source_id, hash found or None).

        What was sent or delivered since that number was drawn is left unchanged, and what another run is writing now. Returns
        how many hashes were wrong. Nothing is written for those that were right.
        """
        wrong = 0
        before = and_(records.c.delivered_no < read_no, self.claims.is_free())
        for some in chunks(rows):
            found = dict(some)
            beliefs = select(records.c.source_id, records.c.delivered_hash)
            beliefs = beliefs.where(*self.of(records), records.c.source_id.in_(found), before)
            with self.store.reading() as tx:
                if not _wrong(tx, beliefs, found):
                    continue
            with self.store.writing() as tx:
                changes = _wrong(tx, beliefs.order_by(records.c.source_id).with_for_update(), found)
                execute_together(tx, _OBSERVED.replace("{widened}", WIDENED), changes, (self.pair, self.entity))
            wrong += len(changes)
        return wrong

    def link(self, source_id: str, target_id: str, *, delivered_hash: str = SENT) -> bool:
        """Tie a record to what already exists at the target; ``False`` if that belongs to another record.

        Also when another run is writing the record.
        Without a hash its state there counts as unknown.
        """
        with self.store.writing() as tx:
            owner = tx.scalar(select(records.c.source_id).where(*self.of(records), records.c.target_id == target_id))
            if owner not in (None, source_id):
                return False
            free = [*self.of(records), records.c.source_id == source_id, self.claims.is_free()]
            lock_in_order(tx, free)  # before a number is drawn, as by all who do both
            values = {"target_id": target_id, "delivered_hash": delivered_hash, "delivered_no": draw_in(tx)}
            return tx.execute(update(records).where(*free).values(**values)).rowcount == 1

    def exchange_links(self, links: Mapping[str, str]) -> None:
        """Tie each of these records to what another one of them was tied to, in one transaction; how it is there is not known.

        Raises LockLost when another run is writing one of them.
        """
        mine = self._named(records, links)
        with self.store.writing() as tx:
            if taken := links.keys() - self.claims.owned(tx, links, or_free=True):
                raise taken_over(self.entity, min(taken))
            tx.execute(update(records).where(*mine).values(target_id=None))
            values = {"delivered_hash": SENT, "delivered_no": draw_in(tx)}
            for source_id, target_id in sorted(links.items()):
                one = self._named(records, [source_id])
                tx.execute(update(records).where(*one).values(target_id=target_id, **values))

    def forget_delivered(self, source_id: str, *, keep_link: bool = False, is_done: bool = False) -> None:
        """The record becomes pending: the target no longer has it or, if the link is kept, its state there is unknown.

        If the link is kept, the record is claimed for this run. Raises LockLost when another one is writing it. If it
        ``is_done``, it does not become pending: what was made of it belongs to another record now.
        """
        claimed = {"claimed_by": self.claims.own or None}
        forgotten = {"delivered_hash": SENT, **claimed} if keep_link else {"delivered_hash": None, "target_id": None}
        forgotten |= {"excluded_rule": SETTLED} if is_done else {}
        with self.store.writing() as tx:
            if not self._is_ours(tx, source_id):
                raise taken_over(self.entity, source_id)
            tx.execute(
                update(records)
                .where(*self.of(records), records.c.source_id == source_id)
                .values(**forgotten, delivered_no=LAST)
            )

    def clear_refused(self, source_ids: Iterable[str] | None = None) -> int:
        """Try again what the target refused: these records, or all of the entity. Returns how many.

        What may have been made already is among them only where it is named: it could be made a second time.
        """
        mine = [*self.of(records), records.c.refused_hash.isnot(None)]
        unsettled = set(self.rejects.rejected_by(UNKNOWN_OUTCOME)) if source_ids is None else set[str]()
        with self.store.writing() as tx:
            every = set(tx.scalars(select(records.c.source_id).where(*mine)))
            keys = sorted(every - unsettled if source_ids is None else every & set(source_ids))
            for some in chunks(keys):
                lock_in_order(tx, [*mine, records.c.source_id.in_(some)])
                tx.execute(update(records).where(*mine, records.c.source_id.in_(some)).values(refused_hash=None))
            self.rejects.forget_of_target(tx, keys)
        return len(keys)

    def remove_records(self, ids: Sequence[str]) -> None:
        """Delete these records with their deliveries, rejects, events and lines of approvals."""
        for some in chunks(ids):
            with self.store.writing() as tx:
                for table in (rejects, events, records, *FACTS.values()):
                    tx.execute(delete(table).where(*self._named(table, some)))
                delete_deliveries(self.store, tx, *self._named(deliveries, some))
                mine = select(approvals.c.id).where(*self.of(approvals))
                lines = approval_lines.c.source_id.in_(some) & approval_lines.c.approval_id.in_(mine)
                tx.execute(delete(approval_lines).where(lines))

    def replace_fields(self, rows: Mapping[str, tuple[str, str]], read_no: int) -> None:
        """Replace the fields of records, with their hash, as a read with this number would; the next one labels them."""
        for some in chunks(sorted(rows)):
            with self.store.writing() as tx:
                lock_in_order(tx, self._named(records, some))
                replaced = [(key, *rows[key]) for key in some]
                execute_together(tx, _REPLACED, replaced, (read_no, self.pair, self.entity))
                tx.execute(update(rejects).where(*self._named(rejects, some)).values(value=None))

    def _delete_facts(self, tx: Connection, source_ids: Collection[str]) -> None:
        for some in chunks(source_ids):
            delete_facts_of_deleted(tx, self, some)

    def _named(self, table: FromClause, source_ids: Collection[str]) -> list[ColumnElement[bool]]:
        return [*self.of(table), table.c.source_id.in_(source_ids)]

    def _by_number(
        self, tx: Connection, numbers: Mapping[str, int], conditions: list[ColumnElement[bool]], values: dict[str, Any]
    ) -> int:
        """Change these records, each to the number of the read that saw it, unless a newer one has changed it since."""
        changed = 0
        for some in chunks(sorted(numbers)):
            mine, number = self._named(records, some), _number({key: numbers[key] for key in some})
            lock_in_order(tx, mine)
            older = update(records).where(*mine, *conditions, records.c.read_no <= number)
            changed += tx.execute(older.values(**values, read_no=number)).rowcount
        return changed

    def _update(self, source_ids: Iterable[str], statement: Any) -> int:
        changed = 0
        for some in chunks(source_ids):
            with self.store.writing() as tx:
                mine = [*self.of(records), records.c.source_id.in_(some)]
                lock_in_order(tx, mine)
                changed += tx.execute(statement.where(*mine)).rowcount
        return changed


def _number(numbers: Mapping[str, int]) -> ColumnElement[int]:
    """SQL: the number that belongs to the record of the row."""
    literals = {key: literal(number, BigInteger) for key, number in numbers.items()}
    is_one = len(set(numbers.values())) == 1
    return next(iter(literals.values())) if is_one else case(literals, value=records.c.source_id)


def _wrong(tx: Connection, beliefs: Select[Any], found: dict[str, str | None]) -> list[tuple[str, str | None]]:
    return [(key, found[key]) for key, believed in tx.execute(beliefs) if believed != found[key]]
