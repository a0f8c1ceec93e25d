"""Sums over time entries, for reports: by what they are asked for, and never over several currencies. For rules on figures also timers and names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    FromClause,
    Text,
    and_,
    case,
    cast,
    column,
    func,
    literal,
    select,
    table,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB

from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import Instant, entry_facts, person_facts, project_facts, project_months

GROUPS = {
    "project": ("project_id", "project", "client"),
    "client": ("client_id", "client"),
    "person": ("user_id", "person"),
    "month": ("month",),
    "week": ("week",),
    "tag": ("tag",),
}
"""What sums may be asked for by, and the columns that say which is which: the first one is the key."""
_TEXTS = ("connection", "month", "week", "user_id", "person", "project_id", "project", "client_id", "client", "tags")
_entries = table(
    "mart_time_entries",
    *(column(name, Text()) for name in (*_TEXTS, "currency")),
    column("start_time", Instant),
    *(column(name, BigInteger()) for name in ("seconds", "rounded_seconds", "amount", "cost")),
    column("billable", Boolean()),
)


class Period(NamedTuple):
    """From when to before when; None has no limit."""

    first: datetime | None = None
    end: datetime | None = None


class Figures(NamedTuple):
    """One line of sums."""

    group: dict[str, str | None]
    currency: str | None
    entries: int
    seconds: int
    billable_seconds: int
    people: int
    projects: int
    amount: int | None
    """In hundredths, as all money; None where it is not known of any entry."""
    cost: int | None


class ProjectBudget(NamedTuple):
    """What a project may take, and what it has taken until a month, from its beginning."""

    budget: int | None
    estimate_seconds: int | None
    amount: int | None
    """In one currency."""
    seconds: int
    """In all currencies."""


def sums_of_entries(
    store: Store, pair: str, groups: Sequence[str], period: Period, *, by_currency: bool
) -> list[Figures]:
    """Sums over the entries that started in the period, by these groups; an entry with several tags counts for each."""
    source, tag = _tagged(store) if "tag" in groups else (_entries, literal(None))
    named = {name: tag if name == "tag" else _entries.c[name] for group in groups for name in GROUPS[group]}
    wanted: list[ColumnElement[bool]] = [_entries.c.connection == pair, _entries.c.seconds.isnot(None)]
    wanted += [_entries.c.start_time >= period.first] if period.first else []
    wanted += [_entries.c.start_time < period.end] if period.end else []
    currency: ColumnElement[Any] = _entries.c.currency if by_currency else literal(None, Text())
    by = [*named.values(), *([currency] if by_currency else [])]
    statement = select(
        *(each.label(name) for name, each in named.items()),
        currency.label("currency"),
        func.count(),
        _total(_entries.c.rounded_seconds),
        _total(case((_entries.c.billable, _entries.c.rounded_seconds), else_=0)),
        func.count(_entries.c.user_id.distinct()),
        func.count(_entries.c.project_id.distinct()),
        *(_total(cast(func.round(_entries.c[name] * 100), BigInteger)) for name in ("amount", "cost")),
    )
    statement = statement.select_from(source).where(*wanted).group_by(*by)
    with store.reading() as tx:
        found = [line_of(list(named), row) for row in tx.execute(statement)]
    return [line for line in found if line.entries]


def sums_of_months(store: Store, pair: str, group: str | None, first: str, last: str) -> list[Figures]:
    """The same for whole months, out of the figures that are stored of each project and month."""
    named = {name: _of_month(name) for name in (GROUPS[group] if group else ())}
    currency = func.nullif(project_months.c.currency, "")
    statement = select(
        *(each.label(name) for name, each in named.items()),
        currency,
        *(_total(project_months.c[name]) for name in ("entries", "seconds", "billable_seconds")),
        literal(0),
        func.count(func.nullif(project_months.c.project_id, "").distinct()),
        *(_total(project_months.c[name]) for name in ("amount", "cost")),
    )
    statement = statement.select_from(_months_of_projects()).where(
        project_months.c.connection == pair, project_months.c.month >= first, project_months.c.month <= last
    )
    with store.reading() as tx:
        return [line_of(list(named), row) for row in tx.execute(statement.group_by(*named.values(), currency))]


def budgets(store: Store, pair: str, last: str) -> dict[tuple[str | None, str | None], ProjectBudget]:
    """By project and currency, what of budget and estimate was used until the end of a month."""
    m, p = project_months.c, project_facts.c
    of_project = func.sum(func.sum(m.seconds)).over(partition_by=m.project_id)
    sums = select(m.project_id, m.currency, _total(m.amount), cast(of_project, BigInteger))
    sums = sums.where(m.connection == pair, m.month <= last).group_by(m.project_id, m.currency)
    with store.reading() as tx:
        facts = tx.execute(select(p.source_id, p.budget, p.estimate_seconds).where(p.connection == pair))
        limits = {project: limit for project, *limit in facts}
        return {
            (project or None, currency or None): ProjectBudget(*limits.get(project, (None, None)), *used)
            for project, currency, *used in tx.execute(sums)
        }


def line_of(names: list[str], row: Any) -> Figures:
    """The figures of a row that starts with the values of its group."""
    values = list(row)
    return Figures(dict(zip(names, values[: len(names)], strict=True)), *values[len(names) :])


def _total(values: ColumnElement[Any]) -> ColumnElement[int]:
    """As a whole number: PostgreSQL sums those of 64 bits to others."""
    return cast(func.sum(values), BigInteger)


def _of_month(name: str) -> ColumnElement[Any]:
    columns = {
        "project_id": func.nullif(project_months.c.project_id, ""),
        "month": project_months.c.month,
        "project": project_facts.c.name,
        "client": project_facts.c.client_name,
    }
    return columns[name] if name in columns else project_facts.c[name]


def _months_of_projects() -> FromClause:
    same = and_(
        project_facts.c.connection == project_months.c.connection,
        project_facts.c.source_id == project_months.c.project_id,
    )
    return project_months.outerjoin(project_facts, same)


def _tagged(store: Store) -> tuple[FromClause, ColumnElement[Any]]:
    """Each entry beside each of its tags, or beside none."""
    listed = func.coalesce(_entries.c.tags, "[]")
    if store.dialect == "sqlite":
        tags = func.json_each(listed).table_valued("value", name="tag")
        return _entries.outerjoin(tags, true()), tags.c.value
    each = func.jsonb_array_elements_text(cast(listed, JSONB)).table_valued("value", name="tag")
    lateral = select(each.c.value).lateral("tag")
    return _entries.outerjoin(lateral, text("true")), lateral.c.value


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
        return {key: name or "" for key, name in rows}


def _moments(
    store: Store, pair: str, scope: str, moment: ColumnElement[Any], wanted: list[ColumnElement[bool]]
) -> list[Moment]:
    key, name, source = _scope(scope)
    statement = select(key, func.max(name), moment).select_from(source)
    statement = statement.where(entry_facts.c.connection == pair, key.isnot(None), *wanted).group_by(key)
    with store.reading() as tx:
        return [Moment(of, name, at) for of, name, at in tx.execute(statement) if at is not None]


def _scope(scope: str) -> tuple[ColumnElement[Any], ColumnElement[Any], FromClause]:
    """Key and name of what sums are made by, and what both are read from."""
    is_person = scope == "person"
    table, key = (person_facts, entry_facts.c.user_id) if is_person else (project_facts, entry_facts.c.project_id)
    same = and_(table.c.connection == entry_facts.c.connection, table.c.source_id == key)
    source = entry_facts.outerjoin(table, same)
    if scope == "client":
        return project_facts.c.client_id, project_facts.c.client_name, source
    return key, table.c.name, source
