"""What each system was last seen to be; and how large the database is."""

from __future__ import annotations

from datetime import UTC, datetime

from sync_pipeline.store.engine import Store
from sync_pipeline.store.size import size_of
from sync_pipeline.store.system_facts import SystemFacts, forget_facts, note_names, note_test, read_facts

AT = datetime(2026, 11, 26, 13, 0, tzinfo=UTC)
HERE, THERE = "clockify https://a.example w1", "clockify https://a.example w2"


def test_names_and_tests_are_kept_apart_for_each_place(store: Store) -> None:
    """A test does not touch the names, what is not known leaves what was; forgetting one place leaves the others."""
    assert read_facts(store, HERE) == SystemFacts()
    note_names(store, HERE, "Ana (ana@example.com)", "Polaris")
    note_names(store, THERE, "", "Vega")
    note_test(store, HERE, [{"what": "Clockify key", "verdict": "ok"}], AT)
    note_names(store, HERE, "", "Polaris Field Services")
    found = read_facts(store, HERE)
    assert found == SystemFacts(
        "Ana (ana@example.com)", "Polaris Field Services", AT, ({"what": "Clockify key", "verdict": "ok"},)
    )
    note_test(store, HERE, [], AT)
    assert read_facts(store, HERE).findings == ()
    forget_facts(store, HERE)
    assert read_facts(store, HERE) == SystemFacts()
    assert read_facts(store, THERE) == SystemFacts("", "Vega")


def test_the_size_of_the_database(store: Store) -> None:
    """In bytes, of either kind."""
    assert 10_000 < size_of(store) < 1_000_000_000
