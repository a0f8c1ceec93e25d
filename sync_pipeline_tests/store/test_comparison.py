"""The comparison of both sides: what counts as a difference, however many there are, and what is then known of the target."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from sync_pipeline.store.comparison import PAGE, Comparison, DifferingRecord, ObservedRow
from sync_pipeline.store.engine import Store
from sync_pipeline.store.staged import StagedRow
from sync_pipeline_tests.store.batch import deliver, here, row


@contextmanager
def compared(
    store: Store, rows: list[StagedRow], there: list[ObservedRow], *, assigns_ids: bool = True
) -> Iterator[Comparison]:
    """A batch of these rows beside what is there."""
    with here(store).staging(read_no=9) as staging:
        staging.add(rows)
        with staging.compare(assigns_ids=assigns_ids) as comparison:
            comparison.observe(there)
            yield comparison


def found(comparison: Comparison) -> list[tuple[str, str]]:
    """Kind and id of each difference."""
    return [(one.kind, one.source_id) for page in comparison.differences() for one in page]


def test_differences_come_page_by_page(store: Store) -> None:
    """An emptied target lacks everything: no page holds more than a thousand of it."""
    rows = [row(f"k{number:05}") for number in range(2 * PAGE + 1)]
    with compared(store, rows, [], assigns_ids=False) as comparison:
        pages = list(comparison.differences())

        assert [len(page) for page in pages] == [PAGE, PAGE, 1]
        assert sorted(one.source_id for page in pages for one in page) == [one.source_id for one in rows]
        assert {(one.kind, one.observed) for page in pages for one in page} == {("missing", None)}
        assert sum(1 for _ in comparison.beliefs()) == len(rows)


def test_each_kind_of_difference_is_found_once(store: Store) -> None:
    """By the stored link; what is foreign, equal or rightly archived is none."""
    deliver(store, [row(key) for key in ("same", "other", "lost", "left", "archived")])
    there = [ObservedRow(f"t-{key}", "{}", "v1") for key in ("same", "left")]
    there += [ObservedRow("t-other", "{}", "v9"), ObservedRow("t-foreign", "{}", "v1")]
    there += [ObservedRow("t-archived", "{}", "v1", is_archived=1)]
    with compared(store, [row("same"), row("other"), row("lost")], there) as comparison:
        assert found(comparison) == [("missing", "lost"), ("different", "other"), ("extra", "left")]
        assert comparison.count_removed() == 1
        assert (comparison.count_wanted(), comparison.count_observed(), comparison.count_foreign()) == (3, 4, 1)
        assert dict(comparison.beliefs()) == {"other": "v9", "archived": None, "lost": None}


def test_only_what_is_wanted_can_be_missing(store: Store) -> None:
    """Not what is rejected or excluded, what waits for a rejected record, or what was made and is forgotten since."""
    rows = [
        row("wanted"),
        row("waits", status="waiting"),
        row("waits_in_vain", status="waiting", rule="not_delivered"),
        row("rejected", status="rejected", rule="valid_values"),
        row("excluded", status="excluded", rule="running"),
        row("forgotten", status="former"),
    ]
    with compared(store, rows, []) as comparison:
        assert sorted(found(comparison)) == [("missing", "waits"), ("missing", "wanted")]
        assert comparison.left_out() == (1, 1, 1)
        assert (comparison.count_accepted(), comparison.accepted(9)) == (1, ["wanted"])


def test_what_was_made_is_wanted_as_it_was_made(store: Store) -> None:
    """Although its source, or the mapping, gives other fields by now."""
    deliver(store, [row("made")])
    with compared(store, [row("made", "v2", status="former")], [ObservedRow("t-made", "{}", "v1")]) as comparison:
        assert found(comparison) == []
        assert (comparison.count_wanted(), comparison.count_accepted(), comparison.accepted(9)) == (1, 0, [])


def test_a_table_of_the_user_of_that_name_stays(store: Store) -> None:
    """Both sides are temporary tables, and no others are dropped."""
    with store.writing() as tx:
        tx.execute(text("CREATE TABLE wanted (mine TEXT)"))
    try:
        with compared(store, [row("a")], []) as comparison:
            assert list(comparison.differences()) == [[DifferingRecord("missing", "a", None, row("a").fields, None)]]
        with store.reading() as tx:
            assert tx.execute(text("SELECT mine FROM wanted")).all() == []
    finally:
        with store.writing() as tx:
            tx.execute(text("DROP TABLE wanted"))


@pytest.mark.parametrize("size", [1, 3])
def test_all_rows_are_compared_however_many_are_inserted_at_a_time(
    store: Store, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statements are short, so that Ctrl-C need not wait; none of the rows is left out or taken twice."""
    monkeypatch.setattr("sync_pipeline.store.comparison.TOGETHER", size)
    rows = [row(key) for key in "abcdefg"]
    with compared(store, [*rows, row("c", "v2")], []) as comparison:
        assert (comparison.count_accepted(), comparison.accepted(9)) == (7, list("abcdefg"))
        assert comparison.accepted(2) == ["a", "b"]
