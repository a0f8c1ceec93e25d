"""How each connected system last answered, and when Dagster's daemon last reported; by the clock of the store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from sync_pipeline.store.engine import Store, insert_into
from sync_pipeline.store.schema import health

OK_EVERY = timedelta(seconds=60)
"""A good answer after a good answer is stored at most this often."""


@dataclass(frozen=True, slots=True)
class Health:
    """How one system last answered."""

    system: str
    ok_at: datetime | None
    """Its last good answer, to within ``OK_EVERY``."""
    failed_at: datetime | None
    """Since when it has failed; None when its last answer was good."""
    code: str | None
    reason: str | None
    """One sentence for people, with the fix."""
    last_failed_at: datetime | None = None
    """When its last failure began, which may be over."""
    last_reason: str | None = None


def note_ok(store: Store, pair: str, system: str, *, every: timedelta = OK_EVERY) -> None:
    """Note a good answer. It ends a failure."""
    with store.reading() as tx:
        last, now = _row(tx, pair, system), store.now(tx)
    if last is None or last.failed_at or last.ok_at is None or abs(now - last.ok_at) >= every:
        _write(store, pair, system, {"ok_at": now, "failed_at": None, "code": None, "reason": None})


def note_failure(store: Store, pair: str, system: str, code: str, reason: str) -> None:
    """Note a failure; one that continues keeps the time at which it began."""
    with store.reading() as tx:
        last, now = _row(tx, pair, system), store.now(tx)
    if last is None or last.failed_at is None or last.code != code:
        last_failure = {"last_failed_at": now, "last_reason": reason}
        _write(store, pair, system, {"failed_at": now, "code": code, "reason": reason, **last_failure})


def read_health(store: Store, pair: str) -> dict[str, Health]:
    """How each system of a connection last answered."""
    with store.reading() as tx:
        rows = tx.execute(_COLUMNS.where(health.c.connection == pair))
        return {row.system: Health(*row) for row in rows}


_COLUMNS = select(*(health.c[name] for name in Health.__slots__))


def _row(tx: Connection, pair: str, system: str) -> Health | None:
    row = tx.execute(_COLUMNS.where(health.c.connection == pair, health.c.system == system)).one_or_none()
    return None if row is None else Health(*row)


def _write(store: Store, pair: str, system: str, values: dict[str, Any]) -> None:
    statement = insert_into(store, health).values(connection=pair, system=system, **values)
    with store.writing() as tx:
        tx.execute(statement.on_conflict_do_update(index_elements=["connection", "system"], set_=values))
