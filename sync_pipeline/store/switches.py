"""The switch of live syncing: one a connection, turned on for one exact configuration."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, select, update

from sync_pipeline.store.engine import Store, insert_into
from sync_pipeline.store.schema import switches, trials


@dataclass(frozen=True, slots=True)
class Switch:
    """Its state, who turned it last and when."""

    fingerprint: str
    is_on: bool
    by: str
    at: datetime

    def is_on_for(self, fingerprint: str) -> bool:
        """Whether it is on, and for just this configuration."""
        return self.is_on and self.fingerprint == fingerprint


_COLUMNS = select(switches.c.fingerprint, switches.c.is_on, switches.c.by, switches.c.at)


def read_switch(store: Store, pair: str) -> Switch | None:
    """Its state; None when it was never turned."""
    return _first(store, _COLUMNS.where(switches.c.connection == pair))


def newest_switch(store: Store, *, besides: Collection[str] = ()) -> Switch | None:
    """The switch that was turned last, of whatever connection but these; None when none ever was."""
    ours = _COLUMNS.where(switches.c.connection.not_in(besides))
    return _first(store, ours.order_by(switches.c.at.desc()).limit(1))


def _first(store: Store, statement: Select[Any]) -> Switch | None:
    with store.reading() as tx:
        row = tx.execute(statement).one_or_none()
    return None if row is None else Switch(*row)


def any_on(store: Store, *, besides: Collection[str] = ()) -> bool:
    """Whether any connection's switch is on but these, whatever the configuration it was turned on for."""
    is_on = switches.c.is_on, switches.c.connection.not_in(besides)
    with store.reading() as tx:
        return tx.scalar(select(switches.c.connection).where(*is_on).limit(1)) is not None


def turn(store: Store, pair: str, fingerprint: str, *, on: bool, by: str, at: datetime) -> None:
    """Turn it on for a configuration, or off."""
    row = {"fingerprint": fingerprint, "is_on": on, "by": by, "at": at}
    statement = insert_into(store, switches).values(connection=pair, **row)
    with store.writing() as tx:
        tx.execute(statement.on_conflict_do_update(index_elements=["connection"], set_=row))


def move_in(tx: Connection, pair: str, former: str, fingerprint: str, *, by: str, at: datetime) -> bool:
    """Keep it on for another configuration, within the caller's transaction; False when it was not on for the former one."""
    on = switches.c.connection == pair, switches.c.is_on, switches.c.fingerprint == former
    return bool(tx.execute(update(switches).where(*on).values(fingerprint=fingerprint, by=by, at=at)).rowcount)


def turn_all_off(store: Store, *, besides: Collection[str] = (), by: str, at: datetime) -> int:
    """Turn off whatever is on but these, also for accounts that are not set up any more; returns how many were on."""
    is_on = switches.c.is_on, switches.c.connection.not_in(besides)
    with store.writing() as tx:
        return tx.execute(update(switches).where(*is_on).values(is_on=False, by=by, at=at)).rowcount


def carry_over(store: Store, pair: str, former: str, fingerprint: str) -> None:
    """Give what an earlier version noted for this very configuration the fingerprint it has now."""
    noted = [(table, (table.c.connection == pair) & (table.c.fingerprint == former)) for table in (switches, trials)]
    with store.reading() as tx:
        found = [each for each in noted if tx.scalar(select(each[0].c.connection).where(each[1]).limit(1))]
    if not found:
        return
    with store.writing() as tx:
        for table, same in found:
            tx.execute(update(table).where(same).values(fingerprint=fingerprint))
