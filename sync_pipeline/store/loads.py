"""Which read of each day is loaded: the order of batches, and what is left to do.

One row per day, or one for an entity without days, written in the transaction that ends a merge and never pruned. The
history of syncs is not used to decide what is loaded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from math import inf
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, bindparam, false, func, or_, select, true, update

from sync_pipeline.store.engine import Store, insert_into
from sync_pipeline.store.locks import take_turn
from sync_pipeline.store.schema import loads, records
from sync_pipeline.store.scope import EntityRows, Scope, within

WHOLE = ""
"""The day of an entity without days."""
NO_SYNC = 0
"""Instead of the number of a sync: a person has decided about the read records."""


class Load(NamedTuple):
    """The newest load of one day."""

    day: str
    read_no: int
    fingerprint: str | None
    run_id: str | None
    loaded_at: datetime
    done_at: datetime | None
    """``None``: it was merged, and something of it is not delivered."""


class Reopened(NamedTuple):
    """A day that was done and has something left to deliver: when it was done, and the read that is loaded."""

    done_at: datetime
    read_no: int


@dataclass(frozen=True, slots=True)
class Loading:
    """What a load notes for its days."""

    days: Sequence[str]
    read_no: int
    fingerprint: str
    sync_id: int
    run_id: str
    at: datetime
    held: Collection[str] = ()
    """Days with held rows: they keep the fingerprint of the mapping that these rows were loaded with."""


_COLUMNS = [loads.c[name] for name in Load._fields]


def days_in(scope: Scope) -> list[str]:
    """The days of a scope in the form stored here."""
    if scope is None:
        return [WHOLE]
    first, last = map(date.fromisoformat, scope)
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


class Loads(EntityRows):
    """The loads of one entity of a pair."""

    def note(self, tx: Connection, loading: Loading) -> None:
        """Note, in the transaction that ends the merge, that these days hold this read; nothing is delivered yet."""
        if not loading.days:
            return
        self._take_turn(tx)
        fixed = {
            "connection": self.pair,
            "entity": self.entity,
            "read_no": loading.read_no,
            "fingerprint": loading.fingerprint,
            "sync_id": loading.sync_id,
            "run_id": loading.run_id,
            "loaded_at": loading.at,
            "done_at": None,
            "has_facts": True,
        }
        insert = insert_into(self.store, loads)
        for held in (False, True):
            days = [{**fixed, "day": day} for day in loading.days if (day in loading.held) is held]
            kept = {"connection", "entity", *(["fingerprint"] if held else [])}
            replace = insert.on_conflict_do_update(
                index_elements=["connection", "entity", "day"],
                set_={name: insert.excluded[name] for name in fixed if name not in kept},
                where=loads.c.read_no <= insert.excluded.read_no,
            )
            if days:
                tx.execute(replace, days)

    def mark_done(self, days: Collection[str], sync_id: int, at: datetime) -> None:
        """Note that everything of these days was delivered; a day that another sync has loaded since is left alone."""
        if not days:
            return
        mine = [*self.of(loads), loads.c.day == bindparam("of_day"), loads.c.sync_id == sync_id]
        with self.store.writing() as tx:
            self._take_turn(tx)
            tx.execute(update(loads).where(*mine).values(done_at=at), [{"of_day": day} for day in days])

    def reopen(self, tx: Connection, days: Collection[str]) -> dict[str, Reopened]:
        """Note that these days have something left to deliver; returns those that were done, for ``close_again``."""
        if not days:
            return {}
        self._take_turn(tx)
        rows = tx.execute(select(loads.c.day, loads.c.done_at, loads.c.read_no).where(*self._done(days)))
        found = {row.day: Reopened(row.done_at, row.read_no) for row in rows}
        tx.execute(update(loads).where(*self._done(days)).values(done_at=None))
        return found

    def mark_not_done(self, tx: Connection, days: Collection[str]) -> None:
        """The same of days that the caller is loading: ``mark_done`` ends it."""
        self._take_turn(tx)
        tx.execute(update(loads).where(*self._done(days)).values(done_at=None))

    def _done(self, days: Collection[str]) -> list[ColumnElement[bool]]:
        return [*self.of(loads), loads.c.day.in_(days), loads.c.done_at.isnot(None)]

    def close_again(self, days: Mapping[str, Reopened]) -> None:
        """The same days when it is delivered; one that was loaded since is left unchanged."""
        if not days:
            return
        unchanged = [loads.c.done_at.is_(None), loads.c.read_no == bindparam("of_read")]
        mine = [*self.of(loads), loads.c.day == bindparam("of_day"), *unchanged]
        rows = [{"of_day": day, "of_read": before.read_no, "at": before.done_at} for day, before in days.items()]
        with self.store.writing() as tx:
            self._take_turn(tx)
            tx.execute(update(loads).where(*mine).values(done_at=bindparam("at")), rows)

    def _take_turn(self, tx: Connection) -> None:
        """One transaction at a time changes days: two that do so in different orders would block each other."""
        take_turn(self.store, tx, f"loads\n{self.pair}\n{self.entity}")

    def newer(self, scope: Scope, read_no: int) -> dict[str, Load]:
        """The days of the scope that hold a newer read than ``read_no``, in order."""
        with self.store.reading() as tx:
            found = tx.execute(
                select(*_COLUMNS).where(*self.of(loads), _in(scope), loads.c.read_no > read_no).order_by(loads.c.day)
            )
            return {row.day: Load(*row) for row in found}

    def any_newer(self, read_no: int) -> bool:
        """Whether any day of the entity holds a newer read."""
        newer = select(loads.c.day).where(*self.of(loads), loads.c.read_no > read_no).limit(1)
        with self.store.reading() as tx:
            return tx.scalar(newer) is not None

    def loaded_later(self, partition: ColumnElement[Any], read_no: ColumnElement[Any] | int) -> ColumnElement[bool]:
        """SQL: the day ``partition`` holds a newer read than ``read_no``; null is an entity without days."""
        day = func.coalesce(partition, WHOLE)
        return select(loads.c.day).where(*self.of(loads), loads.c.day == day, loads.c.read_no > read_no).exists()

    def not_done(self, scope: Scope = None, *, unless_not_of: str | None = None) -> list[Scope]:
        """The parts of ``scope`` that were never loaded, or not completely; ``[None]`` means the whole entity.

        Without the days that hold a load of another mapping than ``unless_not_of``.
        """
        otherwise = loads.c.fingerprint != unless_not_of if unless_not_of is not None else false()
        finished_ones = or_(loads.c.done_at.isnot(None), otherwise)
        done = select(loads.c.day).where(*self.of(loads), _in(scope), finished_ones)
        with self.store.reading() as tx:
            finished = set(tx.scalars(done))
        return _spans(sorted(set(days_in(scope)) - finished), scope)

    def without_facts(self, scope: Scope, *, unless_not_of: str | None = None) -> list[Scope]:
        """The parts of ``scope`` that were loaded before facts for reports were kept; ``unless_not_of`` as above."""
        same = loads.c.fingerprint == unless_not_of if unless_not_of is not None else true()
        days = select(loads.c.day).where(*self.of(loads), _in(scope), ~loads.c.has_facts, same)
        with self.store.reading() as tx:
            return _spans(sorted(tx.scalars(days)), scope)

    def done_since(self, scope: Scope, read_no: int) -> set[str]:
        """The days of the scope whose newest load is done and is based on a newer read than ``read_no``."""
        done = [*self.of(loads), _in(scope), loads.c.read_no > read_no, loads.c.done_at.isnot(None)]
        with self.store.reading() as tx:
            return set(tx.scalars(select(loads.c.day).where(*done)))

    def loaded_otherwise(self, fingerprint: str, scope: Scope = None) -> list[Scope]:
        """The parts of ``scope`` that were loaded with another mapping; ``[None]`` means the whole entity.

        What was never loaded is in none of them, nor what was loaded before fingerprints were kept.
        """
        other = [*self.of(loads), _in(scope), loads.c.fingerprint != fingerprint]
        with self.store.reading() as tx:
            return _spans(sorted(tx.scalars(select(loads.c.day).where(*other))), scope)

    def delivered_otherwise(self, fingerprint: str, besides: Scope | None) -> int:
        """How many records at the target are of days that hold a load of another mapping, ``besides`` these days."""
        day = func.coalesce(records.c.partition, WHOLE)
        same = and_(loads.c.connection == records.c.connection, loads.c.entity == records.c.entity, loads.c.day == day)
        there = [
            records.c.delivered_hash.isnot(None),
            records.c.deleted_at.is_(None),
            records.c.excluded_rule.is_(None),
        ]
        mine = [*self.of(loads), loads.c.fingerprint != fingerprint, *there]
        elsewhere = ~within(records.c.partition, besides) if besides else true()
        statement = select(func.count()).select_from(records.join(loads, same)).where(*mine, elsewhere)
        with self.store.reading() as tx:
            return int(tx.execute(statement).scalar_one())

    def loading_runs(self, scope: Scope = None) -> set[str]:
        """The runs that have loaded days of the scope and not done them: under way, or cut off."""
        open_days = [*self.of(loads), _in(scope), loads.c.done_at.is_(None), loads.c.run_id.isnot(None)]
        with self.store.reading() as tx:
            return set(tx.scalars(select(loads.c.run_id).where(*open_days).distinct()))


def first_contact(store: Store, pair: str, entity: str | None = None) -> bool:
    """Whether nothing was ever loaded for this pair, or nothing of the entity."""
    mine = [loads.c.connection == pair, *([] if entity is None else [loads.c.entity == entity])]
    with store.reading() as tx:
        return tx.scalar(select(loads.c.day).where(*mine).limit(1)) is None


def _in(scope: Scope) -> ColumnElement[bool]:
    return loads.c.day == WHOLE if scope is None else within(loads.c.day, scope)


def _spans(days: Sequence[str], scope: Scope) -> list[Scope]:
    """Sorted days as scopes of consecutive ones."""
    if scope is None:
        return [None] if days else []
    numbers = [date.fromisoformat(day).toordinal() for day in days]
    starts = [day for before, day in pairwise([-1, *numbers]) if day - before > 1]
    ends = [day for day, after in pairwise([*numbers, inf]) if after - day > 1]
    return [
        (date.fromordinal(a).isoformat(), date.fromordinal(int(b)).isoformat())
        for a, b in zip(starts, ends, strict=True)
    ]
