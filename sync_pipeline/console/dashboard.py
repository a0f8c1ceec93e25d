"""Dashboard: what the time entries add up to, for people who never open the Dagster UI; and the entries behind each figure."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo

from starlette.responses import Response

from sync_pipeline.console.request_context import CSV, RequestContext, download
from sync_pipeline.console.roles import may
from sync_pipeline.errors import NotFound
from sync_pipeline.reporting.charts import diverging, gauges, stacked_bars
from sync_pipeline.reporting.dashboard import BadPeriod, Dashboard, entries_report, make_dashboard, period_of, today_of
from sync_pipeline.reporting.export import write_csv, write_xlsx
from sync_pipeline.reporting.reports import Report, unread_days, up_to_date
from sync_pipeline.session.session import Session
from sync_pipeline.store.period_figures import NONE, PeriodFigures, Selection
from sync_pipeline.store.project_months import month_before

HERE = "/dashboard"
FILTERS = ("client", "project", "person")
BEHIND = (*FILTERS, "week", "currency", "billable")
"""What a link to entries names beside the period."""
NOTHING = "-"
"""In an address: entries without any."""
PAGE, EXPORTED = 100, 10_000
LINES, NARROW_LINES, MOST_LINES = 12, 4, 1_000
"""Of a table, on a phone (as the style sheet says), and of one that is shown in full."""
WIDTH, HEIGHT = 640, 200
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PEOPLE = ("user_id", "person")
"""Columns that identify the person of an entry."""
LONGEST = 100
"""Characters of a filter."""


def show(context: RequestContext) -> Response:
    """GET /dashboard."""
    context.settings()
    with context.reading() as session:
        if session is None:
            return context.page("dashboard.html", "Dashboard", found=None)
        wanted = _selection(context, session)
        with session.store.snapshot():
            found, names = make_dashboard(session, wanted), PeriodFigures(session.store, session.pair).names()
        if not _shows_people(context):
            del names["person"], found.tables["people"]
        periods = _periods(context, session)
    return context.page("dashboard.html", "Dashboard", **_shown(context, found), names=names, periods=periods)


def compute(context: RequestContext) -> Response:
    """POST /dashboard/compute: what has changed is computed now."""
    with context.setup.reading() as session:
        done = up_to_date(session)
    back = urlencode(parse_qsl(context.form.text("back")))
    return context.go(f"{HERE}?{back}", f"Computed: {done.keys:,} projects and months." if done.keys else "Up to date.")


def export(context: RequestContext) -> Response:
    """GET /dashboard/export/{name}: one of its tables as a file, such as ``projects.xlsx``."""
    context.settings()
    with context.setup.reading() as session:
        table, _, form = context.param("name").partition(".")
        wanted = _selection(context, session)
        shows_people = _shows_people(context)
        if table == "entries":
            rows, _ = PeriodFigures(session.store, session.pair).entries(wanted, 0, EXPORTED)
            listed = entries_report(session, rows)
            return _file(listed if shows_people else _without_people(listed), form)
        found = None if table == "people" and not shows_people else make_dashboard(session, wanted).tables.get(table)
    if found is None:
        raise NotFound(f"The dashboard has no table {table[:LONGEST]}.")
    return _file(found, form)


def entries(context: RequestContext) -> Response:
    """GET /dashboard/entries: the entries behind a figure."""
    context.settings()
    with context.setup.reading() as session:
        wanted = _selection(context, session)
        number = context.query("page")
        offset = (min(int(number), 100_000) - 1) * PAGE if number.isdecimal() and 0 < len(number) < 7 else 0
        offset = max(0, offset)
        figures, zone = PeriodFigures(session.store, session.pair), ZoneInfo(session.settings.report_time_zone)
        with session.store.snapshot():
            rows, total = figures.entries(wanted, offset, PAGE)
            names = figures.names()
    asked = _asked(context, wanted)
    return context.page(
        "dashboard_entries.html",
        "Time entries",
        rows=rows,
        total=total,
        first=offset + 1,
        zone=zone,
        wanted=wanted,
        chosen=_chosen(names, asked),
        back=_address(
            HERE, {name: value for name, value in asked.items() if name not in ("week", "currency", "billable")}
        ),
        newer=_address(f"{HERE}/entries", {**asked, "page": str(offset // PAGE)}) if offset else "",
        older=_address(f"{HERE}/entries", {**asked, "page": str(offset // PAGE + 2)}) if offset + PAGE < total else "",
        exports=_exports("entries", asked),
        exported=EXPORTED,
        shows_people=_shows_people(context),
    )


def _shows_people(context: RequestContext) -> bool:
    """Whether this browser may see which person tracked time."""
    return may(context.browser.role, "viewer") or context.setup.settings().dashboard_people


def _without_people(report: Report) -> Report:
    return report._replace(columns=tuple(name for name in report.columns if name not in PEOPLE))


def _selection(context: RequestContext, session: Session) -> Selection:
    """What the address asks for; a period that is none is named, and the usual one is shown."""
    try:
        first, last = period_of(context.query("from"), context.query("to"), today_of(session))
    except BadPeriod as bad:
        context.problems.add("from", str(bad))
        first, last = period_of("", "", today_of(session))
    chosen = _chosen_in(context, (*FILTERS, "week", "currency"))
    keys = {name: NONE if value == NOTHING else value for name, value in chosen.items() if value}
    return Selection(first, last, **keys, is_billable=bool(context.query("billable")))


def _asked(context: RequestContext, wanted: Selection) -> dict[str, str]:
    """The same as parameters of an address."""
    chosen = _chosen_in(context, BEHIND)
    return {"from": wanted.first, "to": wanted.last, **{name: value for name, value in chosen.items() if value}}


def _chosen_in(context: RequestContext, names: tuple[str, ...]) -> dict[str, str]:
    """The values of these in the address; a person is ignored where people may not be seen."""
    seen = names if _shows_people(context) else tuple(name for name in names if name != "person")
    return {name: context.query(name)[:LONGEST] for name in seen}


def _shown(context: RequestContext, found: Dashboard) -> dict[str, Any]:
    asked = _asked(context, found.wanted)

    def behind(**more: str | None) -> str:
        """The address of the entries of a figure."""
        return _address(f"{HERE}/entries", {**asked, **{name: value or NOTHING for name, value in more.items()}})

    rows = {name: table.rows for name, table in found.tables.items()}
    full = context.query("show")
    parts = [(row["billable_hours"], round(row["hours"] - row["billable_hours"], 4)) for row in rows["weeks"]]
    lines = {name: some[: MOST_LINES if name == full else LINES] for name, some in rows.items() if name != "weeks"}
    return {
        "found": found,
        "asked": asked,
        "query": urlencode(asked),
        "behind": behind,
        "weeks": rows["weeks"],
        "chart": stacked_bars(parts, WIDTH, HEIGHT),
        "lines": lines,
        "left": {name: len(rows[name]) - len(some) for name, some in lines.items()},
        "left_narrow": {
            name: len(rows[name]) - (len(some) if name == full else NARROW_LINES) for name, some in lines.items()
        },
        "full": {name: f"{_address(HERE, {**asked, 'show': name})}#{name}" for name in lines},
        "used": gauges([_used(row) for row in lines["projects"]]),
        "shares": gauges([row["billable_share"] for row in lines.get("people", ())]),
        "margins": _margins(lines["clients"]),
        "losses": _losses(rows["projects"]),
        "exports": {name: _exports(name, asked) for name in rows},
        "unread": unread_days(found.freshness.unread),
    }


def _used(row: dict[str, Any]) -> float | None:
    return max((row[name] for name in ("budget_used", "estimate_used") if row.get(name) is not None), default=None)


def _losses(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Projects that cost more than was billed, the greatest loss of each currency first."""
    losses = [row for row in rows if row["margin"] is not None and row["margin"] < 0]
    return sorted(losses, key=lambda row: (row["currency"] or "", row["margin"]))


