"""Revenue of projects out of the Snapshots API's analytics: read now and then, stored, and put beside the hours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sync_pipeline.clock import has_passed
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.errors import FatalApiError, SyncError
from sync_pipeline.session.session import Session
from sync_pipeline.session.systems import unread_place
from sync_pipeline.store.health import note_test, read_facts
from sync_pipeline.store.period_figures import NONE, OF_CLIENT, PeriodFigures, Project, Selection, project_of
from sync_pipeline.store.project_months import month_before
from sync_pipeline.store.revenue import (
    ProjectRevenue,
    Revenue,
    RevenueRead,
    keep_revenue,
    last_read,
    note_missing,
    sums_of_revenue,
)

EVERY = timedelta(hours=6)
MONTHS_BACK = 24
"""Read again each time: what was invoiced late changes months that are over."""
MOST = 200_000
"""Rows of one read."""
NO_ANALYTICS = "this Snapshots API has no analytics"
LOCATIONS = "locations"
"""The entity that may have revenue; its links are the clients that projects are for."""
SHARED = "the revenue is that of all projects of the client together"
NOTHING = Project(NONE)
BY_PERSON = "revenue is not known by person"
Row = dict[str, Any]
COLUMNS = ("revenue", "revenue_budget", "revenue_margin", "revenue_missing")
EMPTY: Row = {
    "entries": 0,
    "hours": 0.0,
    "billable_hours": 0.0,
    "billable_share": None,
    **dict.fromkeys(("currency", "amount", "cost", "margin")),
}
"""The figures of what has revenue and no hours."""
USED = ("budget", "budget_used", "estimate_hours", "estimate_used")
_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


def refresh_revenue(session: Session) -> str:
    """Read the revenue of the last months, where it was not read for a while; returns what was done, or why nothing was."""
    if not is_old(last_read(session.store, session.pair), session.now()):
        return "Revenue was read a short while ago."
    try:
        return read_revenue(session)
    except SyncError as error:
        return f"Revenue was not read: {error}"


def is_old(read: RevenueRead | None, now: datetime) -> bool:
    """Whether it was not read for a while, or never."""
    return read is None or has_passed(read.read_at, EVERY, now)


def read_revenue(session: Session) -> str:
    """Read the revenue of the last months; returns what was read, or why there is none. SyncError where that may pass."""
    store, pair, now = session.store, session.pair, session.now()
    last = f"{now + timedelta(days=1):%Y-%m}"  # it is tomorrow somewhere
    months = (month_before(last, MONTHS_BACK), last)
    clients = session.ledger(LOCATIONS).linked()
    try:
        rows = session.call(session.snapshots.project_figures, months, MOST, sorted(clients.values()))
    except FatalApiError as error:
        _note_unread(session, {})
        note_missing(store, pair, error.sentence, now)
        return f"Revenue is not known: {error.sentence}"
    if rows is None:
        note_missing(store, pair, NO_ANALYTICS, now)
        return f"Revenue is not known: {NO_ANALYTICS}."
    projects = PeriodFigures(store, pair).projects()
    unread = {row["location"]: row["missing"] for row in rows if "missing" in row}
    known = (row for row in rows if "missing" not in row)
    named = _by_project(known, {location: client for client, location in clients.items()}, projects)
    figures = _figures(named, months, session.settings.snapshots_currency)
    some = f"of {len(unread):,} of {len(clients):,} locations it is not known" if unread else None
    _note_unread(session, unread)
    keep_revenue(store, pair, figures, months, now, some)
    return f"Revenue: {len(figures):,} figures of projects and months were read{f'; {some}' if some else ''}."


def why_none(session: Session) -> str:
    """Why no revenue is known of a project."""
    found = last_read(session.store, session.pair)
    if found is None:
        return f"analytics of {_named(session)} are not read yet"
    return found.missing or f"{_named(session)} has no revenue for it"


def _named(session: Session) -> str:
    return load_profile(session.settings.snapshots_profile).named


def _note_unread(session: Session, unread: Mapping[str, str]) -> None:
    found = [{"location": location, "why": why} for location, why in unread.items()]
    note_test(session.store, unread_place(session.settings), found, session.now())


def _why_of_clients(session: Session) -> dict[str, str]:
    """Why no revenue is known of some clients' locations, although that of others is."""
    why = {one["location"]: one["why"] for one in read_facts(session.store, unread_place(session.settings)).findings}
    return {client: why[one] for client, one in session.ledger(LOCATIONS).linked().items() if one in why} if why else {}


