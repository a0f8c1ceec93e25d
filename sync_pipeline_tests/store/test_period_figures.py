"""Figures of a period: the same as plain sums over the entries, whatever is filtered; and no question reads all entries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, insert, text

from sync_pipeline.store.engine import Store
from sync_pipeline.store.period_figures import PeriodFigures, Selection
from sync_pipeline.store.project_months import ReportSettings
from sync_pipeline.store.schema import metadata, project_facts
from sync_pipeline_tests.store.batch import HERE
from sync_pipeline_tests.store.test_project_months import Entry, World, hours, money

pytestmark = pytest.mark.clock

CLIENTS = {"p1": "c1", "p2": None, "p3": "c1"}
WANTED = ReportSettings("Europe/Berlin", currency="EUR", rounding_seconds=900, rounding_add=450)
Named = dict[str, Entry]

entries = st.builds(
    Entry,
    st.integers(0, 130 * 48).map(lambda halves: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=30 * halves)),
    st.none() | st.sampled_from([1, 450, 3_600, 40_000]),
    st.sampled_from([None, *CLIENTS]),
    st.sampled_from(["u1", "u2"]),
    st.booleans(),
    st.none() | st.sampled_from([1, 2_500]),
    st.none() | st.just(1_000),
    st.sampled_from([None, "EUR", "USD"]),
)
anything = st.none()
selections = st.builds(
    Selection,
    st.sampled_from(["2026-01", "2026-03"]),
    st.sampled_from(["2026-03", "2026-04"]),
    anything | st.sampled_from(["", "c1"]),
    anything | st.sampled_from(["", "p1", "p2"]),
    anything | st.just("u1"),
    anything | st.sampled_from(["2026-02-23", "2026-03-30"]),
    anything | st.sampled_from(["EUR", "USD"]),
    st.booleans(),
)


def local(entry: Entry) -> datetime:
    """When it starts, by the clock of the reports."""
    return entry.start.astimezone(ZoneInfo(WANTED.time_zone))


def week(entry: Entry) -> str:
    """The first day of its week."""
    return (local(entry) - timedelta(days=local(entry).weekday())).date().isoformat()


def currency(entry: Entry) -> str:
    """Of its amounts."""
    return entry.currency or WANTED.currency


def fits(entry: Entry, wanted: Selection) -> bool:
    """Whether it is asked for."""
    client = CLIENTS.get(entry.project or "") or ""
    asked = (wanted.client, wanted.project, wanted.person, wanted.week, wanted.currency)
    found = (client, entry.project or "", entry.user, week(entry), currency(entry))
    is_in = entry.seconds is not None and wanted.first <= f"{local(entry):%Y-%m}" <= wanted.last
    return is_in and all(a in (None, b) for a, b in zip(asked, found, strict=True)) and (
        entry.billable or not wanted.is_billable
    )  # fmt: skip


def sums(world: World, some: Iterable[Entry], key: Callable[[Entry], Any]) -> dict[Any, tuple[int, int, int]]:
    """How many, how long, and how long billable, of each key."""
    groups = defaultdict(list)
    for entry in some:
        groups[key(entry)].append(entry)
    return {
        name: (len(group), hours(world, group), hours(world, [each for each in group if each.billable]))
        for name, group in groups.items()
    }


def world_of(store: Store, named: Named) -> World:
    """A store with these entries, and projects with their clients, computed."""
    with store.writing() as tx:
        for table in reversed(metadata.sorted_tables):
            tx.execute(delete(table))
        rows = [{"connection": HERE, "entity": "projects", "source_id": name, "name": name.upper(), "client_id": client,
                 "read_no": 1} for name, client in CLIENTS.items()]  # fmt: skip
        tx.execute(insert(project_facts), rows)
    world = World(store, wanted=WANTED)
    world.load(**named)
    world.compute()
    return world


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=st.lists(entries, min_size=1, max_size=25), wanted=selections)
def test_they_are_what_the_entries_add_up_to(store: Store, some: list[Entry], wanted: Selection) -> None:
    """By week, project and person, and the entries themselves, newest first, page by page."""
    named = {f"e{nr:02d}": entry for nr, entry in enumerate(some)}
    world, figures = world_of(store, named), PeriodFigures(store, HERE)

    rows, total = figures.entries(wanted, 0, 100)
    expected = {key: entry for key, entry in named.items() if fits(entry, wanted)}
    newest_first = sorted(expected, key=lambda key: (expected[key].start, key), reverse=True)
    assert [row.source_id for row in rows] == newest_first
    assert total == len(expected)
    paged = [row.source_id for start in range(0, 30, 3) for row in figures.entries(wanted, start, 3)[0]]
    assert paged == newest_first

    wanted = wanted._replace(week=None, is_billable=False)
    found = [entry for entry in some if fits(entry, wanted)]
    assert {line.group["week"]: line[2:5] for line in figures.by_week(wanted)} == sums(world, found, week)
    of_people = {line.group["user_id"]: line[2:5] for line in figures.by_person(wanted)}
    assert of_people == sums(world, found, lambda entry: entry.user)
    projects = figures.by_project(wanted)

    def key(entry: Entry) -> tuple[str | None, str]:
        """Of a line of the report."""
        return entry.project, currency(entry)

    of_projects = {(line.group["project_id"], line.currency): line[2:5] for line in projects}
    assert of_projects == sums(world, found, key)
    for line in projects:
        group = [entry for entry in found if key(entry) == (line.group["project_id"], line.currency)]
        assert (line.amount, line.cost) == (money([e.rate for e in group]), money([e.cost for e in group]))
        assert line.group["client_id"] == CLIENTS.get(line.group["project_id"] or "")


PERIOD = Selection("2025-01", "2026-12")


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (PERIOD, "ix_entry_facts_start (connection=? AND start_time>? AND start_time<?)"),
        (PERIOD._replace(project="p1"), "ix_entry_facts_project (connection=? AND <expr>=? AND start_time>?"),
        (PERIOD._replace(person="u1"), "ix_entry_facts_user (connection=? AND user_id=? AND start_time>?"),
    ],
    ids=["all", "project", "person"],
)
def test_a_page_reads_the_entries_of_its_month_by_an_index(sqlite_store: Store, wanted: Selection, index: str) -> None:
    """In their order, so that nothing is sorted but entries of one instant; names are looked up one by one."""
    world_of(sqlite_store, {"a": Entry(datetime(2026, 3, 1, tzinfo=UTC))})
    figures, asked = PeriodFigures(sqlite_store, HERE), []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: Any) -> None:
        asked.append((statement, parameters))

    event.listen(sqlite_store.engine, "before_cursor_execute", note)
    figures.entries(wanted, 0, 10)
    figures.by_week(wanted)
    figures.by_project(wanted)
    figures.by_person(wanted)
    event.remove(sqlite_store.engine, "before_cursor_execute", note)

    of_entries = [plan(sqlite_store, *one) for one in asked if "FROM entry_facts" in one[0]]
    assert of_entries
    for steps in of_entries:
        assert [step for step in steps if step.startswith(f"SEARCH entry_facts USING INDEX {index}")], steps
        assert [step for step in steps if "SCAN" in step and "ENTRY" in step.upper()] == []
    names = [step for steps in of_entries for step in steps if "project_facts" in step]
    assert all("ix_project_facts_source (connection=? AND source_id=?)" in step for step in names)


def plan(store: Store, statement: str, parameters: Any) -> list[str]:
    """The steps that SQLite takes."""
    with store.reading() as tx:
        return [str(row[3]) for row in tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]


@pytest.mark.parametrize("view", ["mart_time_entries", "mart_project_months"])
def test_the_views_look_up_each_name_by_its_id(sqlite_store: Store, view: str) -> None:
    """A look at all projects for each entry would take minutes."""
    with sqlite_store.reading() as tx:
        steps = [str(row[3]) for row in tx.execute(text(f"EXPLAIN QUERY PLAN SELECT project FROM {view}"))]
    (names,) = [step for step in steps if "SEARCH p " in step]
    assert "(connection=? AND source_id=?)" in names
