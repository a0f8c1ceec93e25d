"""Figures of each project and month, computed in the database from the facts of time entries.

Triggers of ``entry_facts`` note the project and the month of each changed entry, before and after the change, in the
transaction that changes it. What is noted is computed again from the entries, and so is everything under other settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import chain
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, delete, func, insert, select, text, update

from sync_pipeline.settings import Settings
from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import (
    entry_facts,
    project_months,
    project_people,
    project_weeks,
    report_dirty,
    report_periods,
    report_settings,
)

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
FIRST, LAST = date(2010, 1, 1), date(2060, 1, 1)
"""The months and weeks that have names; what lies before or after belongs to the first or the last one."""
BEGINNING, END = datetime(1000, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)


class ReportSettings(NamedTuple):
    """What the figures depend on beside the entries."""

    time_zone: str = "UTC"
    week_start: str = WEEKDAYS[0]
    currency: str = ""
    rounding_seconds: int = 0
    rounding_add: int = 0

    @classmethod
    def of(cls, settings: Settings) -> ReportSettings:
        """As they are set."""
        direction, minutes = settings.report_rounding or ("down", 0)
        unit = minutes * 60
        add = {"up": unit - 1, "nearest": unit // 2, "down": 0}[direction]
        return cls(settings.report_time_zone, settings.report_week_start, settings.report_currency, unit, add)


class Recomputed(NamedTuple):
    """What was computed again."""

    months: list[str]
    """The months with recomputed figures."""
    keys: int
    """How many projects and months."""
    all_new: bool
    """Whether it was everything: the settings have changed, or it was the first time."""


_ALL = text("""
    INSERT INTO report_dirty (connection, project_id, month)
    SELECT DISTINCT :pair, COALESCE(e.project_id, ''), (
        SELECT p.name FROM report_periods p
        WHERE p.connection = :pair AND p.kind = 'month' AND p.starts_at <= e.start_time
        ORDER BY p.starts_at DESC LIMIT 1
    )
    FROM entry_facts e WHERE e.connection = :pair AND e.start_time IS NOT NULL
""")
_DROP = """
    DELETE FROM {table} WHERE connection = :pair AND EXISTS (
        SELECT 1 FROM report_dirty d WHERE d.connection = :pair AND d.month = :month
        AND d.project_id = {table}.project_id
    ) AND month = :month
"""
# SQLite takes CROSS JOIN as the order in which to look: the few keys first. Two expressions are compared, since its index on one
# does not serve a comparison with a column.
_COMPUTE = """
    INSERT INTO {table} (connection, project_id, month, currency, {keys} entries, seconds, billable_seconds, {columns})
    SELECT :pair, f.project_id, f.month, f.currency, {keys} COUNT(*), CAST(SUM(f.seconds) AS BIGINT),
        CAST(SUM(CASE WHEN f.billable THEN f.seconds ELSE 0 END) AS BIGINT), {sums}
    FROM (
        SELECT k.project_id, k.month, COALESCE(e.currency, s.currency) AS currency, e.billable, e.amount, e.cost, {parts},
            CASE WHEN s.rounding_seconds > 0 THEN (e.seconds + s.rounding_add) / s.rounding_seconds * s.rounding_seconds
                ELSE e.seconds END AS seconds
        FROM (SELECT DISTINCT project_id, month FROM report_dirty WHERE connection = :pair AND month = :month) k
        CROSS JOIN report_periods p CROSS JOIN report_settings s CROSS JOIN entry_facts e
        WHERE p.connection = :pair AND p.kind = 'month' AND p.name = k.month AND s.connection = :pair
            AND e.connection = :pair AND COALESCE(e.project_id, '') = COALESCE(k.project_id, '')
            AND e.start_time >= p.starts_at AND e.start_time < p.ends_at AND e.seconds IS NOT NULL
    ) f
    GROUP BY {keys} f.project_id, f.month, f.currency
