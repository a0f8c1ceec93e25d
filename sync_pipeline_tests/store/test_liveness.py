"""A run is alive for as long as it holds its lock; it is dead when no one held it twice, 20 seconds apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import insert, update

from sync_pipeline.errors import LockLost, StoreError
from sync_pipeline.store import liveness
from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.liveness import alive, is_dead, is_locked
from sync_pipeline.store.schema import run_locks
from sync_pipeline_tests.store.batch import at, content, size
from sync_pipeline_tests.store.conftest import Server, end_locks
from sync_pipeline_tests.store.living import grow_old, kill, living

RUN = "5a1f"


def test_a_run_that_works_is_alive_however_long(url: str, store: Store) -> None:
    """No one who looks disturbs it, and looks that found it alive are no steps to a verdict."""
    with alive(store, RUN):
        for _ in range(3):
            grow_old(url)
            assert not is_dead(store, RUN)
            store.check_locks()
    assert not is_locked(store, RUN)


def test_a_killed_run_is_dead_after_two_looks(url: str, store: Store) -> None:
    """`kill -9`: the first look notes it, one 19 seconds later decides nothing, one 20 seconds later has the verdict."""
    with living(url, RUN) as process:
        grow_old(url, seconds=60)
        assert not is_dead(store, RUN)
        kill(process, url, RUN)
    assert not is_dead(store, RUN)
    grow_old(url, seconds=19)
    assert not is_dead(store, RUN)
    grow_old(url, seconds=1)
    assert is_dead(store, RUN)
    assert is_dead(store, RUN)


def test_a_run_that_was_seen_alive_in_between_is_looked_at_anew(url: str, store: Store) -> None:
    """Its connection was lost for a moment: the look before that does not count."""
    with alive(store, RUN):
        pass
    assert not is_dead(store, RUN)
    with alive(store, RUN):
        grow_old(url)
        assert not is_dead(store, RUN)
    grow_old(url)
    assert not is_dead(store, RUN)


def test_a_young_run_is_not_dead(url: str, store: Store) -> None:
    """Whatever was seen: within 30 seconds after its start nothing is concluded."""
    with living(url, RUN) as process:
        kill(process, url, RUN)
    assert not is_dead(store, RUN)
    grow_old(url, seconds=29)
    assert not is_dead(store, RUN)
    grow_old(url, seconds=1)
    assert is_dead(store, RUN)


def test_a_run_that_ends_in_good_order_leaves_nothing(tmp_path: Path) -> None:
    """No row, and no file next to SQLite."""
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    with alive(store, RUN):
        assert (size(store, run_locks), len(list(tmp_path.glob("*.run-*.lock")))) == (1, 1)
    assert (size(store, run_locks), len(list(tmp_path.glob("*.run-*.lock")))) == (0, 0)
    store.close()


def test_a_run_that_cannot_be_noted_keeps_no_lock(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database refuses its row: the run does not begin, and its connection is closed."""

    def refuse(*_: object) -> None:
        raise StoreError("no room")

    monkeypatch.setattr(liveness, "_remove_before", refuse)
    with pytest.raises(StoreError, match="no room"), alive(store, RUN):
        pytest.fail("it has not started")
    assert not is_locked(store, RUN)


def test_what_killed_runs_left_is_removed_by_age(url: str, store: Store, tmp_path: Path) -> None:
    """Rows and files do not pile up."""
    with living(url, RUN) as process:
        kill(process, url, RUN)
    grow_old(url, seconds=31 * 86_400)
    with alive(store, "another"):
        assert [found[0] for found in content(store, run_locks)] == ["another"]
    assert not list(tmp_path.glob("*.run-*.lock"))


def test_a_lost_connection_is_made_good(postgres: Server) -> None:
    """The run takes its lock again and continues; a look in between has no consequence."""
    url = postgres.emptied()
    store, other = open_store(url), open_store(url)
    with alive(store, RUN):
        end_locks(url)
        assert not is_dead(other, RUN)
        store.check_locks()
        assert is_locked(other, RUN)
        grow_old(url)
        assert not is_dead(other, RUN)
        store.check_locks()
    store.close()
    other.close()


def test_a_run_that_was_declared_dead_ends(postgres: Server) -> None:
    """It lost its connection and someone came to the verdict first: it writes nothing more, and reads nothing either."""
    url = postgres.emptied()
    store = open_store(url)
    with alive(store, RUN):
        with store.writing() as tx:
            tx.execute(update(run_locks).values(dead_at=at(1)))
        end_locks(url)
        with pytest.raises(LockLost, match="the lock of the run 5a1f"):
            store.check_locks()
        with pytest.raises(LockLost):
            store.check_locks(ask=False)
        assert not is_locked(store, RUN)
    store.close()


def test_a_lock_that_cannot_be_had_again_in_time_ends_the_run(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 15 seconds others may come to a verdict."""
    url = postgres.emptied()
    store = open_store(url)
    with alive(store, RUN):
        monkeypatch.setattr(liveness, "RETAKE_SECONDS", 0.0)
        end_locks(url)
        with pytest.raises(LockLost):
            store.check_locks()
    store.close()


def test_a_run_of_a_version_without_locks_is_believed_for_a_day(url: str, store: Store) -> None:
    """It was started by a version before there were locks."""
    assert not is_dead(store, RUN, takes_lock=False)
    grow_old(url, seconds=86_399)
    assert not is_dead(store, RUN, takes_lock=False)
    grow_old(url, seconds=1)
    assert is_dead(store, RUN, takes_lock=False)


def test_a_run_that_was_killed_before_it_took_its_lock_is_dead_30_seconds_later(url: str, store: Store) -> None:
    """It had not opened the store yet; while it may still be starting, nothing is concluded."""
    assert not is_dead(store, RUN)
    grow_old(url, seconds=29)
    assert not is_dead(store, RUN)
    grow_old(url, seconds=1)
    assert is_dead(store, RUN)


def test_a_look_from_before_the_clock_was_set_back_is_made_anew(url: str, store: Store) -> None:
    """Otherwise a dead run would be waited for until the clock has caught up - or declared dead on one look."""
    with living(url, RUN) as process:
        kill(process, url, RUN)
    assert not is_dead(store, RUN)
    grow_old(url, seconds=-7200)
    assert not is_dead(store, RUN)
    grow_old(url, seconds=20)
    assert is_dead(store, RUN)


def test_a_verdict_needs_the_row_unchanged_since_it_was_read(postgres: Server) -> None:
    """Between look and verdict the run has taken its lock again: it is alive."""
    url = postgres.emptied()
    store = open_store(url)
    with store.writing() as tx:
        tx.execute(insert(run_locks).values(run_id=RUN, started_at=at(1), free_at=at(1)))
    with alive(store, RUN):
        assert not is_dead(store, RUN)
    store.close()
