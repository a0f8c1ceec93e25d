"""Figures of projects and months: after any history what a plain computation over the entries finds."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, text, update

from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.project_months import _STATEMENTS, WEEKDAYS, Recomputed, ReportSettings, recompute
from sync_pipeline.store.schema import (
    entry_facts,
    metadata,
    project_months,
    project_people,
    project_weeks,
    report_dirty,
)
from sync_pipeline.store.staged import FactsIn
from sync_pipeline_tests.store.batch import HERE, THERE, at, commits, content, here, row, there
from sync_pipeline_tests.store.conftest import Server

pytestmark = pytest.mark.clock

NAMES = ("user_id", "project_id", "start_time", "end_time", "seconds", "billable", "amount", "cost", "currency", "tags")
IN = FactsIn(entry_facts, NAMES)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati", "Asia/Kathmandu", "America/Havana")
QUARTERS = {"up": (900, 899), "down": (900, 0), "nearest": (900, 450), "": (0, 0)}


@dataclass(frozen=True)
class Entry:
    """What the source holds about an entry."""

    start: datetime
    seconds: int | None = 3_600
    project: str | None = "p1"
    user: str = "u1"
    billable: bool = True
    rate: int | None = None
    cost: int | None = None
    currency: str | None = None

    def facts(self) -> str:
        """As the mapping makes them."""
        money = [None if each is None or self.seconds is None else each for each in (self.rate, self.cost)]
        end = None if self.seconds is None else self.start + timedelta(seconds=self.seconds)
        times = [None if each is None else each.isoformat(" ", "microseconds")[:26] for each in (self.start, end)]
        return json.dumps([self.user, self.project, *times, self.seconds, self.billable, *money, self.currency, []])


@dataclass
class World:
    """A history of entries, and what is stored of them."""

    store: Store
    entries: dict[str, Entry] = field(default_factory=dict)
    wanted: ReportSettings = ReportSettings()
    numbers: count[int] = field(default_factory=lambda: count(1))

    def load(self, **entries: Entry) -> None:
        """These are new, or unchanged."""
        number = next(self.numbers)
        with here(self.store).staging(None, read_no=number) as staging:
            staging.decided_by, staging.facts = "mapping", IN
            staging.add([row(key, repr(entry))._replace(facts=entry.facts()) for key, entry in entries.items()])
            staging.merge(at(number))
        self.entries |= entries

    def lose(self, key: str, *, removed: bool) -> None:
        """It is deleted at the source, or everything about it is removed."""
        if removed:
            here(self.store).remove_records([key])
        else:
            here(self.store).mark_deleted({key: next(self.numbers)}, at(1))
        self.entries.pop(key, None)

    def compute(self) -> Recomputed:
        """Compute what has changed."""
        return recompute(self.store, HERE, self.wanted)

    def dirty(self) -> set[tuple[str, str]]:
        """What would be computed."""
        with self.store.reading() as tx:
            return {tuple(key) for key in tx.execute(select(report_dirty.c.project_id, report_dirty.c.month))}


def figures(world: World) -> set[tuple[Any, ...]]:
    """What the table should hold, by plain means."""
    found: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
    for entry in world.entries.values():
        if entry.seconds is not None:
            local = entry.start.astimezone(ZoneInfo(world.wanted.time_zone))
            currency = entry.currency if entry.currency is not None else world.wanted.currency
            found[entry.project or "", f"{local:%Y-%m}", currency].append(entry)
    return {
        (HERE, *key, len(some), hours(world, some), hours(world, [each for each in some if each.billable]),
         len({each.user for each in some}), money([each.rate for each in some]), money([each.cost for each in some]))
        for key, some in found.items()
    }  # fmt: skip


def finer(world: World, part: str) -> set[tuple[Any, ...]]:
    """The same by week or by person, too."""
    found: dict[tuple[str, str, str, str], list[Entry]] = defaultdict(list)
    for entry in world.entries.values():
        if entry.seconds is not None:
            local = entry.start.astimezone(ZoneInfo(world.wanted.time_zone))
            first = local.date() - timedelta(days=(local.weekday() - WEEKDAYS.index(world.wanted.week_start)) % 7)
            currency = entry.currency if entry.currency is not None else world.wanted.currency
            named = first.isoformat() if part == "week" else entry.user
            found[f"{local:%Y-%m}", entry.project or "", named, currency].append(entry)
    lines = set()
    for key, some in found.items():
        billable = [each for each in some if each.billable]
        worth = [money([each.rate for each in some]), money([each.cost for each in some])]
        sums = (len(some), len(billable), hours(world, some), hours(world, billable))
        lines.add((HERE, *key, *sums, *(worth if part == "person" else [])))
    return lines


def hours(world: World, entries: list[Entry]) -> int:
    """Seconds, each entry's rounded."""
    unit, total = world.wanted.rounding_seconds, 0
    for entry in entries:
        exact = entry.seconds or 0
        down, rest = (exact - exact % unit, exact % unit) if unit else (exact, 0)
        goes_up = rest > 0 and (
            world.wanted.rounding_add == unit - 1 or rest * 2 >= unit > 0 < world.wanted.rounding_add
        )
        total += down + unit if goes_up else down
    return total