"""
_MONEY = "CAST(SUM(f.amount) AS BIGINT), CAST(SUM(f.cost) AS BIGINT)"
_BILLABLE = "CAST(SUM(CASE WHEN f.billable THEN 1 ELSE 0 END) AS BIGINT)"
_WEEK = """(
    SELECT w.name FROM report_periods w WHERE w.connection = :pair AND w.kind = 'week' AND w.starts_at <= e.start_time
    ORDER BY w.starts_at DESC LIMIT 1) AS week"""
_TABLES = {
    "project_months": {
        "keys": "",
        "parts": "e.user_id",
        "columns": "people, amount, cost",
        "sums": f"COUNT(DISTINCT f.user_id), {_MONEY}",
    },
    "project_weeks": {"keys": "week,", "parts": _WEEK, "columns": "billable_entries", "sums": _BILLABLE},
    "project_people": {
        "keys": "user_id,",
        "parts": "COALESCE(e.user_id, '') AS user_id",
        "columns": "billable_entries, amount, cost",
        "sums": f"{_BILLABLE}, {_MONEY}",
    },
}
_STATEMENTS = {
    table: (text(_DROP.format(table=table)), text(_COMPUTE.format(table=table, **parts)))
    for table, parts in _TABLES.items()
}
"""For each table of figures: delete what is noted as changed, and compute it."""


# One statement, so that it sees one state; what is noted as changed is not computed yet.
_DIFFERENCES = text("""
    SELECT c.month, CAST(SUM(c.entries) AS BIGINT), CAST(SUM(c.seconds) AS BIGINT), MAX(c.is_stored)
    FROM (
        SELECT e.month, COUNT(*) AS entries, SUM(e.rounded_seconds) AS seconds, 0 AS is_stored
        FROM mart_time_entries e WHERE e.connection = :pair AND e.seconds IS NOT NULL AND e.start_time IS NOT NULL
        GROUP BY e.month
        UNION ALL
        SELECT m.month, -m.entries, -m.seconds, 1 FROM project_months m WHERE m.connection = :pair
    ) c
    WHERE c.month IS NULL OR c.month NOT IN (SELECT d.month FROM report_dirty d WHERE d.connection = :pair)
    GROUP BY c.month HAVING SUM(c.entries) <> 0 OR SUM(c.seconds) <> 0 ORDER BY c.month
""")
_MIXED = text("""
    SELECT project_id, month FROM project_months WHERE connection = :pair AND currency <> ''
    GROUP BY project_id, month HAVING COUNT(*) > 1 ORDER BY month, project_id
