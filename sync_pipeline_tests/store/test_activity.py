"""Runs and changes of the set-up in one list: its order, its pages, its filters, and one run."""

from __future__ import annotations

import pytest

from sync_pipeline.store.activity import Activity, ActivityFilter, activity, run_of
from sync_pipeline.store.audit import note
from sync_pipeline.store.engine import Store
from sync_pipeline.store.ledger import Ledger
from sync_pipeline.store.schema import syncs
from sync_pipeline.store.syncs import SyncOutcome
from sync_pipeline_tests.store.batch import HERE, THERE, at

RUNS = ("time_entries", "users")


def sync(
    store: Store, entity: str, hour: int, run_id: str | None, outcome: SyncOutcome | None = "success", **counts: int
) -> int:
    """One sync, with its figures."""
    kept = Ledger(store, HERE, entity).syncs
    number = kept.begin(observed_at=at(hour), at=at(hour), run_id=run_id)
    if outcome is not None:
        reason = "It is away. Try again." if outcome == "failed" else ""
        kept.finish(number, outcome, counts, 3, at(hour + 1), reason)
    return number


def ids(found: Activity) -> list[str]:
    """What is on a page, in its order; how many runs a line covers is next to its id."""
    return [
        (entry.run.id + (f" x{entry.times}" if entry.times > 1 else "")) if entry.run else entry.change.what  # type: ignore[union-attr]  # one of the two
        for entry in found.entries
    ]


def test_runs_and_changes_are_one_list(store: Store) -> None:
    """Newest first; the syncs of a run are one line with the worst outcome and the figures of all."""
    sync(store, "users", 1, "r1", created=2, extracted=5)
    note(store, "Ana", "live on", "on", at(2))
    sync(store, "users", 3, "r2", updated=1)
    sync(store, "time_entries", 3, "r2", "failed", created=4, rejected=1)
    note(store, "Ana", "live off", "off", at(9))
    found = activity(store, HERE, ActivityFilter())
    assert (ids(found), found.before) == (["live off", "r2", "live on", "r1"], "")
    run = found.entries[1].run
    assert run is not None
    assert (run.outcome, run.written, run.counts["rejected"], run.requests) == ("failed", 5, 1, 6)
    assert (run.entities, run.reasons) == (("users", "time_entries"), ("time_entries: It is away. Try again.",))
    assert (run.begun_at, run.finished_at) == (at(3), at(4))
    assert ids(activity(store, THERE, ActivityFilter())) == ["live off", "live on"]


def test_runs_that_changed_nothing_are_one_line(store: Store) -> None:
    """Those in a row, however many, over the pages, too; with the time of the oldest, and each of their entities."""
    quiet = {"connection": HERE, "outcome": "success", "counts": '{"extracted": 7}'}
    times = [{name: at(hour) for name in ("observed_at", "begun_at", "finished_at")} for hour in range(450)]
    rows = [{**quiet, **time, "entity": RUNS[nr % 2], "run_id": f"quiet-{nr}"} for nr, time in enumerate(times)]
    with store.writing() as tx:
        tx.execute(syncs.insert(), rows)
    sync(store, "users", 500, "loud", created=1)
    sync(store, "users", 501, "late")
    found = activity(store, HERE, ActivityFilter(), limit=2)
    assert (ids(found), bool(found.before)) == (["late", "loud"], True)
    (entry,) = activity(store, HERE, ActivityFilter(), before=found.before, limit=2).entries
    assert (entry.times, entry.first_at, set(entry.entities)) == (450, at(0), set(RUNS))


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_have_each_line_once(store: Store, limit: int) -> None:
    """Whatever their length, also of runs whose syncs began between those of others."""
    sync(store, "users", 1, "r1", created=1)
    for hour in range(2, 8):
        sync(store, "users", hour, f"a{hour}", created=1)
        note(store, "Ana", f"c{hour}", "x", at(hour))
    sync(store, "time_entries", 8, "r1", created=1)
    sync(store, "users", 9, None, updated=1)
    found, before = [], ""
    while True:
        page = activity(store, HERE, ActivityFilter(), before=before, limit=limit)
        found += ids(page)
        before = page.before
        if not before:
            break
    assert len(found) == len(set(found)) == 14
    assert {"r1", "a2", "a7", "c2", "c7"} < set(found)


def test_filters(store: Store) -> None:
    """By entity, outcome, kind and time, and with changes only; a run is shown whole when one of its syncs fits."""
    sync(store, "users", 1, "r1", created=1)
    sync(store, "time_entries", 1, "r1")
    sync(store, "users", 5, "r2", "failed")
    note(store, "Ana", "retry", "x", at(6))
    sync(store, "users", 7, "r3")
    wanted = {
        ("r1",): ActivityFilter(entity="time_entries"),
        ("r2",): ActivityFilter(outcome="failed"),
        ("retry",): ActivityFilter(kind="change"),
        ("r3", "r2", "r1"): ActivityFilter(kind="run"),
        ("r3", "retry"): ActivityFilter(since=at(6)),
        ("r2", "r1"): ActivityFilter(until=at(6)),
        ("retry", "r2", "r1"): ActivityFilter(with_changes=True),
    }
    assert {names: tuple(ids(activity(store, HERE, one))) for names, one in wanted.items()} == {
        names: names for names in wanted
    }
    (entry,) = activity(store, HERE, ActivityFilter(entity="time_entries")).entries
    assert entry.entities == ("users", "time_entries")


@pytest.mark.parametrize(
    ("counts", "reason", "ended"),
    [
        ({"extracted": 1, "updated": 1}, "", "targeted"),
        ({"extracted": 1, "waiting": 1}, "", "incomplete"),
        ({"extracted": 1, "held": 1}, "", "held"),
        ({"extracted": 1, "waiting": 1}, "The key was revoked.", "failed"),
        ({}, "It was interrupted.", "failed"),
    ],
)
def test_a_sync_of_single_records_ends_as_its_work_did(
    store: Store, counts: dict[str, int], reason: str, ended: str
) -> None:
    """Only one that left nothing to do is a success; it is found under the outcome that it is shown with."""
    kept = Ledger(store, HERE, "users").syncs
    number = kept.begin(observed_at=at(1), at=at(1), run_id="r1", targeted=True)
    assert [entry.run.outcome for entry in activity(store, HERE, ActivityFilter()).entries if entry.run] == ["running"]
    kept.finish(number, "targeted", counts, 3, at(2), reason)
    (entry,) = activity(store, HERE, ActivityFilter(outcome=ended)).entries
    assert entry.run is not None
    assert (entry.run.outcome, entry.run.syncs[0].ended) == (ended, ended)
    assert entry.run.is_uneventful is False or ended == "targeted"
    assert not activity(store, HERE, ActivityFilter(outcome="success")).entries


def test_one_run(store: Store) -> None:
    """By Dagster's id, or by the number of a sync outside of it; nothing of another pair, and no error for nonsense."""
    sync(store, "users", 1, "r1")
    number = sync(store, "users", 2, None, None)
    run, other = run_of(store, HERE, "r1"), run_of(store, HERE, f"sync-{number}")
    assert run is not None
    assert other is not None
    assert (run.outcome, other.outcome, other.finished_at) == ("success", "running", None)
    for nothing in ("r9", "sync-x", "sync-", f"sync-{number + 1}", "sync-" + "9" * 40):
        assert run_of(store, HERE, nothing) is None
    assert run_of(store, THERE, "r1") is None
    assert activity(store, HERE, ActivityFilter(), before="nonsense").entries
