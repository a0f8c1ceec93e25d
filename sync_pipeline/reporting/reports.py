"""The reports there are: which figures each shows, by what, and with which totals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sync_pipeline.mapping.facts import entities_with
from sync_pipeline.reporting.revenue import COLUMNS, USED, add_revenue, revenue_totals
from sync_pipeline.session.session import Session
from sync_pipeline.store.figures import GROUPS, Figures, Period, ProjectBudget, budgets, sums_of_entries, sums_of_months
from sync_pipeline.store.period_figures import PeriodFigures, Selection
from sync_pipeline.store.project_months import Recomputed, ReportSettings, midnight, recompute
from sync_pipeline.store.revenue import RevenueRead, last_read

HOURS = ("entries", "hours", "billable_hours", "billable_share")
MONEY = ("currency", "amount", "cost", "margin")
DAYS_UNREAD = "days_unread"
"""A column of reports by month, where days of some are not read yet."""
MONTHS_NAMED = 12


class ReportKind(NamedTuple):
    """One report."""

    by: str
    """What it is made by where nothing else is said."""
    columns: tuple[str, ...]
    always: bool = False
    """Whether another ``by`` divides its lines, instead of replacing them."""
    choices: tuple[str, ...] = tuple(GROUPS)


KINDS: Mapping[str, ReportKind] = {
    "performance": ReportKind("project", (*HOURS, *MONEY, *USED, *COLUMNS), choices=("project", "client", "month")),
    "hours": ReportKind("project", (*HOURS, "people")),
    "people": ReportKind("person", (*HOURS, "projects", *MONEY), always=True),
    "clients": ReportKind("client", (*HOURS, "people", "projects", *MONEY), always=True),
}

Row = dict[str, Any]


class Report(NamedTuple):
    """A report, ready to be shown."""

    name: str
    columns: tuple[str, ...]
    rows: list[Row]
    totals: list[Row]
    """One for each currency; people and projects that occur in several lines count once."""
    settings: ReportSettings
    unread: Mapping[str, int] = MappingProxyType({})
    """How many days of each month are not read yet: its figures are too low."""
    revenue: RevenueRead | None = None
    """When the revenue in it was read; None where it has none, or it was not read yet."""


def fact_entities(session: Session) -> list[str]:
    """The entities that reports are based on."""
    return entities_with("entry_facts", session.specs)


def up_to_date(session: Session) -> Recomputed:
    """Compute again what has changed since the last time."""
    return recompute(session.store, session.pair, ReportSettings.of(session.settings))


def month_figures(session: Session, month: str) -> dict[str, Any]:
    """Hours of a month in all projects, and money in each currency."""
    lines = sums_of_months(session.store, session.pair, None, month, month)
    seconds, billable = sum(line.seconds for line in lines), sum(line.billable_seconds for line in lines)
    found = {
        "entries": sum(line.entries for line in lines),
        "hours": in_hours(seconds),
        "billable_share": _share(billable, seconds),
    }
    for line in lines:
        found |= {
            f"{name}_{line.currency}": _money(value) for name, value in (("amount", line.amount), ("cost", line.cost))
        }
    return {name: value for name, value in found.items() if value is not None}


def unread_days(unread: Mapping[str, int]) -> str:
    """How many days of each month are not read yet, in words; those of older months are counted together."""
    newest = sorted(unread, reverse=True)[:MONTHS_NAMED]
    named = [f"{unread[month]:,} of {month}" for month in newest]
    earlier = sum(unread.values()) - sum(unread[month] for month in newest)
    return ", ".join([*named, *([f"{earlier:,} of earlier months"] if earlier else [])])


def make_report(session: Session, name: str, by: str, first: date | None, last: date | None) -> Report:
    """Compute what has changed, and the report; ``first`` and ``last`` are days in the time zone of reports."""
    up_to_date(session)
    wanted = Selection(*_months(first, last))
    with session.store.snapshot():
        made = _report(session, name, by, first, last)
        unread = PeriodFigures(session.store, session.pair).unread(wanted, fact_entities(session))
    if not unread or "month" not in made.columns:
        return made._replace(unread=unread)
    rows = [{**row, DAYS_UNREAD: unread.get(row["month"], 0)} for row in made.rows]
    return made._replace(columns=(*made.columns, DAYS_UNREAD), rows=rows, unread=unread)


def _report(session: Session, name: str, by: str, first: date | None, last: date | None) -> Report:
    kind, settings = KINDS[name], ReportSettings.of(session.settings)
    groups = [kind.by, by] if kind.always and by != kind.by else [by]
    if name == "performance":
        lines, totals, used = _of_months(session, by, first, last)
    else:
        lines, totals = _of_entries(session, kind, groups, Period(*_instants(settings, first, last)))
        used = {}
    columns = tuple(dict.fromkeys(each for group in groups for each in GROUPS[group]))
    figures = tuple(each for each in kind.columns if by == "project" or each not in USED)
    rows = [
        row_of(line, figures, used.get((line.group.get("project_id"), line.currency))) for line in _sorted(lines, by)
    ]
    last_lines = [row_of(line, [each for each in figures if each not in USED]) for line in _sorted(totals, "")]
    if name == "performance":
        add_revenue(session, rows, by, Selection(*_months(first, last)))
        revenue_totals(rows, last_lines)
    made = Report(name, (*columns, *figures), rows, last_lines, settings)
    return made._replace(revenue=last_read(session.store, session.pair)) if name == "performance" else made


def _of_months(
    session: Session, by: str, first: date | None, last: date | None
) -> tuple[list[Figures], list[Figures], Mapping[tuple[str | None, str | None], ProjectBudget]]:
    """Whole months, those of the first and the last day included."""
    months = (str(first)[:7] if first else "0000", str(last)[:7] if last else "9999")
    used = budgets(session.store, session.pair, months[1]) if by == "project" else {}
    lines, totals = (sums_of_months(session.store, session.pair, each, *months) for each in (by, None))
    return lines, totals, used


def _months(first: date | None, last: date | None) -> tuple[str, str]:
    return f"{first:%Y-%m}" if first else "0000", f"{last:%Y-%m}" if last else "9999"


def _of_entries(
    session: Session, kind: ReportKind, groups: Sequence[str], period: Period
) -> tuple[list[Figures], list[Figures]]:
    has_money = "currency" in kind.columns
    lines, totals = (
        sums_of_entries(session.store, session.pair, each, period, by_currency=has_money) for each in (groups, ())
    )
    return lines, totals


def _instants(
    settings: ReportSettings, first: date | None, last: date | None
) -> tuple[datetime | None, datetime | None]:
    zone = ZoneInfo(settings.time_zone)
    return (
        midnight(first, zone) if first and first > date.min else None,  # before and after these days there is no time
        midnight(last + timedelta(days=1), zone) if last and last < date.max else None,
    )


def _sorted(lines: list[Figures], by: str) -> list[Figures]:
    """Months and weeks in their order, others with the most hours first."""
    if by in ("month", "week"):
        return sorted(lines, key=lambda line: (line.group[by] or "", -line.seconds, _names(line)))
    return sorted(lines, key=lambda line: (-line.seconds, _names(line)))


def _names(line: Figures) -> list[str]:
    return [each or "" for each in (*line.group.values(), line.currency)]


def row_of(line: Figures, columns: Sequence[str], used: ProjectBudget | None = None) -> Row:
    """A line as a report shows it: what its group is, and these columns."""
    margin = None if line.amount is None or line.cost is None else line.amount - line.cost
    found: Row = {
        "entries": line.entries,
        "hours": in_hours(line.seconds),
        "billable_hours": in_hours(line.billable_seconds),
        "billable_share": _share(line.billable_seconds, line.seconds),
        "people": line.people,
        "projects": line.projects,
        "currency": line.currency,
        "amount": _money(line.amount),
        "cost": _money(line.cost),
        "margin": _money(margin),
    }
    if used is not None:
        found |= {
            "budget": _money(used.budget),
            "budget_used": _share(used.amount, used.budget),
            "estimate_hours": in_hours(used.estimate_seconds),
            "estimate_used": _share(used.seconds, used.estimate_seconds),
        }
    return {**line.group, **{name: found.get(name) for name in columns}}


def in_hours(seconds: int | None) -> float | None:
    """Seconds as hours."""
    return None if seconds is None else round(seconds / 3_600, 4)


def _money(hundredths: int | None) -> float | None:
    return None if hundredths is None else hundredths / 100


def _share(part: int | None, whole: int | None) -> float | None:
    return None if part is None or not whole else round(part / whole, 4)
