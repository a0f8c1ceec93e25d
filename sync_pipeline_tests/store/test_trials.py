"""Trials: what was tried, how far it got, and what is kept of it."""

from __future__ import annotations

from sync_pipeline.store.engine import Store
from sync_pipeline.store.trials import begin_trial, end_trial, last_trial, note_progress, trial_of
from sync_pipeline_tests.store.batch import HERE, THERE, at

REPORT = {"entities": {"users": {"total": 3}}, "checks": []}


def test_a_trial_from_its_beginning_to_its_end(store: Store) -> None:
    """Under way it has no outcome but shows what was found so far; at its end it has both."""
    trial = begin_trial(store, HERE, "f1", "dry_run", "ann", at(1))
    stored = trial_of(store, trial)
    assert stored is not None
    assert (stored.outcome, stored.finished_at, stored.report) == (None, None, {})
    assert (stored.fingerprint, stored.kind, stored.by, stored.begun_at) == ("f1", "dry_run", "ann", at(1))
    note_progress(store, trial, {"doing": "users"})
    assert (seen := trial_of(store, trial)) is not None
    assert (seen.outcome, seen.report) == (None, {"doing": "users"})
    end_trial(store, trial, REPORT, at(2), "passed")
    assert (ended := trial_of(store, trial)) is not None
    assert (ended.outcome, ended.finished_at, ended.report) == ("passed", at(2), REPORT)


def test_the_newest_of_a_configuration(store: Store) -> None:
    """By connection, by fingerprint, by kind; None where nothing was tried."""
    first = begin_trial(store, HERE, "f1", "dry_run", "ann", at(1))
    second = begin_trial(store, HERE, "f1", "sandbox", "ann", at(2))
    third = begin_trial(store, HERE, "f2", "sandbox", "bob", at(3))
    begin_trial(store, THERE, "f3", "sandbox", "bob", at(4))

    def newest(fingerprint: str | None = None, kind: str | None = None) -> int | None:
        found = last_trial(store, HERE, fingerprint, kind)  # type: ignore[arg-type]
        return None if found is None else found.id

    assert newest() == third
    assert newest("f1") == second
    assert newest("f1", "dry_run") == first
    assert newest("f3") is newest("f2", "dry_run") is None


def test_of_earlier_trials_only_the_outcome_is_kept(store: Store) -> None:
    """Their reports hold records; another connection's trial keeps its own."""
    trials = [begin_trial(store, connection, "f1", "dry_run", "ann", at(1)) for connection in (HERE, THERE)]
    for trial in trials:
        end_trial(store, trial, REPORT, at(2), "failed")
    begin_trial(store, HERE, "f2", "dry_run", "ann", at(3))
    here, there = (trial_of(store, trial) for trial in trials)
    assert here is not None
    assert there is not None
    assert (here.outcome, here.report) == ("failed", {})
    assert there.report == REPORT
    assert trial_of(store, 10_000) is None
