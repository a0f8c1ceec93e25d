"""What rules on figures need beside sums: timers that run, when something was last logged, and what names there are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, FromClause, and_, func, select

from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import entry_facts, person_facts, project_facts


class Moment(NamedTuple):
    """An instant of a project, a client or a person."""

    id: str
    name: str | None
    at: datetime


def running_since(store: Store, pair: str, scope: str) -> list[Moment]:
    """When the timer that has run longest was started, of each that has one."""
    return _moments(store, pair, scope, func.min(entry_facts.c.start_time), [entry_facts.c.seconds.is_(None)])


def last_logged(store: Store, pair: str, scope: str, since: datetime) -> list[Moment]:
    """When the newest entry of each began, of those that have one since then."""
    return _moments(store, pair, scope, func.max(entry_facts.c.start_time), [entry_facts.c.start_time >= since])


def names_of(store: Store, pair: str, scope: str) -> Mapping[str, str]:
    """The name of each project, client or person by its id; empty where it is not known."""
    columns = {
        "project": (project_facts.c.source_id, project_facts.c.name),
        "client": (project_facts.c.client_id, project_facts.c.client_name),
        "person": (person_facts.c.source_id, person_facts.c.name),
    }[scope]
    table = person_facts if scope == "person" else project_facts
    with store.reading() as tx:
        rows = tx.execute(select(*columns).where(table.c.connection == pair, columns[0].isnot(None)).distinct())
        return {row[0]: row[1] or "" for row in rows}


def _moments(
    store: Store, pair: str, scope: str, moment: ColumnElement[Any], wanted: list[ColumnElement[bool]]
) -> list[Moment]:
    key, name, source = _scope(scope)
    statement = select(key, func.max(name), moment).select_from(source)
    statement = statement.where(entry_facts.c.connection == pair, key.isnot(None), *wanted).group_by(key)
    with store.reading() as tx:
        return [Moment(*row) for row in tx.execute(statement) if row[2] is not None]


def _scope(scope: str) -> tuple[ColumnElement[Any], ColumnElement[Any], FromClause]:
    """Key and name of what sums are made by, and what both are read from."""
    is_person = scope == "person"
    table, key = (person_facts, entry_facts.c.user_id) if is_person else (project_facts, entry_facts.c.project_id)
    same = and_(table.c.connection == entry_facts.c.connection, table.c.source_id == key)
    source = entry_facts.outerjoin(table, same)
    if scope == "client":
        return project_facts.c.client_id, project_facts.c.client_name, source
    return key, table.c.name, source
