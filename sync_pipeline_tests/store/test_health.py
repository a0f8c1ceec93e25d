"""How the systems answered last, written when it changes, by the store's own clock; and what they were last seen to be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sync_pipeline.store.engine import Store
from sync_pipeline.store.health import (
    SystemFacts,
    forget_facts,
    note_failure,
    note_names,
    note_ok,
    note_test,
    read_facts,
    read_health,
    size_of,
)
from sync_pipeline_tests.store.batch import HERE, THERE

NOW = datetime(2026, 11, 25, 15, 7, tzinfo=UTC)


def test_a_failure_keeps_its_beginning_until_a_good_answer(store: Store) -> None:
    """Repeated, it keeps since when; another one is another; a good answer ends it; systems and connections are apart."""
    note_ok(store, HERE, "clockify")
    note_failure(store, HERE, "clockify", "key refused", "Replace it.")
    began = read_health(store, HERE)["clockify"]
    assert (began.code, began.reason, began.ok_at is None) == ("key refused", "Replace it.", False)
    note_failure(store, HERE, "clockify", "key refused", "Replace it, please.")
    assert read_health(store, HERE)["clockify"] == began
    note_failure(store, HERE, "clockify", "not reachable", "Try again later.")
    assert read_health(store, HERE)["clockify"].code == "not reachable"
    note_ok(store, HERE, "clockify")
    ended = read_health(store, HERE)["clockify"]
    assert (ended.failed_at, ended.code, ended.reason) == (None, None, None)
    assert ended.last_reason == "Try again later.", "what failed last stays known"
    assert ended.last_failed_at is not None
    note_failure(store, THERE, "snapshots", "key refused", "Replace it.")
    assert set(read_health(store, HERE)) == {"clockify"}
    assert read_health(store, THERE)["snapshots"].ok_at is None


@pytest.mark.parametrize(("later", "is_written"), [(20, False), (59, False), (60, True), (-90, True)])
def test_good_answers_are_written_once_a_minute(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch, later: int, is_written: bool
) -> None:
    """Not once a request; a clock that was set back does not keep a moment of the future."""
    then = NOW + timedelta(seconds=later)
    for instant in (NOW, then):
        monkeypatch.setattr(Store, "now", lambda _self, _tx, instant=instant: instant)
        note_ok(sqlite_store, HERE, "clockify")
    assert read_health(sqlite_store, HERE)["clockify"].ok_at == (then if is_written else NOW)


def test_names_and_tests_are_kept_apart_for_each_place(store: Store) -> None:
    """A test does not touch the names, what is not known leaves what was; forgetting one place leaves the others."""
    assert read_facts(store, HERE) == SystemFacts()
    note_names(store, HERE, "Ana (ana@example.com)", "Polaris")
    note_names(store, THERE, "", "Vega")
    note_test(store, HERE, [{"what": "Clockify key", "verdict": "ok"}], NOW)
    note_names(store, HERE, "", "Polaris Field Services")
    found = read_facts(store, HERE)
    assert found == SystemFacts(
        "Ana (ana@example.com)", "Polaris Field Services", NOW, ({"what": "Clockify key", "verdict": "ok"},)
    )
    note_test(store, HERE, [], NOW)
    assert read_facts(store, HERE).findings == ()
    forget_facts(store, HERE)
    assert read_facts(store, HERE) == SystemFacts()
    assert read_facts(store, THERE) == SystemFacts("", "Vega")


def test_the_size_of_the_database(store: Store) -> None:
    """In bytes, of either kind."""
    assert 10_000 < size_of(store) < 1_000_000_000
