"""The switch of live syncing: one a connection, turned on for one exact configuration."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update

from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import switches
from sync_pipeline.store.upsert import insert_into


@dataclass(frozen=True, slots=True)
class Switch:
    """How it stands, who turned it last and when."""

    fingerprint: str
    is_on: bool
    by: str
    at: datetime

    def is_on_for(self, fingerprint: str) -> bool:
        """Whether it is on, and for just this configuration."""
        return self.is_on and self.fingerprint == fingerprint


def read_switch(store: Store, connection: str) -> Switch | None:
    """How it stands; None when nobody ever turned it."""
    columns = (switches.c.fingerprint, switches.c.is_on, switches.c.by, switches.c.at)
    with store.reading() as own:
        row = own.execute(select(*columns).where(switches.c.connection == connection)).one_or_none()
    return None if row is None else Switch(*row)


def turn(store: Store, connection: str, fingerprint: str, *, on: bool, by: str, at: datetime) -> None:
    """Turn it on for a configuration, or off."""
    row = {"fingerprint": fingerprint, "is_on": on, "by": by, "at": at}
    statement = insert_into(store, switches).values(connection=connection, **row)
    with store.writing() as own:
        own.execute(statement.on_conflict_do_update(index_elements=["connection"], set_=row))


def turn_all_off(store: Store, *, by: str, at: datetime) -> None:
    """Turn off whatever is on, also for accounts that are not set up any more."""
    with store.writing() as own:
        own.execute(update(switches).where(switches.c.is_on).values(is_on=False, by=by, at=at))
