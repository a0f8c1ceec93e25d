"""Figures of a period by what they are asked for, out of stored sums; and the entries behind them, a page at a time.

No question looks at all entries: the sums by week and by person say how many there are and in which months, and only the
entries of the months that a page shows are read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    case,
    cast,
    func,
    literal_column,
    select,
)

from sync_pipeline.store.engine import Store
from sync_pipeline.store.figures import Figures, line_of
from sync_pipeline.store.schema import (
    entry_facts,
    loads,
    person_facts,
    project_facts,
    project_months,
    project_people,
    project_weeks,
    report_dirty,
    report_periods,
    report_settings,
)

NONE = ""
"""The key of what has no project, client or currency."""
MOST_NAMES = 1_000
"""So many names at most are offered to choose from."""


class Selection(NamedTuple):
    """Which entries are asked for; None is any, an empty text none."""

    first: str
    """A month, such as ``2026-03``."""
    last: str
    client: str | None = None
    project: str | None = None
    person: str | None = None
    week: str | None = None
    currency: str | None = None
    is_billable: bool = False
    """Only billable ones."""


class Project(NamedTuple):
    """What is known of a project."""

    project_id: str
    project: str | None = None
    client_id: str | None = None
    client: str | None = None
    budget: int | None = None
    """In hundredths of the currency."""
    estimate_seconds: int | None = None

    def named(self, project_id: str | None) -> dict[str, str | None]:
        """As the group of a line of figures."""
        return {
            "project_id": project_id or None,
            "project": self.project,
            "client_id": self.client_id,
            "client": self.client,
        }


OF_CLIENT, ALL_PROJECTS = "client:", "(all projects of the client)"
"""How the key of revenue begins that is of several projects of a client together, and what it is called."""


def project_of(projects: Mapping[str, Project], project_id: str) -> Project:
    """What is known of a project, or of all projects of a client together."""
    if project_id in projects or not project_id.startswith(OF_CLIENT):
        return projects.get(project_id, Project(project_id))
    client = project_id.removeprefix(OF_CLIENT)
    name = next((one.client for one in projects.values() if one.client_id == client), None)
    return Project(project_id, ALL_PROJECTS, client, name)


class EntryRow(NamedTuple):
    """One entry of a list."""

    entity: str
    source_id: str
    start_time: datetime
    seconds: int
    billable: bool
    person: str | None
    project: str | None
    client: str | None
    currency: str | None
    amount: int | None


class MonthSpan(NamedTuple):
    """What is asked for of one month."""

    month: str
    first: datetime
    end: datetime


class Freshness(NamedTuple):
    """How current the figures are."""

    computed_at: datetime | None
    """None where they never were computed."""
    changed: int
    """How many projects and months have changed since."""
    newest_entry: datetime | None
    unread: dict[str, int]
    """How many days of each month were loaded before reports existed."""


class FilterChoice(NamedTuple):
    """What can be chosen."""

    key: str
    name: str


_NULL: ColumnElement[Any] = literal_column("NULL")
_ZERO: ColumnElement[Any] = literal_column("0")
_MONTH_OF_LOAD = func.substr(loads.c.day, 1, 7)


class PeriodFigures:
    """The stored figures of one pair."""

    def __init__(self, store: Store, pair: str) -> None:
        self._store, self._pair = store, pair

    def by_week(self, wanted: Selection) -> list[Figures]:
        """Hours of each week, in all currencies."""
        if wanted.person is not None:
            return self._weeks_of_person(wanted)
        return self._sums(project_weeks, project_weeks.c.week, wanted)

    def by_project(self, wanted: Selection) -> list[Figures]:
        """Hours and money of each project and currency."""
        source = project_months if wanted.person is None else project_people
        found, projects = self._sums(source, source.c.project_id, wanted), self.projects()
        nameless = Project(NONE)
        return [
            line._replace(group=projects.get(line.group["key"] or NONE, nameless).named(line.group["key"]))
            for line in found
        ]

    def by_person(self, wanted: Selection) -> list[Figures]:
        """Hours of each person, in all currencies."""
        people = select(person_facts.c.source_id, person_facts.c.name).where(person_facts.c.connection == self._pair)
        with self._store.reading() as tx:
            names = {row[0]: row[1] for row in tx.execute(people)}
        found = self._sums(project_people, project_people.c.user_id, wanted)
        return [
            line._replace(group={"user_id": line.group["key"] or None, "person": names.get(line.group["key"])})
            for line in found
        ]

    def projects(self) -> dict[str, Project]:
        """Each project by its id."""
        columns = ("source_id", "name", "client_id", "client_name", "budget", "estimate_seconds")
        mine = project_facts.c.connection == self._pair
        with self._store.reading() as tx:
            found = tx.execute(select(*(project_facts.c[name] for name in columns)).where(mine))
            return {row[0]: Project(*row) for row in found}

    def entries(self, wanted: Selection, offset: int, limit: int) -> tuple[list[EntryRow], int]:
        """The entries, newest first, and how many there are."""
        with self._store.snapshot(), self._store.reading() as tx:
            spans = self._spans(tx, wanted)
            counts = self._counts(tx, wanted, spans)
            rows: list[EntryRow] = []
            for span in spans:
                count = counts.get(span.month, 0)
                if offset < count and len(rows) < limit:
                    page = self._entries_of(wanted, span, offset, limit - len(rows))
                    rows += [EntryRow(*row) for row in tx.execute(page)]
                offset = max(0, offset - count)
        return rows, sum(counts.values())

    def freshness(self, wanted: Selection, entities: Collection[str]) -> Freshness:
        """How current the figures of a period are, made of these entities."""
        newest = select(entry_facts.c.start_time).where(entry_facts.c.connection == self._pair)
        dirty = select(report_dirty.c.project_id, report_dirty.c.month).where(report_dirty.c.connection == self._pair)
        with self._store.reading() as tx:
            return Freshness(
                tx.scalar(select(report_settings.c.computed_at).where(report_settings.c.connection == self._pair)),
                tx.scalar(select(func.count()).select_from(dirty.distinct().limit(MOST_NAMES).subquery())) or 0,
                tx.scalar(newest.order_by(entry_facts.c.start_time.desc()).limit(1)),
                self.unread(wanted, entities),
            )

    def unread(self, wanted: Selection, entities: Collection[str]) -> dict[str, int]:
        """How many days of each month were loaded before reports existed, and not read since; the others are not named."""
        mine = [loads.c.connection == self._pair, loads.c.entity.in_(entities), ~loads.c.has_facts]
        statement = select(_MONTH_OF_LOAD, func.count()).where(*mine, *_within(_MONTH_OF_LOAD, wanted))
        with self._store.reading() as tx:
            found = tx.execute(statement.group_by(_MONTH_OF_LOAD).order_by(_MONTH_OF_LOAD))
            return {month: days for month, days in found if month}

    def names(self) -> dict[str, list[FilterChoice]]:
        """Clients, projects and people to choose from, by name."""
        pairs = {
            "client": (project_facts, project_facts.c.client_id, project_facts.c.client_name),
            "project": (project_facts, project_facts.c.source_id, project_facts.c.name),
            "person": (person_facts, person_facts.c.source_id, person_facts.c.name),
        }
        with self._store.reading() as tx:
            return {
                kind: [FilterChoice(*row) for row in tx.execute(_choices(self._pair, *columns))]
                for kind, columns in pairs.items()
            }

    def _sums(self, source: Table, key: ColumnElement[Any], wanted: Selection) -> list[Figures]:
        """Sums of each key, and of each currency where the key is a project's."""
        has_money = key.name == "project_id"
        by = [key, *([source.c.currency] if has_money else [])]
        statement = select(
            key,
            func.nullif(source.c.currency, NONE) if has_money else _NULL,
            *(_total(source.c[each]) for each in ("entries", "seconds", "billable_seconds")),
            _ZERO,
            _ZERO if has_money else func.count(func.nullif(source.c.project_id, NONE).distinct()),
            *(_total(source.c[each]) if has_money else _NULL for each in ("amount", "cost")),
        )
        with self._store.reading() as tx:
            found = tx.execute(statement.where(*self._of(source, wanted)).group_by(*by))
            return [line_of(["week" if key.name == "week" else "key"], row) for row in found]

    def _of(self, source: Table, wanted: Selection) -> list[ColumnElement[bool]]:
        conditions = [source.c.connection == self._pair, *_within(source.c.month, wanted)]
        chosen: dict[ColumnElement[Any], str | None] = {
            source.c.project_id: wanted.project,
            source.c.currency: wanted.currency,
            **({source.c.user_id: wanted.person} if "user_id" in source.c else {}),
            **({source.c.week: wanted.week} if "week" in source.c else {}),
        }
        conditions += self._of_client(source.c.project_id, wanted)
        return [*conditions, *(column == value for column, value in chosen.items() if value is not None)]

    def _of_client(self, project: ColumnElement[Any], wanted: Selection) -> list[ColumnElement[bool]]:
        if wanted.client is None:
            return []
        mine = select(project_facts.c.source_id).where(project_facts.c.connection == self._pair)
        if wanted.client == NONE:
            return [project.not_in(mine.where(project_facts.c.client_id.isnot(None)))]
        return [project.in_(mine.where(project_facts.c.client_id == wanted.client))]

    def _counts(self, tx: Connection, wanted: Selection, spans: Sequence[MonthSpan]) -> dict[str, int]:
        """How many entries each month has."""
        if wanted.person is not None and wanted.week is not None:
            of_months = {span.month: select(func.count()).where(*self._of_entries(wanted, span)) for span in spans}
            return {month: tx.scalar(count.select_from(_WITH_SETTINGS)) or 0 for month, count in of_months.items()}
        source = project_weeks if wanted.person is None else project_people
        count = _total(source.c.billable_entries if wanted.is_billable else source.c.entries)
        statement = select(source.c.month, count).where(*self._of(source, wanted))
        return {row[0]: row[1] for row in tx.execute(statement.group_by(source.c.month))}

    def _spans(self, tx: Connection, wanted: Selection) -> list[MonthSpan]:
        """From when to when each month is asked for, the newest first."""
        columns = (report_periods.c.name, report_periods.c.starts_at, report_periods.c.ends_at)
        mine = select(*columns).where(report_periods.c.connection == self._pair)
        months = mine.where(report_periods.c.kind == "month", *_within(report_periods.c.name, wanted))
        spans = [MonthSpan(*row) for row in tx.execute(months.order_by(report_periods.c.name.desc()))]
        if wanted.week is None:
            return spans
        week = tx.execute(mine.where(report_periods.c.kind == "week", report_periods.c.name == wanted.week)).first()
        if week is None:
            return []
        cut = [MonthSpan(span.month, max(span.first, week[1]), min(span.end, week[2])) for span in spans]
        return [span for span in cut if span.first < span.end]

    def _of_entries(self, wanted: Selection, span: MonthSpan) -> list[ColumnElement[bool]]:
        e = entry_facts.c
        chosen: dict[ColumnElement[Any], str | None] = {
            _PROJECT_OF_ENTRY: wanted.project,
            _CURRENCY_OF_ENTRY: wanted.currency,
            (e.user_id if wanted.person else func.coalesce(e.user_id, NONE)): wanted.person,
        }
        conditions = [e.connection == self._pair, e.start_time >= span.first, e.start_time < span.end]
        conditions += [e.seconds.isnot(None), *([e.billable] if wanted.is_billable else [])]
        conditions += self._of_client(_PROJECT_OF_ENTRY, wanted)
        return [*conditions, *(column == value for column, value in chosen.items() if value is not None)]

    def _entries_of(self, wanted: Selection, span: MonthSpan, offset: int, limit: int) -> Select[Any]:
        """A page of the entries of a span. What comes before it is passed over without looking up names."""
        e = entry_facts.c
        source = entry_facts if wanted.currency is None else _WITH_SETTINGS
        mine = select(*_KEY).select_from(source).where(*self._of_entries(wanted, span))
        page = mine.order_by(e.start_time.desc(), e.source_id.desc()).offset(offset).limit(limit).subquery("page")
        names = (person_facts.c.name, project_facts.c.name, project_facts.c.client_name)
        worth = (func.nullif(_CURRENCY_OF_ENTRY, NONE), e.amount)
        statement = select(e.entity, e.source_id, e.start_time, _ROUNDED, e.billable, *names, *worth)
        for table in (project_facts, person_facts):
            # Without it SQLite looks at all projects for each entry.
            statement = statement.with_hint(table, f"INDEXED BY ix_{table.name}_source", "sqlite")
        same = and_(*(page.c[column.name] == column for column in _KEY))
        found = statement.select_from(_ENTRIES.join(page, same))
        return found.order_by(e.start_time.desc(), e.source_id.desc())

    def _weeks_of_person(self, wanted: Selection) -> list[Figures]:
        """Out of a person's entries, which an index finds."""
        e, w = entry_facts.c, report_periods.c
        of_week = [w.connection == self._pair, w.kind == "week", w.starts_at <= e.start_time]
        week = select(w.name).where(*of_week).order_by(w.starts_at.desc()).limit(1).scalar_subquery()
        null, zero = _NULL, _ZERO
        billable = case((e.billable, _ROUNDED), else_=0)
        with self._store.reading() as tx:
            spans = self._spans(tx, wanted)
            if not spans:
                return []
            whole = MonthSpan("", spans[-1].first, spans[0].end)
            weeks = select(week.label("week"), _ROUNDED.label("rounded"), billable.label("billable"))
            found = weeks.select_from(_WITH_SETTINGS).where(*self._of_entries(wanted, whole)).subquery()
            sums = [func.count(), _total(found.c.rounded), _total(found.c.billable)]
            statement = select(found.c.week, null, *sums, zero, zero, null, null).group_by(found.c.week)
            return [line_of(["week"], row) for row in tx.execute(statement)]


