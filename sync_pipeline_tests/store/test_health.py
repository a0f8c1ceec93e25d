"""How the systems answered last: written when it changes, by the store's own clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sync_pipeline.store.engine import Store
from sync_pipeline.store.health import note_failure, note_ok, read_health
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