""")


class MonthDifference(NamedTuple):
    """A month whose figures differ from the sums of its entries."""

    month: str | None
    entries: int
    """How many more there are."""
    seconds: int
    is_stored: int
    """0 where there is no figure at all."""


def differences(store: Store, pair: str) -> list[MonthDifference]:
    """The months whose figures differ from the sums of their entries; none, unless something is wrong."""
    with store.reading() as tx:
        return [MonthDifference(*row) for row in tx.execute(_DIFFERENCES, {"pair": pair})]


def mixed_currencies(store: Store, pair: str) -> list[tuple[str, str]]:
    """Project and month of entries in several currencies."""
    with store.reading() as tx:
        return [(row[0], row[1]) for row in tx.execute(_MIXED, {"pair": pair})]


def is_stale(store: Store, pair: str, wanted: ReportSettings) -> bool:
    """Whether something has changed since it was computed."""
    with store.reading() as tx:
        dirty = select(report_dirty.c.id).where(report_dirty.c.connection == pair).limit(1)
        return _settings_of(tx, pair) != wanted or tx.execute(dirty).first() is not None


def is_empty(store: Store, pair: str) -> bool:
    """Whether no report was ever made, and there is no entry to make one of."""
    with store.reading() as tx:
        rows = select(entry_facts.c.connection).where(entry_facts.c.connection == pair).limit(1)
        return _settings_of(tx, pair) is None and tx.execute(rows).first() is None


def recompute(store: Store, pair: str, wanted: ReportSettings) -> Recomputed:
    """Compute again what has changed since the last time, a month in a transaction; writes nothing where nothing has."""
    if not is_stale(store, pair, wanted):
        return Recomputed([], 0, False)
    with store.reading() as tx:
        all_new = _settings_of(tx, pair) != wanted
    if all_new:
        with _alone(store) as tx:
            _start_anew(tx, pair, wanted)
    with store.reading() as tx:
        months = select(report_dirty.c.month).where(report_dirty.c.connection == pair).distinct()
        dirty = list(tx.scalars(months.order_by(report_dirty.c.month.desc())))
    keys = {month: _recompute_month(store, pair, month) for month in dirty}
    return Recomputed(sorted(month for month, count in keys.items() if count), sum(keys.values()), all_new)


def _recompute_month(store: Store, pair: str, month: str) -> int:
    """How many projects of it were computed again; syncs go on between two months."""
    mine = [report_dirty.c.connection == pair, report_dirty.c.month == month]
    with _alone(store) as tx:
        keys = tx.scalar(select(func.count(report_dirty.c.project_id.distinct())).where(*mine)) or 0
        for statement in chain.from_iterable(_STATEMENTS.values()):
            tx.execute(statement, {"pair": pair, "month": month})
        tx.execute(delete(report_dirty).where(*mine))
        of_pair = update(report_settings).where(report_settings.c.connection == pair)
        tx.execute(of_pair.values(computed_at=store.now(tx)))
    return keys


@contextmanager
def _alone(store: Store) -> Iterator[Connection]:
    """A transaction that waits for those that change entries now: they see its settings, or it sees their changes."""
    with store.writing() as tx:
        if store.dialect == "postgresql":
            tx.execute(text("LOCK TABLE report_dirty IN SHARE ROW EXCLUSIVE MODE"))
        yield tx


def _settings_of(tx: Connection, pair: str) -> ReportSettings | None:
    columns = [report_settings.c[name] for name in ReportSettings._fields]
    found = tx.execute(select(*columns).where(report_settings.c.connection == pair)).first()
    return None if found is None else ReportSettings(*found)


def _start_anew(tx: Connection, pair: str, wanted: ReportSettings) -> None:
    for table in (report_settings, report_periods, report_dirty, project_months, project_weeks, project_people):
        tx.execute(delete(table).where(table.c.connection == pair))
    tx.execute(insert(report_settings).values(connection=pair, **wanted._asdict()))
    rows = [
        {"connection": pair, "kind": kind, "name": name, "starts_at": start, "ends_at": end}
        for kind in ("month", "week")
        for name, start, end in periods(kind, wanted)
    ]
    tx.execute(insert(report_periods), rows)
    tx.execute(_ALL, {"pair": pair})


def periods(kind: str, settings: ReportSettings) -> Iterator[tuple[str, datetime, datetime]]:
    """The name of each month or week, with its beginning and its end, in order and without gaps."""
    days = list(_months() if kind == "month" else _weeks(WEEKDAYS.index(settings.week_start)))
    zone = ZoneInfo(settings.time_zone)
    starts = [BEGINNING, *(midnight(day, zone) for day in days[1:])]
    for day, start, end in zip(days, starts, [*starts[1:], END], strict=True):
        yield f"{day:%Y-%m}" if kind == "month" else day.isoformat(), start, end


def midnight(day: date, zone: tzinfo) -> datetime:
    """When a day begins; where the clock skips midnight, just after the gap."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def month_before(month: str, count: int) -> str:
    """The month so many before another."""
    number = int(month[:4]) * 12 + int(month[5:]) - 1 - count
    return f"{number // 12}-{number % 12 + 1:02d}"


def _months() -> Iterator[date]:
    for year in range(FIRST.year, LAST.year):
        yield from (date(year, month, 1) for month in range(1, 13))


def _weeks(weekday: int) -> Iterator[date]:
    day = FIRST - timedelta(days=(FIRST.weekday() - weekday) % 7)
    while day < LAST:
        yield day
        day += timedelta(days=7)
