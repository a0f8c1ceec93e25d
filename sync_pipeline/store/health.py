"""What is known of each connected system: how it last answered, by the clock of the store, and what it was last seen to be.

Dagster's daemon counts as one. Also how large the database is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, select

from sync_pipeline.store.engine import Store, insert_into
from sync_pipeline.store.schema import health, system_facts

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


def size_of(store: Store) -> int:
    """Bytes: of the SQLite file with its log, or of the whole PostgreSQL database."""
    if store.path is not None:
        files = (store.path, Path(f"{store.path}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())
    with store.reading() as tx:
        return int(tx.execute(select(func.pg_database_size(func.current_database()))).scalar_one())


@dataclass(frozen=True, slots=True)
class SystemFacts:
    """What is known of one system at one address."""

    account: str = ""
    """The owner of the key; "" if it is not known."""
    workspace: str = ""
    """The name of the workspace; "" when that is not known."""
    tested_at: datetime | None = None
    findings: tuple[Mapping[str, Any], ...] = ()
    """What the last test found, as documents."""


def read_facts(store: Store, place: str) -> SystemFacts:
    """What is known of the system at a place; nothing when it was never seen there."""
    columns = (system_facts.c[name] for name in SystemFacts.__slots__)
    with store.reading() as tx:
        row = tx.execute(select(*columns).where(system_facts.c.place == place)).one_or_none()
    if row is None:
        return SystemFacts()
    return SystemFacts(row.account or "", row.workspace or "", row.tested_at, tuple(json.loads(row.findings or "[]")))


def note_names(store: Store, place: str, account: str, workspace: str) -> None:
    """Store the owner of the key and the name of the workspace, as far as these are known."""
    known = {name: value for name, value in (("account", account), ("workspace", workspace)) if value}
    if known:
        _note(store, place, known)


def note_test(store: Store, place: str, findings: Sequence[Mapping[str, Any]], at: datetime) -> None:
    """Keep what a test found, in place of what the one before did."""
    _note(store, place, {"tested_at": at, "findings": json.dumps(list(findings), ensure_ascii=False)})


def forget_facts(store: Store, place: str) -> None:
    """Delete what is known of the system at a place."""
    with store.writing() as tx:
        tx.execute(delete(system_facts).where(system_facts.c.place == place))


def _note(store: Store, place: str, values: dict[str, Any]) -> None:
    statement = insert_into(store, system_facts).values(place=place, **values)
    with store.writing() as tx:
        tx.execute(statement.on_conflict_do_update(index_elements=["place"], set_=values))