def money(amounts: list[int | None]) -> int | None:
    """None, never 0, where nothing is known."""
    known = [each for each in amounts if each is not None]
    return sum(known) if known else None


def rebuilt(world: World) -> list[tuple[object, ...]]:
    """The tables when everything is recomputed."""
    with world.store.writing() as tx:
        tx.execute(delete(metadata.tables["report_settings"]))
    assert world.compute().all_new
    return all_figures(world)


def all_figures(world: World) -> list[tuple[object, ...]]:
    """The content of the three tables."""
    return [row for table in (project_months, project_weeks, project_people) for row in content(world.store, table)]


edges = st.sampled_from([datetime(2026, month, 1, tzinfo=UTC) for month in (1, 3, 4, 11)])
starts = st.builds(lambda edge, minutes: edge + timedelta(minutes=minutes), edges, st.integers(-900, 900))
entries = st.builds(
    Entry,
    starts,
    st.none() | st.sampled_from([0, 1, 449, 450, 900, 3_600, 40_000]),
    st.sampled_from([None, "p1", "p2"]),
    st.sampled_from(["u1", "u2"]),
    st.booleans(),
    st.none() | st.sampled_from([1, 2_500]),
    st.none() | st.just(1_000),
    st.sampled_from([None, "EUR", "USD"]),
)
keys = st.sampled_from(["a", "b", "c", "d", "e"])
wishes = st.builds(
    lambda zone, start, currency, rounding: ReportSettings(zone, start, currency, *QUARTERS[rounding]),
    st.sampled_from(ZONES),
    st.sampled_from(["monday", "sunday"]),
    st.sampled_from(["", "EUR"]),
    st.sampled_from(sorted(QUARTERS)),
)
steps = st.one_of(
    st.tuples(st.just("load"), st.dictionaries(keys, entries, min_size=1)),
    st.tuples(st.just("lose"), st.tuples(keys, st.booleans())),
    st.tuples(st.just("settings"), wishes),
    st.tuples(st.just("compute"), st.none()),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(steps, min_size=2, max_size=8))
def test_after_any_history_the_table_is_what_the_entries_say(store: Store, history: list[tuple[str, Any]]) -> None:
    """Month ends, zones, running timers, moved and deleted entries, currencies, hidden rates; and a rebuild changes no byte."""
    with store.writing() as tx:
        for table in reversed(metadata.sorted_tables):
            tx.execute(delete(table))
    world = World(store)
    for what, value in history:
        if what == "load":
            world.load(**value)
        elif what == "lose":
            world.lose(value[0], removed=value[1])
        elif what == "settings":
            world.wanted = value
        else:
            world.compute()
            assert set(content(store, project_months)) == figures(world)
    world.compute()
    stored = all_figures(world)
    assert set(content(store, project_months)) == figures(world)
    assert set(content(store, project_weeks)) == finer(world, "week")
    assert set(content(store, project_people)) == finer(world, "person")
    assert rebuilt(world) == stored


