"""Times come back as they went in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.exc import StatementError

from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import metadata
from sync_pipeline_tests.store.batch import at, here

offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
instants = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=offsets)  # noqa: DTZ001  # bounds are naive


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=instants, second=instants)
def test_instants_round_trip_and_sort(store: Store, first: datetime, second: datetime) -> None:
    """To the microsecond, in UTC, and in the database's order as in Python's."""
    ids = [here(store).syncs.begin(observed_at=when, at=when) for when in (first, second)]
    table = metadata.tables["syncs"]
    with store.reading() as tx:
        rows = tx.execute(select(table.c.id, table.c.observed_at).where(table.c.id.in_(ids)))
        found = {row[0]: row[1] for row in rows}
        later = tx.scalar(select(table.c.id).where(table.c.id == ids[0], table.c.observed_at > second))

    assert [found[key] for key in ids] == [first, second]
    assert all(when.tzinfo is UTC for when in found.values())
    assert (later is not None) == (first > second)


def test_a_naive_time_is_refused(store: Store) -> None:
    """Its zone is unknown."""
    with pytest.raises(StatementError, match="aware times only"):
        here(store).syncs.begin(observed_at=at(1).replace(tzinfo=None), at=at(1))


@pytest.mark.parametrize("name", sorted(metadata.tables))
def test_every_table_says_what_it_is_for(name: str) -> None:
    """The schema documents itself."""
    assert metadata.tables[name].info["doc"]


def test_the_docs_list_every_column_that_may_hold_personal_data() -> None:
    """With its age; `forget` cleans what is marked, so what is not marked would stay."""
    docs = (Path(__file__).parents[2] / "docs" / "personal-data.md").read_text()
    marked = {f"`{table.name}.{column.name}`" for table in metadata.sorted_tables for column in table.c if column.info}
    assert {name for name in marked if name not in docs} == set()
    texts = {"by", "reason", "value", "detail", "report", "payload", "fields", "attempted"}
    named = {
        f"`{table.name}.{column.name}`"
        for table in metadata.sorted_tables
        for column in table.c
        if column.name in texts
    }
    assert named - marked == set()
