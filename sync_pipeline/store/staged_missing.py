"""The records that one read did not find, in a temporary table: it may be all records of an entity, too many for memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    MetaData,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    false,
    func,
    insert,
    or_,
    select,
    update,
)

from sync_pipeline.store.bulk import SOME_IDS, chunks
from sync_pipeline.store.engine import HeldConnection
from sync_pipeline.store.records import Absent
from sync_pipeline.store.schema import KEY, Instant, records

PAGE = 1000
Held = Literal["waits", "declined"]
Outcome = Literal["unconfirmed", "asked", "deleted", "moved", "left"]
"""Of the second read; ``asked``: it is under way; ``left``: a newer read has found the record since."""

Which = ColumnElement[bool]
"""A condition by which missing records are chosen, one of those below."""

_missing = Table(
    "staged_missing",
    MetaData(),
    Column("source_id", KEY, primary_key=True),
    Column("partition", KEY),
    Column("delivered_hash", KEY),
    Column("deleted_at", Instant, doc="when an earlier run proved it"),
    Column(
        "is_kept", Boolean, nullable=False, server_default=false(), doc="others refer to it: it stays at the target"
    ),
    Column("held", KEY, doc="why its delete is held; null = it is not"),
    Column("outcome", KEY, doc="null = it is not to be read again"),
    Column(
        "in_report", Boolean, nullable=False, server_default=false(), doc="only a report can show whether it exists"
    ),
    Column("read_no", BigInteger, doc="of the read that proved the outcome"),
    Column("by_id", Boolean, doc="whether that read was by id, rather than of a list or report"),
    prefixes=["TEMPORARY"],
)
_COLUMNS = [_missing.c[name] for name in Absent._fields]
_FOUND = ("source_id", "partition", "delivered_hash", "deleted_at")

AT_TARGET = _missing.c.delivered_hash.isnot(None)
DELETABLE = and_(AT_TARGET, ~_missing.c.is_kept)
HELD, WAITS = _missing.c.held.isnot(None), _missing.c.held == "waits"
SETTLED = and_(_missing.c.is_kept, _missing.c.deleted_at.isnot(None))
"""Proven to be deleted before, and kept at the target: there is nothing to prove."""
UNCONFIRMED, ASKED, DELETED, MOVED = (
    _missing.c.outcome == outcome for outcome in ("unconfirmed", "asked", "deleted", "moved")
)
BY_ID, IN_REPORT = _missing.c.by_id, _missing.c.in_report


def asked_or_found(read_no: int) -> Which:
    """The records that the read with this number looks for, or has found already."""
    return or_(ASKED, and_(MOVED, _missing.c.read_no == read_no))


class MissingIds(AbstractSet[str]):
    """The ids of some of the missing records, in order, read a page at a time."""

    def __init__(self, missing: StagedMissing, which: tuple[Which, ...]) -> None:
        self._missing, self._which = missing, which

    def __contains__(self, source_id: object) -> bool:
        return bool(self._missing.among([str(source_id)], *self._which))

    def __and__(self, other: AbstractSet[Any]) -> AbstractSet[str]:
        return self._missing.among(other, *self._which)

    def __iter__(self) -> Iterator[str]:
        return (row.source_id for page in self._missing.pages(*self._which) for row in page)

    def __len__(self) -> int:
        return self._missing.count(*self._which)


class StagedMissing:
    """The missing records, what a guard holds of them, and what a second read proved."""

    def __init__(self, held: HeldConnection) -> None:
        self._held, self._exists = held, False
        self.total = 0
        """How many there are."""

    def fill(self, tx: Connection, found: Select[Any]) -> None:
        """Replace the contents by these records; ``found`` selects id, day, delivered hash and time of deletion."""
        if self.total:
            tx.execute(delete(_missing))
        self.total = 0
        if tx.execute(found.limit(1)).first() is not None:  # nearly always there is none
            self._create(tx)
            added = insert(_missing).from_select(_FOUND, found).execution_options(preserve_rowcount=True)
            self.total = tx.execute(added).rowcount

    def add(self, found: Iterable[Absent]) -> None:
        """Add a few records."""
        with self._held.reading() as tx:
            for some in chunks(found):
                self._create(tx)
                tx.execute(insert(_missing), [{name: getattr(row, name) for name in _FOUND} for row in some])
                self.total += len(some)

    def keep(self, referenced: Iterable[Select[Any]]) -> None:
        """Note that the records with the selected ids stay at the target."""
        for ids in referenced:
            self._set({"is_kept": True}, _missing.c.source_id.in_(ids))

    def hold(self, source_ids: Collection[str], why: Held) -> None:
        """Hold the deletes of these records."""
        self._set_of(source_ids, {"held": why})

    def release(self) -> None:
        """Release all held deletes."""
        self._set({"held": None}, HELD)

    def only_reported(self, source_ids: Collection[str]) -> None:
        """Note that only a report can show whether these exist."""
        self._set_of(source_ids, {"in_report": True})

    def mark(self, outcome: Outcome, numbers: Mapping[str, int | None], *, by_id: bool = False) -> None:
        """Note the outcome for these records, each with the number of the read that proved it."""
        values: dict[str, Any] = {"outcome": outcome, "read_no": bindparam("number"), "by_id": by_id}
        statement = update(_missing).where(_missing.c.source_id == bindparam("key")).values(values)
        for some in chunks(numbers.items()):
            with self._held.reading() as tx:
                tx.execute(statement, [{"key": key, "number": number} for key, number in some])

    def mark_all(self, outcome: Outcome, *which: Which, read_no: int | None = None) -> None:
        """Note the outcome for all records for which the conditions hold; they were not read by id."""
        self._set({"outcome": outcome, "read_no": read_no, "by_id": False}, *which)

    def ids(self, *which: Which) -> MissingIds:
        """The ids of the records for which all conditions hold."""
        return MissingIds(self, which)

    def pages(self, *which: Which) -> Iterator[list[Absent]]:
        """The records for which all conditions hold, by source_id, a page at a time."""
        after = ""
        while page := self._select(_COLUMNS, *which, _missing.c.source_id > after, limit=PAGE):
            yield [Absent(*row) for row in page]
            after = page[-1].source_id

    def first(self, limit: int, *which: Which) -> list[str]:
        """The ids of the first of them."""
        return [row[0] for row in self._select(_COLUMNS[:1], *which, limit=limit)]

    def among(self, source_ids: Iterable[str], *which: Which) -> set[str]:
        """Those of these ids whose records are missing, and for which all conditions hold."""
        if not self.total:
            return set()
        named = select(_missing.c.source_id).where(*which, _missing.c.source_id.in_(SOME_IDS))
        found: set[str] = set()
        for some in chunks(source_ids):
            with self._held.reading() as tx:
                found.update(tx.scalars(named, {SOME_IDS.key: some}))
        return found

    def count(self, *which: Which) -> int:
        """How many there are."""
        if not self.total:
            return 0
        with self._held.reading() as tx:
            return int(tx.execute(select(func.count()).select_from(_missing).where(*which)).scalar_one())

    def days(self, *which: Which) -> tuple[str, str] | None:
        """The first and the last day of them; None where they have none."""
        if not self.total:
            return None
        day = _missing.c.partition
        with self._held.reading() as tx:
            first, last = tx.execute(select(func.min(day), func.max(day)).where(*which)).one()
        return (first, last) if first is not None else None

    def without(self, found: Select[Any]) -> Select[Any]:
        """A selection of records, less those that are known to be missing."""
        known = select(_missing.c.source_id).where(_missing.c.source_id == records.c.source_id)
        return found.where(~known.exists()) if self.total else found

    def _create(self, tx: Connection) -> None:
        if not self._exists:
            _missing.create(tx, checkfirst=False)
            self._exists = True

    def _set(self, values: dict[str, Any], *which: Which) -> None:
        if self.total:
            with self._held.reading() as tx:
                tx.execute(update(_missing).where(*which).values(values))

    def _set_of(self, source_ids: Collection[str], values: dict[str, Any]) -> None:
        statement = update(_missing).where(_missing.c.source_id.in_(SOME_IDS)).values(values)
        for some in chunks(source_ids) if self.total else ():
            with self._held.reading() as tx:
                tx.execute(statement, {SOME_IDS.key: some})

    def _select(self, columns: list[Any], *which: Which, limit: int | None = None) -> list[Any]:
        if not self.total:
            return []
        rows = select(*columns).where(*which).order_by(_missing.c.source_id).limit(limit)
        with self._held.reading() as tx:
            return list(tx.execute(rows))
