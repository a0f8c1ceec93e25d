"""Whether reports, dashboard and views show what the oracle computes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from sync_pipeline.reporting.dashboard import make_dashboard
from sync_pipeline.reporting.reports import KINDS, make_report
from sync_pipeline.session.session import Session
from sync_pipeline.store.period_figures import PeriodFigures, Selection
from sync_pipeline_tests.harness import Json
from sync_pipeline_tests.properties.report_oracle import DAYS, KEYS, Figures, World, money, sums, total

REVENUE = ("revenue", "revenue_budget", "revenue_margin")
FIRST, LAST = "2026-10", "2026-11"
"""The months of all entries."""


def reports_are_right(session: Session, world: World) -> None:
    """Each report by all that it can be made by, the dashboard with and without filters, and the views for BI tools."""
    for name, kind in KINDS.items():
        for by in kind.choices:
            _report_is_right(session, world, name, by)
    for wanted, entries in _selections(world):
        _dashboard_is_right(session, world, wanted, entries)
    _views_are_right(session, world)


def _report_is_right(session: Session, world: World, name: str, by: str) -> None:
    kind = KINDS[name]
    groups = [kind.by, by] if kind.always and by != kind.by else [by]
    has_money = "currency" in kind.columns
    if name == "performance":
        wanted = world.performance(by, world.entries)
    else:
        wanted = world.figures(*groups, currencies=has_money)
    made, what = make_report(session, name, by, None, None), f"report {name} by {by}"
    keys = [each for group in groups for each in KEYS[group]]
    _same(what, _keyed(made.rows, keys), wanted, made.columns)
    if name == "performance":
        assert [row for row in made.rows if (row["revenue"] is None) == (row["revenue_missing"] is None)] == [], what
    totals, columns = world.figures(currencies=has_money), set(kind.columns)
    if name == "performance":  # people are not known of whole months
        columns -= {"people"}
        for (_, currency), line in wanted.items():
            sum_ = totals.setdefault(((), currency), sums([]))
            sum_ |= {column: sum_.get(column, 0) + line[column] for column in REVENUE if column in line}
    _same(f"totals of {what}", _keyed(made.totals, ()), totals, columns)


def _selections(world: World) -> Iterable[tuple[Selection, list[Json]]]:
    """Everything, and what is of one client, project, person, or of none."""
    everything = Selection(FIRST, LAST)
    yield everything, world.entries
    for name, key in (("client", "client_id"), ("project", "project_id"), ("person", "user_id")):
        for value in sorted({each[key] for each in world.entries}, key=str)[-2:]:
            chosen: dict[str, Any] = {name: value or ""}
            yield everything._replace(**chosen), [each for each in world.entries if each[key] == value]


def _dashboard_is_right(session: Session, world: World, wanted: Selection, entries: list[Json]) -> None:
    found, is_all = make_dashboard(session, wanted), wanted == Selection(FIRST, LAST)
    for table, by in (("projects", "project"), ("clients", "client"), ("people", "person")):
        figures = world.figures(by, entries=entries, currencies=by != "person")
        rows, columns = found.tables[table].rows, set(found.tables[table].columns)
        if is_all and by != "person":
            figures = world.performance(by, entries, FIRST)
        elif not is_all:  # budgets and revenue are those of all entries
            rows = [row for row in rows if row["entries"]]
            columns = {name for name in columns if not name.startswith(("revenue", "budget", "estimate"))}
        _same(f"{table} of {wanted}", _keyed(rows, KEYS[by]), figures, columns)
    weeks: Figures = {((week,), None): sums([]) for week in _weeks(world)}
    weeks |= world.figures("week", currencies=False, entries=entries)
    made = found.tables["weeks"]
    _same(f"weeks of {wanted}", _keyed(made.rows, KEYS["week"]), weeks, made.columns)
    assert found.totals == {name: sums(entries)[name] for name in found.totals}
    listed, count = PeriodFigures(session.store, session.pair).entries(wanted, 0, 1_000)
    assert count == len(listed) == len(entries)
    assert [row.start_time for row in listed] == sorted((each["start_time"] for each in entries), reverse=True)


def _weeks(world: World) -> Iterable[str]:
    """Each week of October and November until today."""
    day = date(2026, 10, 1)
    day -= timedelta(days=(day.weekday() - DAYS.index(world.wanted.week_start)) % 7)
    while day <= world.today:
        yield day.isoformat()
        day += timedelta(days=7)


def _views_are_right(session: Session, world: World) -> None:
    rows = {}
    with session.store.reading() as tx:
        for view in ("mart_project_months", "mart_people_months"):
            rows[view] = [dict(row._mapping) for row in tx.execute(text(f"SELECT * FROM {view}"))]
    months, people = world.figures("project", "month"), world.figures("person", "month")
    for each in world.revenue:
        named = {**each, **world.of_project(each["project_id"])}
        key = (tuple(named[name] for name in (*KEYS["project"], "month")), each["currency"])
        line = months.setdefault(key, sums([]))
        line |= {"revenue": each["revenue"], "revenue_budget": each["budget"], "revenue_margin": each["margin"]}
    for (key, currency), line in months.items():
        before = [entry for entry in world.entries if entry["project_id"] == key[0] and entry["month"] <= key[-1]]
        line["amount_to_date"] = money(total(each["amount"] for each in before if each["currency"] == currency))
        line["hours_to_date"] = sum(each["seconds"] for each in before) / 3600
    both = ("entries", "hours", "billable_hours", "amount", "cost")
    of_projects = (*both, "people", "margin", "amount_to_date", "hours_to_date", *REVENUE)
    for view, by, figures, columns in (
        ("mart_project_months", "project", months, of_projects),
        ("mart_people_months", "person", people, (*both, "projects")),
    ):
        _same(view, _keyed(rows[view], (*KEYS[by], "month")), figures, columns)


def _keyed(rows: Collection[Json], names: Iterable[str]) -> Figures:
    names = tuple(names)
    found = {(tuple(row[name] for name in names), row.get("currency")): row for row in rows}
    assert len(found) == len(rows), f"two lines of the same {names}"
    return found


def _same(what: str, found: Figures, wanted: Figures, columns: Iterable[str]) -> None:
    assert found.keys() == wanted.keys(), f"{what}: lines of {found.keys() ^ wanted.keys()}"
    compared = [name for name in columns if name in _COMPARED]
    for key, line in wanted.items():
        for name in compared:
            is_, should = found[key].get(name), line.get(name)
            value = float(is_) if isinstance(is_, Decimal) else is_
            assert value == (None if should is None else pytest.approx(should, abs=6e-5)), (
                f"{what}: {name} of {key} is {is_}, not {should}"
            )


_COMPARED = {
    *sums([]), "budget", "budget_used", "estimate_hours", "estimate_used", "amount_to_date", "hours_to_date", *REVENUE,
}  # fmt: skip
