"""Compare one batch with what is stored: duplicates, absence, what changed, what is left to deliver."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    true,
    update,
)

from sync_pipeline.mapping.json_types import LONGEST_ID
from sync_pipeline.store.bulk import chunks
from sync_pipeline.store.claims import Claims, Sending
from sync_pipeline.store.comparison import Comparison
from sync_pipeline.store.loads import Load
from sync_pipeline.store.planned import Planned, PlannedRows
from sync_pipeline.store.records import pending_delete, pending_upsert, read_by_id_lately
from sync_pipeline.store.schema import FORMER_DAYS, KEY, records, rejects
from sync_pipeline.store.scope import Scope, within
from sync_pipeline.store.staged import Span, StagedRow, desired, differs, is_elsewhere, rewrites, staged

PAGE_ROWS = 1_000
_FOUND = (records.c.source_id, records.c.partition, records.c.delivered_hash, records.c.deleted_at)
_STORED = [records.c[name] for name in ("source_id", "partition", "fields", "fields_hash")]
MOST_UNFOUND = 10_000
"""Many more than a run may read by id: the rest is not known, and the days are not done."""

Doubt = Literal["changed", "contested", "lagging", "superseded", "unlisted"]
"""Why a batch cannot decide about a record; it is noted in ``rule`` of the kept row until the record is read again."""
_DOUBTFUL = (staged.c.status == "kept", staged.c.rule.isnot(None))

_IN_ORDER = text("SET LOCAL enable_sort = off")
"""Where many rows are pending, a page of them is the first rows of an index; PostgreSQL expects few, and would look through all records.
The setting ends with the transaction, and PostgreSQL still sorts where no index gives the order."""

Place = Callable[[Planned], str | None]
"""The id that a row has, or will have, at the target."""


class _Claimed(NamedTuple):
    """A page of rows, and the last id that was looked at for it."""

    rows: list[Planned]
    last: str


class Staging(PlannedRows):
    """The rows of one read, and the questions a sync asks about them."""

    _is_skipped = False
    """Whether rows may have been left out when others were claimed; from then on ``is_sent`` marks the claimed ones."""
    _claimed_until = ""
    """The last id of the pages that were claimed."""

    def met(self, size: int = 1000) -> Iterator[list[tuple[str, str]]]:
        """Id and fields of the records of the batch, a page at a time."""
        after = ""
        while True:
            page = select(staged.c.source_id, self._fields()).where(staged.c.source_id > after)
            with self._looking() as tx:
                found = [(row[0], row[1]) for row in tx.execute(page.order_by(staged.c.source_id).limit(size))]
            if not found:
                return
            yield found
            after = found[-1][0]

    def rows(self, *, waiting: bool = False) -> Iterator[list[StagedRow]]:
        """The rows of the batch - or those that wait - in the order in which they came, a page at a time."""
        columns = (self._fields() if name == "fields" else staged.c[name] for name in StagedRow._fields)
        page = select(staged.c.nr, *columns).order_by(staged.c.nr).limit(PAGE_ROWS)
        page = page.where(staged.c.status == "waiting") if waiting else page
        after = 0
        while True:
            with self._looking() as tx:
                found = tx.execute(page.where(staged.c.nr > after)).all()
            if not found:
                return
            yield [StagedRow(*row[1:]) for row in found]
            after = found[-1][0]

    @contextmanager
    def compare(self, *, assigns_ids: bool) -> Iterator[Comparison]:
        """A comparison with what is at the target."""
        found = Comparison(self._loads, self._held)
        with self._looking() as tx:
            found.want(tx, assigns_ids=assigns_ids)
        yield found
        with self._held.reading() as tx:
            found.drop(tx)

    def accept(self, source_ids: Iterable[str]) -> None:
        """What these rows waited for is at the target."""
        with self._looking() as tx:
            for some in chunks(source_ids):
                tx.execute(update(staged).where(staged.c.source_id.in_(some)).values(status="accepted"))

    def keep_doubtful(self) -> int:
        """Keep what is stored of the records about which the batch cannot decide, and note why; returns how many.

        These may be all records, so that they are only marked here; ``doubtful`` names the first of them.
        """
        any_newer = self._scope is not None and self._loads.any_newer(self._read_no)
        with self._looking() as tx:
            lately = self._lately(tx)
            kept = self._keep(tx, "changed", self._changed_since())
            kept += self._keep(tx, "contested", self._contested()) if any_newer else 0
            if lately is not None:
                kept += self._keep(tx, "lagging", self._lagging(lately))
                kept += self._keep_stored(tx, "unlisted", self._unlisted(lately))
        return kept

    def keep_superseded(self) -> int:
        """Keep what is stored where a newer read of the record's day, or of the row's, is loaded and the row would change it.

        For a record that a load found unchanged, the number of its day is the only trace.
        """
        if not self._loads.any_newer(self._read_no):
            return 0
        days = (records.c.partition, staged.c.partition)
        later = or_(*(self._loads.loaded_later(day, self._number()) for day in days))
        news = or_(and_(records.c.source_id.is_(None), desired()), self._contradicts())
        rows = self._beside_records(Span(""), staged.c.nr).where(staged.c.status != "kept", later, news)
        with self._looking() as tx:
            return self._keep(tx, "superseded", rows)

    def keep_missing_since(self) -> int:
        """Keep what is stored of records that another run has stored since ``find_missing`` looked."""
        with self._looking() as tx:
            absent = self.missing.without(self._absent(tx, *_STORED, again=False))
            return self._keep_stored(tx, "unlisted", absent.where(self._is_not_missed()))

    def doubtful(self, limit: int | None = None) -> dict[str, str]:
        """The first of the records that are in doubt, and why."""
        rows = select(staged.c.source_id, staged.c.rule).where(*_DOUBTFUL)
        with self._looking() as tx:
            found = tx.execute(rows.order_by(staged.c.rule, staged.c.source_id).limit(limit))
            return {row[0]: row[1] for row in found}

    def doubtful_among(self, source_ids: Collection[str]) -> set[str]:
        """Those of these records that are in doubt."""
        return self._among(source_ids, select(staged.c.source_id).where(*_DOUBTFUL), staged.c.source_id)

    def doubtful_days(self) -> set[tuple[str, str]]:
        """Why, and for which of its days, the batch is in doubt about records."""
        with self._looking() as tx:
            found = tx.execute(select(staged.c.rule, staged.c.partition).where(*_DOUBTFUL).distinct())
            return {(row[0], row[1] or "") for row in found}

    def unread_days(self) -> set[str]:
        """The days of records in doubt, in the batch and as stored, without those that are known to be missing: these are named."""
        rows = self._beside_records(Span(""), staged.c.partition, records.c.partition)
        with self._looking() as tx:
            found = tx.execute(rows.where(*_DOUBTFUL, records.c.unconfirmed_at.is_(None)).distinct())
            return {day or "" for row in found for day in row}

    def settle(self, source_ids: Iterable[str] | None = None) -> None:
        """Clear the doubt about these records, or about all: they have been read again, or will not be."""
        certain = update(staged).where(*_DOUBTFUL).values(rule=None)
        with self._looking() as tx:
            if source_ids is None:
                tx.execute(certain)
            for some in chunks(source_ids or ()):
                tx.execute(certain.where(staged.c.source_id.in_(some)))

    def witness(self) -> str | None:
        """The id of any record that this read found."""
        with self._looking() as tx:
            found: str | None = tx.scalar(select(staged.c.source_id).limit(1))
            return found

    def keep(self, source_ids: Iterable[str], why: Doubt | None = None) -> None:
        """Keep what is stored of these records: this batch does not decide about them, whether it contains them or not."""
        stored = select(*_STORED).where(*self._ours(), ~self._is_met())
        with self._looking() as tx:
            for some in chunks(source_ids):
                tx.execute(update(staged).where(staged.c.source_id.in_(some)).values(status="kept", rule=why))
                self._keep_stored(tx, why, stored.where(records.c.source_id.in_(some)))

    def _keep(self, tx: Connection, why: Doubt, rows: Select[Any]) -> int:
        """Keep what is stored of the records of these rows, selected by their numbers."""
        return tx.execute(update(staged).where(staged.c.nr.in_(rows)).values(status="kept", rule=why)).rowcount

    def _keep_stored(self, tx: Connection, why: Doubt | None, found: Select[Any]) -> int:
        """Keep these records, which the batch does not contain."""
        columns = [*(column.name for column in _STORED), "status", "rule"]
        added = insert(staged).from_select(columns, found.add_columns(literal("kept"), literal(why, KEY)))
        return tx.execute(added.execution_options(preserve_rowcount=True)).rowcount

    def miss(self, numbers: Mapping[str, int]) -> None:
        """Take these records out of the batch: reads by id with these numbers, newer than it, did not find them."""
        self._missed.update(numbers)
        with self._looking() as tx:
            for some in chunks(numbers):
                tx.execute(delete(staged).where(staged.c.source_id.in_(some)))

    def cut(self) -> dict[str, Load]:
        """Leave out the days that hold a newer read: their rows are dropped, and their records do not count as absent.

        Returns the newest load of each such day, in order.
        """
        covered = self._loads.newer(self._scope, self._read_no)
        if covered:
            with self._looking() as tx:
                is_older = self._loads.loaded_later(self._day_of_row(), self._read_no)
                dropped = [staged.c.read_no.is_(None), is_older]
                if self._scope is not None:
                    self.unfound |= self._without_trace(tx, dropped)
                tx.execute(delete(staged).where(*dropped))
            self._cut = True
        return covered

    def _without_trace(self, tx: Connection, dropped: Sequence[ColumnElement[bool]]) -> dict[str, str]:
        """Rows to be dropped although the newer read of their day has stored nothing for them: id to staged day.

        A list that lagged showed them on that day, or they have moved since: on which day they are now is unknown.
        """
        newer = or_(records.c.read_no > self._read_no, self._loaded_later(records.c.partition))
        stored = select(records.c.source_id).where(self._match(), newer).exists()
        same = [*self._rejects.of(rejects), rejects.c.source_id == staged.c.source_id]
        rejected = select(rejects.c.id).where(*same, rejects.c.read_no > self._read_no).exists()
        rows = select(staged.c.source_id, staged.c.partition).where(
            *dropped, staged.c.status.not_in(["excluded", "kept"]), ~stored, ~rejected
        )
        return {row[0]: row[1] or "" for row in tx.execute(rows.order_by(staged.c.source_id).limit(MOST_UNFOUND))}

    def still_unfound(self) -> set[str]:
        """The ``unfound`` that were not found since: the batch cannot decide about these either."""
        return self.unfound.keys() - self.listed_among(self.unfound) - self._missed.keys()

    def _changed_since(self) -> Select[Any]:
        """Rows staged by id only whose stored fields have changed without a newer read."""
        changed = and_(self._not_newer(), or_(self._is_made_otherwise(), is_elsewhere()))
        undecided = [staged.c.fields.is_(None), staged.c.status != "kept"]
        rows = self._beside_records(Span(""), staged.c.nr)
        return rows.where(*undecided, or_(records.c.source_id.is_(None), changed))

    def _contested(self) -> Select[Any]:
        """Rows of other days than the newer read of the day on which the store keeps their record: it may have moved back since."""
        later = self._loaded_later(records.c.partition)
        return self._joined(staged.c.nr).where(self._is_undecided(), later, self._contradicts())

    def _lagging(self, lately: ColumnElement[bool]) -> Select[Any]:
        """Rows that contradict a read by id of the last minutes: their list may lag behind it."""
        return self._joined(staged.c.nr).where(self._is_undecided(), lately, self._contradicts())

    def _unlisted(self, lately: ColumnElement[bool]) -> Select[Any]:
        """Records that this read did not find but a read by id of the last minutes did: the list may lag behind."""
        live = [records.c.deleted_at.is_(None), records.c.read_no <= self._read_no, lately]
        return self._not_met(*_STORED, again=False).where(*live, self._is_not_missed())

    def _is_not_missed(self) -> ColumnElement[bool]:
        return records.c.source_id.not_in(list(self._missed)) if self._missed else true()

    def _is_undecided(self) -> ColumnElement[bool]:
        """The rows of the batch itself that it decides about."""
        return and_(staged.c.read_no.is_(None), staged.c.status != "kept")

    def _lately(self, tx: Connection) -> ColumnElement[bool] | None:
        """The condition for records read by id in the last minutes; ``None`` when there are none."""
        lately = read_by_id_lately(self._loads.store.now(tx))
        any_is = select(records.c.source_id).where(*self._ours(), lately).limit(1)
        return lately if tx.scalar(any_is) is not None else None  # nearly always, and nothing need be scanned

    def listed_among(self, source_ids: Collection[str]) -> set[str]:
        """Those of these records that are in the batch."""
        return self._among(source_ids, select(staged.c.source_id), staged.c.source_id)

    def absent_among(self, source_ids: Collection[str]) -> set[str]:
        """Those of these records that ``find_missing`` finds."""
        with self._looking() as tx:
            absent = self._absent(tx, records.c.source_id, again=False)
        return self._among(source_ids, absent, records.c.source_id)

    def news_among(self, source_ids: Collection[str]) -> set[str]:
        """Those of these records that the batch would add or change, by its own rows or by reads of single records."""
        changed = and_(desired(), or_(records.c.source_id.is_(None), and_(self._not_newer(), differs())))
        excluded = and_(staged.c.status == "excluded", records.c.excluded_rule.is_distinct_from(staged.c.rule))
        left = and_(excluded, records.c.source_id.isnot(None), self._not_newer())
        news = self._beside_records(Span(""), staged.c.source_id).where(or_(changed, left))
        return self._among(source_ids, news, staged.c.source_id)

    def _among(self, source_ids: Collection[str], found: Select[Any], column: ColumnElement[Any]) -> set[str]:
        with self._looking() as tx:
            return {key for some in chunks(source_ids) for key in tx.scalars(found.where(column.in_(some)))}

    def outdated(self) -> list[str]:
        """Rows whose record a newer read has stored with other fields."""
        with self._looking() as tx:
            newer = self._joined(staged.c.source_id).where(differs(), records.c.read_no > self._number())
            return list(tx.scalars(newer.order_by(staged.c.source_id)))

    def known(self, *, everywhere: bool = False) -> int:
        """How many delivered records of the scope - or of the entity - live: the base of the volume check."""
        scope = None if everywhere else self._scope
        live = [*self._ours(scope), records.c.deleted_at.is_(None), records.c.delivered_hash.isnot(None)]
        live.append(_may_be_met())
        return self._count(select(func.count()).select_from(records).where(*live))

    def find_missing(self, *, again: bool = False) -> None:
        """Note in ``missing`` the records of the scope that this read did not find.

        Excluded ones are only missed when they are at the target; those that a newer read has stored, or a read by id
        has found minutes ago, only when a read by id has missed them since. With ``again`` also those that were proven
        deleted before and are still there: each delete needs a proof of its own run.
        """
        with self._looking() as tx:
            self.missing.fill(tx, self._absent(tx, *_FOUND, again=again))

    def count_absent(self, *, again: bool = False) -> int:
        """How many of the records that ``find_missing`` finds are at the target: the deletes this batch asks for."""
        with self._looking() as tx:
            statement = self._absent(tx, func.count(), again=again)
        return self._count(statement.where(records.c.delivered_hash.isnot(None)))

    def first(self, limit: int) -> list[str]:
        """The first ids of the batch that are wanted at the target."""
        with self._looking() as tx:
            wanted = select(staged.c.source_id).where(desired()).order_by(staged.c.source_id).limit(limit)
            return list(tx.scalars(wanted))

    def count_rewrites(self, scopes: Sequence[Scope]) -> int:
        """Rows of these scopes that are at the target in another form than this batch wants."""
        return self._count(self._joined(func.count()).where(*rewrites(scopes)))

    def hold(self, scopes: Sequence[Scope]) -> None:
        """Mark these rows as held: they are neither merged nor delivered, and do not count as absent."""
        of_scopes = select(records.c.source_id).where(self._match(), *rewrites(scopes)).exists()
        with self._looking() as tx:
            tx.execute(update(staged).where(desired(), of_scopes).values(status="held"))

    def held_among(self, source_ids: Collection[str]) -> set[str]:
        """Those of these records that are held."""
        return self._among(source_ids, select(staged.c.source_id).where(staged.c.status == "held"), staged.c.source_id)

    def kept_among(self, source_ids: Collection[str]) -> set[str]:
        """Those of these records about which this batch does not decide."""
        return self._among(source_ids, select(staged.c.source_id).where(staged.c.status == "kept"), staged.c.source_id)

    def labels(self, source_ids: Collection[str]) -> dict[str, str]:
        """What people call these records, where it is known."""
        found: dict[str, str] = {}
        with self._looking() as tx:
            for some in chunks(source_ids):
                named = [staged.c.label.isnot(None), staged.c.source_id.in_(some)]
                found |= {
                    row[0]: row[1] for row in tx.execute(select(staged.c.source_id, staged.c.label).where(*named))
                }
        return found

    def held_days(self) -> frozenset[str]:
        """The days of the held rows, both those in the batch and those at the target."""
        new = select(staged.c.partition).where(staged.c.status == "held").distinct()
        with self._looking() as tx:
            days = frozenset(day or "" for day in tx.scalars(new))
        return days | self._days_of(staged.c.status == "held")

    def undelivered_days(self) -> frozenset[str]:
        """The days of kept rows whose stored state is still to be delivered."""
        return self._days_of(staged.c.status == "kept", *pending_upsert())

    def moved_days(self) -> frozenset[str]:
        """The days outside the scope onto which records of it have moved."""
        if self._scope is None:
            return frozenset()
        outside = [staged.c.read_no.isnot(None), ~within(staged.c.partition, self._scope)]
        with self._looking() as tx:
            return frozenset(tx.scalars(select(staged.c.partition).where(*outside).distinct()))

    def left_behind(self, limit: int) -> list[str]:
        """Records that the target may still show on one of these days, with a change that is still to be delivered."""
        with self._looking() as tx:
            return list(tx.scalars(select(records.c.source_id).where(*self._left_behind()).limit(limit)))

    def days_left(self, days: Collection[str]) -> frozenset[str]:
        """Those of these days on which the target may still show such records."""
        with self._looking() as tx:
            found = tx.execute(select(*FORMER_DAYS).select_from(records).where(*self._left_behind()).distinct()).all()
        return frozenset(day for day in days if any(first <= day <= last for first, last in found))

    def _left_behind(self) -> list[ColumnElement[bool]]:
        """Without those that were rejected, wait, or are missing at the source: these have a reason that is shown."""
        same = [getattr(rejects.c, name) == getattr(records.c, name) for name in ("connection", "entity", "source_id")]
        left = [*self._ours(), records.c.moved_from.isnot(None), records.c.unconfirmed_at.is_(None), *pending_upsert()]
        if self._scope is not None:
            first, last = FORMER_DAYS
            left += [first <= self._scope[1], last >= self._scope[0]]
        return [*left, ~select(rejects.c.id).where(*same).exists()]

    def _days_of(self, *rows: ColumnElement[bool]) -> frozenset[str]:
        days = self._joined(staged.c.partition).where(*rows).union(self._joined(records.c.partition).where(*rows))
        with self._looking() as tx:
            return frozenset(day or "" for day in tx.scalars(days))

    def refused(self) -> int:
        """Accepted rows that wait because the target refused exactly this state."""
        return self._count(
            self._joined(func.count()).where(
                staged.c.status == "accepted",
                records.c.refused_hash == staged.c.fields_hash,
                records.c.delivered_hash.is_distinct_from(staged.c.fields_hash),
            )
        )

    def claimed_pages(
        self, size: int, place: Place | None = None, *, archives: bool = False
    ) -> Iterator[list[Planned]]:
        """The accepted rows still to be delivered, a page at a time, each claimed for this run.

        With ``place``, the id that a row has at the target, they are marked as being sent, too. Rows that another run holds
        are left out; ``is_left`` says whether there are any.
        """
        if self._claimed_until:
            with self._looking() as tx:
                self._mark_sent(tx)
        after = self._claimed_until = ""
        self._is_skipped = self._loads.store.dialect == "postgresql"  # which skips rows that are locked at the moment
        while found := self._claim(self._pending(size, after, records.c.claimed_by, archives=archives), place):
            if found.rows:
                yield found.rows
            after = self._claimed_until = found.last

    def is_left(self) -> bool:
        """Whether rows were left out that still are to be delivered; never true of those that this run has sent."""
        if not self._is_skipped:
            return False
        with self._looking() as tx:
            return tx.execute(self._pending(1).where(*self._unsent())).first() is not None

    def left(self) -> dict[str, str]:
        """These rows: id to the day on which the record is stored."""
        if not self._is_skipped:
            return {}
        rows = self._joined(staged.c.source_id, records.c.partition, is_unsettled=True).where(*self._unsent())
        with self._looking() as tx:
            return {row[0]: row[1] or "" for row in tx.execute(rows.order_by(staged.c.source_id))}

    def put_back(self, source_ids: Collection[str]) -> None:
        """What came of sending these was not noted, since another run has claimed them: they are left out so far."""
        if not source_ids:
            return
        with self._looking() as tx:
            self._mark_sent(tx)
            for some in chunks(source_ids):
                tx.execute(update(staged).where(staged.c.source_id.in_(some)).values(is_sent=None))

    def _claim(self, pending: Select[Any], place: Place | None) -> _Claimed | None:
        claims = Claims(self._loads.store, self._loads.pair, self._loads.entity)
        statement = pending.where(staged.c.is_sent.is_(None))
        with self._held.writing(durable=True) as tx:
            if not self._prepared:
                self._prepare(tx)
            if self._has_many and self._loads.store.dialect == "postgresql":
                tx.execute(_IN_ORDER)
            found = tx.execute(statement.with_for_update(of=records, skip_locked=True)).all()
            if not found:
                return None
            rows = [Planned(*row[:-1]) for row in found if row[-1] in (None, claims.own)]
            if len(rows) < len(found):
                self._mark_sent(tx)
            ids = [row.source_id for row in rows]
            if place is None:
                claims.hold(tx, ids)
            else:
                claims.mark(tx, [Sending(row.source_id, place(row), row.delivered_hash) for row in rows])
            for some in chunks(ids) if self._is_skipped else ():
                tx.execute(update(staged).where(staged.c.source_id.in_(some)).values(is_sent=True))
        return _Claimed(rows, found[-1].source_id)

    def _mark_sent(self, tx: Connection) -> None:
        """Mark the rows claimed so far: from here on rows are left out or the pages start over, which is rare."""
        if not self._is_skipped:
            tx.execute(update(staged).where(staged.c.source_id <= self._claimed_until).values(is_sent=True))
        self._is_skipped = True

    def _unsent(self) -> list[ColumnElement[bool]]:
        return [staged.c.is_sent.is_(None), *self._is_pending()]

    def _absent(self, tx: Connection, *columns: Any, again: bool) -> Select[Any]:
        lagging = func.coalesce(read_by_id_lately(self._loads.store.now(tx)), false())
        older = and_(records.c.read_no <= self._read_no, ~lagging)
        missed = records.c.source_id.in_(list(self._missed)) if self._missed else false()
        counts = or_(records.c.deleted_at.isnot(None), older, missed)
        return self._not_met(*columns, again=again).where(counts)

    def _not_met(self, *columns: Any, again: bool) -> Select[Any]:
        there = records.c.delivered_hash.isnot(None)
        missed = and_(records.c.deleted_at.is_(None), or_(records.c.excluded_rule.is_(None), there))
        here = self._ours(self._scope) + ([~self._loaded_later(records.c.partition)] if self._cut else [])
        if again:
            missed = or_(missed, and_(*pending_delete()))
        here.append(_may_be_met())
        return select(*columns).select_from(records).where(*here, missed, ~self._is_met())

    def _day_of_row(self) -> ColumnElement[Any]:
        """The day a row belongs to; one of a batch of days that has none, to no day."""
        return staged.c.partition if self._scope is None else func.coalesce(staged.c.partition, "none")


def _may_be_met() -> ColumnElement[bool]:
    """SQL: whether a batch can hold the record: a longer id is in none, so that its absence proves nothing."""
    return func.length(records.c.source_id) <= LONGEST_ID