def add_revenue(session: Session, rows: list[Row], by: str, wanted: Selection) -> None:
    """Put it beside the hours of each project, client or month; what earns without hours gets a row of its own."""
    figures = PeriodFigures(session.store, session.pair)
    projects = figures.projects()
    found = _sums(session, by, wanted, projects)
    missing, unread = BY_PERSON, dict[str, str]()
    if wanted.person is None:
        missing, unread = why_none(session), _why_of_clients(session)
    if unread and by != "month":
        missing = f"{_named(session)} has no revenue for it"
    key = "month" if by == "month" else f"{by}_id"
    shared = {one for one, _ in found if one.startswith(OF_CLIENT)}
    for row in rows:
        revenue, _ = found.pop((row[key] or NONE, row["currency"] or NONE), (None, {}))
        client = row["client_id"] if by == "client" else None
        client = projects.get(row["project_id"] or NONE, NOTHING).client_id if by == "project" else client
        is_shared = by == "project" and client is not None and OF_CLIENT + client in shared
        row.update(_shown(revenue, SHARED if is_shared else unread.get(client or NONE, missing)))
    empty = {**EMPTY, **(dict.fromkeys(USED) if by == "project" else {})}
    for (_, currency), (revenue, group) in sorted(found.items()):
        rows.append({**group, **empty, "currency": currency or None, **_shown(revenue, missing)})


def revenue_totals(rows: Sequence[Row], totals: list[Row]) -> None:
    """Sums of each currency over the rows, beside its totals; a currency without hours gets totals of its own."""
    earned = {row["currency"] for row in rows if row["revenue"] is not None}
    totals += [
        {**EMPTY, "currency": each} for each in sorted(earned - {total["currency"] for total in totals}, key=str)
    ]
    for total in totals:
        same = [row for row in rows if row["currency"] == total["currency"]]
        for name in COLUMNS[:3]:
            known = [row[name] for row in same if row[name] is not None]
            total[name] = round(sum(known), 2) if known else None


def _sums(
    session: Session, by: str, wanted: Selection, projects: Mapping[str, Project]
) -> dict[tuple[str, str], tuple[Revenue, Row]]:
    """By key and currency, with what its row is called."""
    if wanted.person is not None:
        return {}
    months = (wanted.first, wanted.last)
    if by == "month":
        found = sums_of_revenue(session.store, session.pair, months, "month")
        return {key: (revenue, {"month": key[0]}) for key, revenue in found.items()}
    lines: dict[tuple[str, str], tuple[Revenue, Row]] = {}
    for (project_id, currency), revenue in sums_of_revenue(session.store, session.pair, months, "project_id").items():
        group = project_of(projects, project_id).named(project_id)
        asked = ((wanted.client, group["client_id"]), (wanted.project, project_id), (wanted.currency, currency))
        if all(a is None or a == (b or NONE) for a, b in asked):
            named = group if by == "project" else {name: group[name] for name in ("client_id", "client")}
            key = (project_id if by == "project" else group["client_id"] or NONE, currency)
            before = lines[key][0] if key in lines else Revenue(None, None, None)
            lines[key] = (Revenue(*map(_added, before, revenue)), dict(named))
    return lines


def _by_project(
    rows: Iterable[Mapping[str, Any]], clients: Mapping[str, str], projects: Mapping[str, Project]
) -> Iterator[Mapping[str, Any]]:
    """What is of a location as that of its client's only project; where there are several, of all of them together."""
    of_client: dict[str, list[str]] = {}
    for one in projects.values():
        of_client.setdefault(one.client_id or "", []).append(one.project_id)
    for row in rows:
        if "location" not in row:
            yield row
        elif client := clients.get(row["location"]):
            found = of_client.get(client, [])
            yield {**row, "project": found[0] if len(found) == 1 else OF_CLIENT + client}


def _added(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)


def _shown(found: Revenue | None, missing: str) -> Row:
    """As the columns of a report; what is not known is None, with the reason."""
    values = found or Revenue(None, None, None)
    shown: Row = dict(zip(COLUMNS, (None if each is None else each / 100 for each in values), strict=False))
    return {**shown, "revenue_missing": missing if values.revenue is None else None}


def _figures(rows: Iterable[Mapping[str, Any]], months: tuple[str, str], currency: str) -> list[ProjectRevenue]:
    """One for each project, month and currency that the months hold; a row that names none of them is left out."""
    found = {}
    for row in rows:
        project, month, named = (str(row[name]) for name in ("project", "month", "currency"))
        if project and _MONTH.fullmatch(month) and months[0] <= month <= months[1]:
            money = named or currency
            found[project, month, money] = ProjectRevenue(
                project, month, money, row["revenue"], row["budget"], row["margin"]
            )
    return list(found.values())
