"""The figures of the dashboard: hours by week, projects against their budgets, margin by client, people by utilisation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sync_pipeline.reporting.reports import Report, Row, fact_entities, in_hours, row_of
from sync_pipeline.reporting.revenue import COLUMNS, USED, add_revenue
from sync_pipeline.session.session import Session
from sync_pipeline.store.figures import Figures, budgets
from sync_pipeline.store.period_figures import EntryRow, Freshness, PeriodFigures, Selection
from sync_pipeline.store.project_months import WEEKDAYS, ReportSettings, is_stale, month_before

HOURS = ("entries", "hours", "billable_hours", "billable_share")
MONEY = ("currency", "amount", "cost", "margin")
ENTRIES = ("start", "person", "project", "client", "hours", "billable", "currency", "amount", "entry_id")
MONTHS = 3
"""Months shown where no period is named, the current month included."""
MOST_MONTHS = 24
_MONTH = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])")


class BadPeriod(ValueError):
    """A period that cannot be shown; its text says why."""


def period_of(first: str, last: str, today: date) -> tuple[str, str]:
    """The months that are asked for; BadPeriod where they are none, out of order, or too many."""
    latest = last or max(first, f"{today:%Y-%m}")
    earliest = first or month_before(latest, MONTHS - 1) if not last or _MONTH.fullmatch(last) else first or latest
    for named in (earliest, latest):
        if not _MONTH.fullmatch(named):
            raise BadPeriod(f"{named[:20]} is no month. Write it like 2026-03.")
    if earliest > latest:
        raise BadPeriod(f"The period begins in {earliest}, after its end in {latest}.")
    if earliest < month_before(latest, MOST_MONTHS - 1):
        raise BadPeriod(f"A period is at most {MOST_MONTHS} months long.")
    return earliest, latest


class Dashboard(NamedTuple):
    """All that the page shows."""

    wanted: Selection
    tables: dict[str, Report]
    """Weeks in order; projects with the most of their budget or estimate used first, clients with the least margin, and people with
    the highest utilisation."""
    totals: Row
    """Hours of all of it, in all currencies."""
    money: list[Row]
    """Amount, cost and margin of each currency."""
    freshness: Freshness
    is_stale: bool
    """Whether something has changed since the figures were computed."""


def today_of(session: Session) -> date:
    """The day it is in the time zone of reports."""
    return session.now().astimezone(ZoneInfo(session.settings.report_time_zone)).date()


def make_dashboard(session: Session, wanted: Selection) -> Dashboard:
    """Read the stored figures of a period; nothing is computed again."""
    with session.store.snapshot():
        return _dashboard(session, wanted)


def _dashboard(session: Session, wanted: Selection) -> Dashboard:
    figures, settings = PeriodFigures(session.store, session.pair), ReportSettings.of(session.settings)
    used = budgets(session.store, session.pair, wanted.last)
    weeks, of_projects, columns = figures.by_week(wanted), figures.by_project(wanted), (*HOURS, *MONEY, *USED)
    projects = [row_of(each, columns, used.get((each.group["project_id"], each.currency))) for each in of_projects]
    clients = _by_client(of_projects)
    of_clients = [row_of(each, (*HOURS, *MONEY)) for each in clients]
    for by, rows in (("project", projects), ("client", of_clients)):
        add_revenue(session, rows, by, wanted)
    tables = {
        "weeks": (("week", *HOURS), _all_weeks(weeks, wanted, settings, today_of(session))),
        "projects": (("project_id", "project", "client", *columns, *COLUMNS), sorted(projects, key=_worst_first)),
        "clients": (
            ("client_id", "client", *HOURS, *MONEY, *COLUMNS),
            sorted(of_clients, key=_least_margin),
        ),
        "people": (("user_id", "person", *HOURS, "projects"), _people(figures.by_person(wanted))),
    }
    return Dashboard(
        wanted,
        {name: Report(name, columns, rows, [], settings) for name, (columns, rows) in tables.items()},
        _totals(weeks),
        _money(clients),
        figures.freshness(wanted, fact_entities(session)),
        is_stale(session.store, session.pair, settings),
    )


def entries_report(session: Session, rows: Sequence[EntryRow]) -> Report:
    """Entries as a table for a file."""
    settings = ReportSettings.of(session.settings)
    zone = ZoneInfo(settings.time_zone)
    lines: list[Row] = [
        {
            **row._asdict(),
            "start": f"{row.start_time.astimezone(zone):%Y-%m-%d %H:%M}",
            "hours": in_hours(row.seconds),
            "billable": "yes" if row.billable else "no",
            "amount": None if row.amount is None else row.amount / 100,
            "entry_id": row.source_id,
        }
        for row in rows
    ]
    return Report("entries", ENTRIES, [{name: line[name] for name in ENTRIES} for line in lines], [], settings)


def _all_weeks(lines: Sequence[Figures], wanted: Selection, settings: ReportSettings, today: date) -> list[Row]:
    """Each week of the period until today, those without entries as well."""
    found: Mapping[str | None, Figures] = {line.group["week"]: line for line in lines}
    empty = Figures({}, None, 0, 0, 0, 0, 0, None, None)
    first = date.fromisoformat(f"{wanted.first}-01")
    end = min(date.fromisoformat(f"{month_before(wanted.last, -1)}-01"), today + timedelta(days=1))
    day = first - timedelta(days=(first.weekday() - WEEKDAYS.index(settings.week_start)) % 7)
    weeks = {line.group["week"] for line in lines}
    while day < end:
        weeks.add(day.isoformat())
        day += timedelta(days=7)
    named = sorted(week for week in weeks if week)
    return [row_of(found.get(week, empty)._replace(group={"week": week}), HOURS) for week in named]


def _by_client(projects: Sequence[Figures]) -> list[Figures]:
    """Sums of each client and currency over those of its projects."""
    found: dict[tuple[str | None, str | None], list[Figures]] = {}
    for line in projects:
        found.setdefault((line.group["client_id"], line.currency), []).append(line)
    return [
        Figures(
            {name: lines[0].group[name] for name in ("client_id", "client")},
            currency,
            sum(line.entries for line in lines),
            sum(line.seconds for line in lines),
            sum(line.billable_seconds for line in lines),
            0,
            len(lines),
            _known(line.amount for line in lines),
            _known(line.cost for line in lines),
        )
        for (_, currency), lines in found.items()
    ]


def _people(lines: Sequence[Figures]) -> list[Row]:
    """Those with the highest utilisation first."""
    ordered = sorted(
        lines, key=lambda line: (-line.billable_seconds / (line.seconds or 1), -line.seconds, str(line.group))
    )
    return [row_of(line, (*HOURS, "projects")) for line in ordered]


def _worst_first(row: Row) -> tuple[Any, ...]:
    used = [row[name] for name in ("budget_used", "estimate_used") if row.get(name) is not None]
    return (not used, -max(used, default=0), -row["hours"], row["project"] or "", row["currency"] or "")


def _least_margin(row: Row) -> tuple[Any, ...]:
    return (row["margin"] is None, row["currency"] or "~", row["margin"] or 0, -row["hours"], row["client"] or "")


def _totals(weeks: Sequence[Figures]) -> Row:
    seconds, billable = sum(each.seconds for each in weeks), sum(each.billable_seconds for each in weeks)
    entries = sum(each.entries for each in weeks)
    return row_of(Figures({}, None, entries, seconds, billable, 0, 0, None, None), HOURS)


def _money(clients: Sequence[Figures]) -> list[Row]:
    """Sums of each currency, which are never added to those of another."""
    found = []
    for currency in sorted({line.currency for line in clients if line.currency is not None}):
        lines = [line for line in clients if line.currency == currency]
        amount, cost = (_known(line.amount for line in lines), _known(line.cost for line in lines))
        sums = Figures({}, currency, 0, 0, 0, 0, 0, amount, cost)
        found.append(row_of(sums, MONEY))
    return found


def _known(values: Any) -> int | None:
    found = [value for value in values if value is not None]
    return sum(found) if found else None
