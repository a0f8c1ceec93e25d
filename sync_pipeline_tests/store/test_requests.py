"""Requests: asked for once, taken once, ended once, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from sync_pipeline.errors import ConfigError
from sync_pipeline.store.engine import Store
from sync_pipeline.store.requests import (
    MOST_IDS,
    WorkScope,
    ask,
    ask_cancel,
    finish,
    is_cancelled,
    note_progress,
    note_result,
    note_runs,
    open_requests,
    recent_requests,
    request_of,
    take,
)
from sync_pipeline.store.retention import prune
from sync_pipeline_tests.store.batch import HERE
from sync_pipeline_tests.store.test_retention import AGES

USERS = WorkScope("users")


def test_the_same_is_asked_for_once_at_a_time(store: Store) -> None:
    """Pressing twice is one request; another scope, kind or pair is another; once it has ended, it can be asked again."""
    first, is_new = ask(store, HERE, "sync", USERS, "Ana")
    assert is_new
    assert ask(store, HERE, "sync", USERS, "Ben") == (first, False)
    others = [ask(store, HERE, "verify", USERS, "Ana"), ask(store, HERE, "sync", WorkScope(), "Ana")]
    others.append(ask(store, "elsewhere", "sync", USERS, "Ana"))
    assert [new for _, new in others] == [True, True, True]
    finish(store, first.id, "done")
    again, is_new = ask(store, HERE, "sync", USERS, "Ana")
    assert is_new
    assert again.id > first.id
    assert first.tag != again.tag
    assert [one.id for one in recent_requests(store, HERE, 2)] == [again.id, others[1][0].id]
    assert [one.id for one in recent_requests(store, HERE, 9, before=others[0][0].id)] == [first.id]


def test_two_who_press_at_the_same_moment_share_a_request(store: Store) -> None:
    """A second caller gets the request of the first."""
    with ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(lambda n: ask(store, HERE, "sync", USERS, f"person {n}"), range(16)))
    assert len({request.id for request, _ in asked}) == 1
    assert sum(new for _, new in asked) == 1


def test_what_a_run_reports_is_kept_until_the_end(store: Store) -> None:
    """Progress, runs and figures; progress ends with the request, and the first end counts."""
    number = ask(store, HERE, "sync", WorkScope("time_entries", "2026-01-01", "2026-01-31", ("a",)), "Ana")[0].id
    assert take(store, number)
    note_runs(store, number, ("run-1", "run-2"))
    note_progress(store, number, {"entity": "users", "stage": "read", "done": 7})
    note_result(store, number, "run-1:users", {"created": 1})
    note_result(store, number, "run-2:users", {"created": 2})
    found = request_of(store, number, HERE)
    assert found is not None
    assert found.scope == WorkScope("time_entries", "2026-01-01", "2026-01-31", ("a",))
    assert (found.runs, found.progress["done"]) == (("run-1", "run-2"), 7)
    assert found.result == {"run-1:users": {"created": 1}, "run-2:users": {"created": 2}}
    finish(store, number, "failed", "x" * 5000)
    finish(store, number, "done")
    note_progress(store, number, {"stage": "late"})
    found = request_of(store, number)
    assert found is not None
    assert (found.outcome, len(found.reason), found.progress) == ("failed", 2000, {})
    assert request_of(store, number, "elsewhere") is None
    assert open_requests(store, HERE) == []


def test_a_request_that_waits_is_cancelled_immediately(store: Store) -> None:
    """It is never taken then; who cancelled is noted."""
    number = ask(store, HERE, "sync", USERS, "Ana")[0].id
    assert not ask_cancel(store, "elsewhere", number, "Eve")
    assert ask_cancel(store, HERE, number, "Ben")
    assert not take(store, number)
    found = request_of(store, number)
    assert found is not None
    assert (found.outcome, found.cancel_by) == ("cancelled", "Ben")
    assert not ask_cancel(store, HERE, number, "Cid")


def test_one_that_was_taken_is_cancelled_by_its_run(store: Store) -> None:
    """Until then it is open; without a run to do it, it is ended immediately."""
    number = ask(store, HERE, "sync", USERS, "Ana")[0].id
    assert take(store, number)
    assert not is_cancelled(store, number)
    assert ask_cancel(store, HERE, number, "Ben")
    assert is_cancelled(store, number)
    assert [one.cancel_by for one in open_requests(store, HERE)] == ["Ben"]
    assert not take(store, number)
    assert ask_cancel(store, HERE, number, "Cid", finish_now=True)
    found = request_of(store, number)
    assert found is not None
    assert (found.outcome, found.cancel_by) == ("cancelled", "Ben")


def test_what_has_ended_is_pruned_and_its_number_is_not_given_again(store: Store) -> None:
    """Open requests stay, however old they are."""
    old, present = (ask(store, HERE, "sync", WorkScope(name), "Ana")[0] for name in ("users", "projects"))
    finish(store, old.id, "done")
    prune(store, AGES, old.asked_at + timedelta(days=31))
    assert [one.id for one in recent_requests(store, HERE, 9)] == [present.id]
    finish(store, present.id, "done")
    prune(store, AGES, old.asked_at + timedelta(days=31))
    assert ask(store, HERE, "sync", USERS, "Ana")[0].id > present.id


def test_a_request_is_bounded(store: Store) -> None:
    """So many records, each with an id of bounded length."""
    for ids in (("a",) * (MOST_IDS + 1), ("a" * 201,)):
        with pytest.raises(ConfigError, match="at most"):
            ask(store, HERE, "retry", WorkScope("users", ids=ids), "Ana")
