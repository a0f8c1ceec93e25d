"""Claims: a run's hold on records while it writes them to the target, so that the writes to one record are serial.

A record is claimed in the transaction that selects it, and the claim ends in the one that notes the answer. Only the run
that holds it notes an answer. The claims of a run that has ended are free.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, func, or_, select, update

from sync_pipeline.errors import LockLost
from sync_pipeline.store.bulk import chunks, execute_together
from sync_pipeline.store.engine import Store
from sync_pipeline.store.liveness import has_ended
from sync_pipeline.store.records import KNOWN_COLUMNS, Known, known, pending_delete
from sync_pipeline.store.schema import SENT, SENT_NEW, records
from sync_pipeline.store.scope import EntityRows, draw_in, lock_in_order

_SENDING = """
    WITH sent (source_id, target_id, unknown) AS ({rows})
    UPDATE records
    SET delivered_hash = sent.unknown, target_id = sent.target_id, delivered_no = ?, claimed_by = ?
    FROM sent
    WHERE connection = ? AND entity = ? AND records.source_id = sent.source_id
"""


class Sending(NamedTuple):
    """A write that is about to be sent; ``target_id`` is the record's id at the target, now or then."""

    source_id: str
    target_id: str | None
    delivered_hash: str | None


class Claims(EntityRows):
    """Which run is writing which records of one entity of a pair."""

    @property
    def own(self) -> str:
        """The id of the run that works with this store, for its claims; empty when there is none, and nothing is claimed."""
        return self.store.run_id or ""

    def mark(self, tx: Connection, rows: Sequence[Sending]) -> None:
        """Claim records that no other run holds, and note that what is at the target is unknown until the answer."""
        marks = [(row.source_id, row.target_id, sending(row.delivered_hash)) for row in rows]
        if marks:
            execute_together(tx, _SENDING, marks, (draw_in(tx), self.own or None, self.pair, self.entity))

    def hold(self, tx: Connection, source_ids: Iterable[str]) -> set[str]:
        """Claim records before it is decided what is written; returns those that no other run holds."""
        held: set[str] = set()
        for some in chunks(sorted(source_ids)):
            mine = [*self.of(records), records.c.source_id.in_(some), self.is_free()]
            lock_in_order(tx, mine)
            statement = update(records).where(*mine).values(claimed_by=self.own or None)
            held |= set(tx.scalars(statement.returning(records.c.source_id)))
        return held

    def take(self, source_ids: Iterable[str]) -> set[str]:
        """The same in a transaction of its own."""
        wanted = set(source_ids)
        if not wanted:
            return set()
        with self.store.writing() as tx:
            return self.hold(tx, wanted)

    def take_delete(self, source_id: str) -> Known | None:
        """Claim a record that is to be deleted at the target, and mark it as being sent; None if it is not to be, or held."""
        mine = [*self.of(records), *pending_delete(), records.c.source_id == source_id, self.is_free()]
        with self.store.writing(durable=True) as tx:
            found = tx.execute(select(*KNOWN_COLUMNS).where(*mine).with_for_update(skip_locked=True)).one_or_none()
            if found is None:
                return None
            row = known(found)
            self.mark(tx, [Sending(row.source_id, row.target_id, row.delivered_hash)])
            return row

    def give_back(self) -> None:
        """End the claims of this run: what was sent is answered, or has failed and stays pending."""
        if not self.own:
            return
        with self.store.writing() as tx:
            mine = [*self.of(records), records.c.claimed_by == self.own]
            lock_in_order(tx, mine)
            tx.execute(update(records).where(*mine).values(claimed_by=None))

    def free_ended(self) -> list[str]:
        """End the claims of runs that have ended; returns the other runs that hold records of the entity."""
        others = [*self.of(records), records.c.claimed_by.isnot(None), records.c.claimed_by != self.own]
        with self.store.reading() as tx:
            holders = list(tx.scalars(select(records.c.claimed_by).where(*others).distinct()))
        ended = [run_id for run_id in holders if has_ended(self.store, run_id)]
        if ended:
            with self.store.writing() as tx:
                of_ended = [*self.of(records), records.c.claimed_by.in_(ended)]
                lock_in_order(tx, of_ended)
                tx.execute(update(records).where(*of_ended).values(claimed_by=None))
        return [run_id for run_id in holders if run_id not in ended]

    def owned(self, tx: Connection, source_ids: Collection[str], *, or_free: bool = False) -> set[str]:
        """Those of these records that this run holds - or none does -, locked until the transaction ends."""
        found: set[str] = set()
        for some in chunks(sorted(source_ids)):
            mine = [*self.of(records), records.c.source_id.in_(some), self.is_free() if or_free else self.is_own()]
            rows = select(records.c.source_id).where(*mine).order_by(records.c.source_id).with_for_update()
            found |= set(tx.scalars(rows))
        return found

    def is_free(self) -> ColumnElement[bool]:
        """SQL: no other run holds the record."""
        return or_(records.c.claimed_by.is_(None), records.c.claimed_by == self.own)

    def is_own(self) -> ColumnElement[bool]:
        """SQL: this run holds the record - or none does, where nothing is claimed."""
        return func.coalesce(records.c.claimed_by, "") == self.own


def held_records(store: Store, pair: str) -> dict[str, dict[str, int]]:
    """How many records of each entity a run is writing, or was when it ended: entity to run to number."""
    runs = (records.c.entity, records.c.claimed_by)
    statement = select(*runs, func.count()).where(records.c.connection == pair, records.c.claimed_by.isnot(None))
    found: dict[str, dict[str, int]] = {}
    with store.reading() as tx:
        for entity, run_id, count in tx.execute(statement.group_by(*runs).order_by(*runs)):
            found.setdefault(entity, {})[run_id] = count
    return found


def sending(delivered_hash: str | None) -> str:
    """The value that replaces ``delivered_hash`` while its record is being written."""
    return SENT_NEW if delivered_hash in (None, SENT_NEW) else SENT


def taken_over(entity: str, source_id: str) -> LockLost:
    """The error of a run that has lost a record to another one."""
    return LockLost(
        f"Another run has taken over the record {source_id} of {entity} from this one. Nothing more is sent.",
        fix="Run again: what is left is delivered then.",
    )
