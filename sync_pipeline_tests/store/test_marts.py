"""The views for BI tools: their columns are those of the docs, and their sums are those of the table."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, inspect, text

from sync_pipeline.store.engine import Store
from sync_pipeline.store.project_months import ReportSettings
from sync_pipeline.store.schema import person_facts, project_facts
from sync_pipeline_tests.store.batch import HERE
from sync_pipeline_tests.store.test_project_months import Entry, World

DOCS = Path(__file__).parents[2] / "docs" / "reports.md"
VIEWS = ("mart_time_entries", "mart_projects", "mart_project_months", "mart_people_months")
TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float, Decimal),
    "boolean": (bool, int),
    "timestamp": (datetime, str),
}


def documented(view: str) -> dict[str, str]:
    """The columns that the page lists, with their types."""
    passage = DOCS.read_text().split(f"### `{view}`")[1].split("### ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", passage, re.MULTILINE))


def read(store: Store, view: str) -> list[dict[str, Any]]:
    """The rows of a view."""
    with store.reading() as tx:
        return [dict(row._mapping) for row in tx.execute(text(f"SELECT * FROM {view}"))]


def value(row: dict[str, Any], name: str) -> float | None:
    """A number, whatever the database calls it."""
    return None if row[name] is None else float(row[name])


@pytest.fixture
def world(store: Store) -> World:
    """Entries of two people in two projects, of two months, with a project that has a budget."""
    found = World(store, wanted=ReportSettings("Europe/Berlin"))
    late = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)
    found.load(
        a=Entry(datetime(2026, 1, 15, tzinfo=UTC), rate=10_000, cost=4_050, currency="EUR"),
        b=Entry(late, 1_800, user="u2", rate=5_000, cost=6_000, currency="EUR"),
        c=Entry(late, 1_800, billable=False, rate=None),
        d=Entry(late, None, project=None),
    )
    key = {"connection": HERE, "read_no": 1}
    with store.writing() as tx:
        project = {"entity": "projects", "source_id": "p1", "name": "Alpha", "client_name": "Client", "budget": 20_000}
        tx.execute(insert(project_facts).values(**key, **project, estimate_seconds=7_200))
        tx.execute(insert(person_facts).values(**key, entity="users", source_id="u1", name="Ana"))
    found.compute()
    return found


@pytest.mark.parametrize("view", VIEWS)
def test_the_docs_list_the_columns_of_each_view_with_their_types(world: World, view: str) -> None:
    """In their order: who reads them by SQL relies on both."""
    columns = documented(view)
    assert [column["name"] for column in inspect(world.store.engine).get_columns(view)] == list(columns)
    rows = read(world.store, view)
    assert rows
    for row in rows:
        wrong = [
            name for name, kind in columns.items() if row[name] is not None and not isinstance(row[name], TYPES[kind])
        ]
        assert wrong == []


def test_no_other_view_is_made(store: Store) -> None:
    """Each one there is has its table in the docs."""
    assert sorted(inspect(store.engine).get_view_names()) == sorted(VIEWS)


def test_the_views_say_what_the_entries_are_worth(world: World) -> None:
    """Names and clients come from the newest facts, budgets are counted up, what is hidden is null, revenue states why it is missing."""
    months = {(row["month"], row["currency"]): row for row in read(world.store, "mart_project_months")}
    assert months.keys() == {("2026-01", "EUR"), ("2026-02", "EUR"), ("2026-02", None)}
    february = months["2026-02", "EUR"]
    assert [february[name] for name in ("project", "client", "entries", "people")] == ["Alpha", "Client", 1, 1]
    assert [value(february, name) for name in ("hours", "amount", "cost", "margin")] == [0.5, 50, 60, -10]
    assert [value(february, name) for name in ("budget", "amount_to_date", "estimate_hours")] == [200, 150, 2]
    assert value(february, "hours_to_date") == 2
    hidden = months["2026-02", None]
    assert [hidden[name] for name in ("amount", "cost", "margin", "revenue")] == [None] * 4
    assert "not read" in hidden["revenue_missing"]
    people = {(row["person"], row["month"], row["currency"]): row for row in read(world.store, "mart_people_months")}
    assert value(people["Ana", "2026-01", "EUR"], "billable_hours") == 1
    assert people.keys() == {("Ana", "2026-01", "EUR"), ("Ana", "2026-02", None), (None, "2026-02", "EUR")}


def test_the_view_of_entries_has_all_of_them(world: World) -> None:
    """Also a running one, with the month and the week of its start."""
    entries = {row["entry_id"]: row for row in read(world.store, "mart_time_entries")}
    assert {key: (row["month"], row["week"], row["seconds"]) for key, row in entries.items()} == {
        "a": ("2026-01", "2026-01-12", 3_600),
        "b": ("2026-02", "2026-01-26", 1_800),
        "c": ("2026-02", "2026-01-26", 1_800),
        "d": ("2026-02", "2026-01-26", None),
    }
