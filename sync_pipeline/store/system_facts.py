"""What each connected system was last seen to be: whose key it is, the workspace's name, and what the last test found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select

from sync_pipeline.store.engine import Store, insert_into
from sync_pipeline.store.schema import system_facts


@dataclass(frozen=True, slots=True)
class SystemFacts:
    """What is known of one system at one address."""

    account: str = ""
    """Whose key it is; "" when that is not known."""
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
    """Keep whose key it is and what the workspace is called, as far as these are known."""
    known = {name: value for name, value in (("account", account), ("workspace", workspace)) if value}
    if known:
        _write(store, place, known)


def note_test(store: Store, place: str, findings: Sequence[Mapping[str, Any]], at: datetime) -> None:
    """Keep what a test found, in place of what the one before did."""
    _write(store, place, {"tested_at": at, "findings": json.dumps(list(findings), ensure_ascii=False)})


def forget_facts(store: Store, place: str) -> None:
    """Delete what is known of the system at a place."""
    with store.writing() as tx:
        tx.execute(delete(system_facts).where(system_facts.c.place == place))


def _write(store: Store, place: str, values: dict[str, Any]) -> None:
    statement = insert_into(store, system_facts).values(place=place, **values)
    with store.writing() as tx:
        tx.execute(statement.on_conflict_do_update(index_elements=["place"], set_=values))