def _margins(rows: list[dict[str, Any]]) -> list[Any]:
    """Bars on one scale for each currency."""
    bars: list[Any] = []
    for currency in dict.fromkeys(row["currency"] for row in rows):
        bars += diverging([row["margin"] for row in rows if row["currency"] == currency])
    return bars


def _periods(context: RequestContext, session: Session) -> list[tuple[str, str]]:
    """Periods to choose from with one click."""
    today = today_of(session)
    this = f"{today:%Y-%m}"
    periods = {
        "This month": (this, this),
        "Last month": (month_before(this, 1), month_before(this, 1)),
        "3 months": (month_before(this, 2), this),
        "12 months": (month_before(this, 11), this),
    }
    kept = {name: context.query(name)[:LONGEST] for name in FILTERS if context.query(name)}
    return [(name, _address(HERE, {"from": first, "to": last, **kept})) for name, (first, last) in periods.items()]


def _chosen(names: dict[str, Any], asked: dict[str, str]) -> list[str]:
    """The filters of a list in words."""
    found = []
    for kind in FILTERS:
        if kind in asked:
            known = {each.key: each.name for each in names[kind]}
            found.append(f"no {kind}" if asked[kind] == NOTHING else f"{kind} {known.get(asked[kind], asked[kind])}")
    found += [f"week of {asked['week']}"] if "week" in asked else []
    found += (
        [f"currency {'not known' if asked['currency'] == NOTHING else asked['currency']}"]
        if "currency" in asked
        else []
    )
    return [*found, *(["billable only"] if "billable" in asked else [])]


def _exports(table: str, asked: dict[str, str]) -> dict[str, str]:
    return {form.upper(): _address(f"{HERE}/export/{table}.{form}", asked) for form in ("csv", "xlsx")}


def _address(path: str, asked: dict[str, str]) -> str:
    return f"{path}?{urlencode(asked)}"


def _file(report: Report, form: str) -> Response:
    if form == "csv":
        text = io.StringIO()
        write_csv(report, text)
        return download(f"{report.name}.csv", text.getvalue(), CSV)
    if form != "xlsx":
        raise NotFound("Files are made as .csv or .xlsx.")
    sheet = io.BytesIO()
    write_xlsx(report, sheet)
    return download(f"{report.name}.xlsx", sheet.getvalue(), XLSX)