def _within(month: ColumnElement[Any], wanted: Selection) -> list[ColumnElement[bool]]:
    """Not BETWEEN: PostgreSQL takes no collation behind its first value."""
    return [month >= wanted.first, month <= wanted.last]


def _total(values: ColumnElement[Any]) -> ColumnElement[int]:
    return cast(func.sum(values), BigInteger)


def _choices(pair: str, table: Table, key: ColumnElement[Any], name: ColumnElement[Any]) -> Select[Any]:
    named = func.min(func.coalesce(name, key))
    statement = select(key, named).where(table.c.connection == pair, key.isnot(None))
    return statement.group_by(key).order_by(named, key).limit(MOST_NAMES)


_PROJECT_OF_ENTRY = func.coalesce(entry_facts.c.project_id, literal_column("''"))
_CURRENCY_OF_ENTRY = func.coalesce(entry_facts.c.currency, report_settings.c.currency)
_UNIT = report_settings.c.rounding_seconds
_ROUNDED = case(
    (_UNIT > 0, (entry_facts.c.seconds + report_settings.c.rounding_add) // _UNIT * _UNIT),
    else_=entry_facts.c.seconds,
)
_KEY = (entry_facts.c.connection, entry_facts.c.entity, entry_facts.c.source_id)
_WITH_SETTINGS = entry_facts.join(report_settings, report_settings.c.connection == entry_facts.c.connection)
_ENTRIES = _WITH_SETTINGS.outerjoin(
    project_facts,
    and_(
        project_facts.c.connection == entry_facts.c.connection,
        project_facts.c.source_id == entry_facts.c.project_id,
    ),
).outerjoin(
    person_facts,
    and_(person_facts.c.connection == entry_facts.c.connection, person_facts.c.source_id == entry_facts.c.user_id),
)