def test_a_change_marks_the_project_and_month_before_and_after_it(store: Store) -> None:
    """In the zone of the reports; at most two, and nothing where nothing changed or no report was made yet."""
    berlin = World(store, wanted=ReportSettings("Europe/Berlin"))
    evening = Entry(datetime(2026, 3, 31, 21, 30, tzinfo=UTC))
    berlin.load(a=evening, b=evening)
    assert berlin.dirty() == set()
    assert berlin.compute() == Recomputed(["2026-03"], 1, True)

    berlin.load(a=replace(evening, start=evening.start + timedelta(hours=1), project=None), b=evening)

    assert berlin.dirty() == {("p1", "2026-03"), ("", "2026-04")}
    assert berlin.compute() == Recomputed(["2026-03", "2026-04"], 2, False)
    berlin.lose("b", removed=False)
    assert berlin.compute() == Recomputed(["2026-03"], 1, False)
    assert {key[1:4] for key in content(store, project_months)} == {("", "2026-04", "")}


def test_where_nothing_changed_nothing_is_written(store: Store) -> None:
    """Neither by the merge of unchanged entries, nor by computing again."""
    world = World(store)
    entry = Entry(datetime(2026, 3, 1, tzinfo=UTC))
    world.load(a=entry)
    world.compute()
    with commits(store) as reading:
        before = reading()
        world.load(a=entry)
        assert world.compute() == Recomputed([], 0, False)
        assert reading() == before


def test_pairs_have_their_own_figures_and_settings(store: Store) -> None:
    """Computing those of one leaves those of the other unchanged."""
    world = World(store)
    world.load(a=Entry(datetime(2026, 1, 31, 23, 30, tzinfo=UTC)))
    with there(store).staging(None, read_no=50) as staging:
        staging.decided_by, staging.facts = "mapping", IN
        staging.add([row("a")._replace(facts=Entry(datetime(2026, 1, 31, 23, 30, tzinfo=UTC)).facts())])
        staging.merge(at(1))

    world.compute()
    recompute(store, THERE, ReportSettings("Europe/Berlin"))

    assert {key[:3] for key in content(store, project_months)} == {(HERE, "p1", "2026-01"), (THERE, "p1", "2026-02")}


@pytest.mark.parametrize("table", _STATEMENTS)
def test_only_the_entries_of_the_projects_and_months_are_looked_at(sqlite_store: Store, table: str) -> None:
    """By the index on project and start: a look at all entries for each of them would take minutes."""
    compute = _STATEMENTS[table][1]
    with sqlite_store.reading() as tx:
        plan = [
            str(step[3])
            for step in tx.execute(text(f"EXPLAIN QUERY PLAN {compute.text}"), {"pair": HERE, "month": "2026-03"})
        ]
    assert [
        step
        for step in plan
        if step.startswith("SEARCH e USING INDEX ix_entry_facts_project (connection=? AND <expr>=?")
    ]


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_a_change_of_what_was_noted_before_is_not_lost(postgres: Server, isolation: str) -> None:
    """Whatever the server's default: a transaction that began before the figures were computed does not take them as noted still."""
    url = postgres.emptied()
    strict = (
        f"{url}{'&' if '?' in url else '?'}options=-cdefault_transaction_isolation={isolation.replace(' ', '%5C%20')}"
    )
    with closing(open_store(strict)) as store, closing(open_store(strict)) as other:
        world = World(store)
        world.load(a=Entry(datetime(2026, 3, 2, tzinfo=UTC)))
        world.compute()
        world.load(a=Entry(datetime(2026, 3, 2, tzinfo=UTC), 60))
        with other.writing() as tx:
            assert len(tx.execute(select(report_dirty.c.month)).all()) == 1
            world.compute()
            tx.execute(update(entry_facts).values(seconds=120))
        world.compute()
        assert content(store, project_months)[0][5] == 120
