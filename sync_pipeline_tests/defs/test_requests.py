"""Requests: what was asked for in the console becomes runs, and their outcome is in the request."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from sync_pipeline.defs import resources
from sync_pipeline.defs.assets import daily
from sync_pipeline.defs.requests import NAME
from sync_pipeline.errors import Cancelled
from sync_pipeline.hosting.backfill import PAUSED_TAG, pause, resume
from sync_pipeline.hosting.run_tags import REQUESTED_BY_TAG, TRIGGER_TAG
from sync_pipeline.session import following
from sync_pipeline.session.following import Follower
from sync_pipeline.session.progress import Progress, silent
from sync_pipeline.stages.batch import Days
from sync_pipeline.store.requests import WorkRequest, WorkScope, ask, ask_cancel, note_runs, request_of, set_paused
from sync_pipeline.store.syncs import by_run
from sync_pipeline_tests.defs.live import Live, live
from sync_pipeline_tests.harness import Team, morning
from sync_pipeline_tests.properties.invariants import converged
from sync_pipeline_tests.scenarios.commands import wait_until

pytestmark = pytest.mark.clock


class Asked:
    """One request of the team, from the side of the person who asked."""

    def __init__(self, us: Team, kind: Any, **scope: Any) -> None:
        self._us = us
        with us.session() as session:
            self.number = ask(session.store, session.pair, kind, WorkScope(**scope), "Ana")[0].id

    @property
    def now(self) -> WorkRequest:
        """The current request."""
        with self._us.session() as session:
            found = request_of(session.store, self.number)
        assert found is not None
        return found

    def cancel(self) -> None:
        """Ask for its end."""
        with self._us.session() as session:
            assert ask_cancel(session.store, session.pair, self.number, "Ben")


def work_off(on: Live, most: int = 12) -> list[str]:
    """Tick until nothing more is asked for; returns the jobs that were started, in order."""
    jobs: list[str] = []
    for _ in range(most):
        tick = on.tick(NAME)
        jobs += tick.jobs
        if not tick.requests:
            return jobs
    raise AssertionError("it does not end")


def test_sync_now_syncs_everything_in_dependency_order(us: Team, on: Live) -> None:
    """Each entity once, days in bounded runs; then the request is done, with the figures of each run."""
    project = us.clockify("POST", "/projects", {"name": "Brand new"})
    us.add_entry(us.users()[0]["id"], morning(1), projectId=project["id"])
    asked = Asked(us, "sync")
    jobs = work_off(on)
    assert jobs.index("sync_projects") < jobs.index("sync_time_entries")
    assert set(jobs) == {"sync_locations", "sync_users", "sync_projects", "sync_time_entries"}
    found = asked.now
    assert (found.outcome, found.reason, len(found.runs)) == ("done", "", len(jobs))
    assert sum(figures["created"] for figures in found.result.values()) == 2
    runs = [on.instance.get_run_by_id(run_id) for run_id in found.runs]
    tags = [(run.tags[TRIGGER_TAG], run.tags[REQUESTED_BY_TAG]) for run in runs if run is not None]
    with us.session() as session:
        stored = [(sync.trigger, sync.requested_by) for sync in by_run(session.store, found.runs)]
    assert set(tags) == set(stored) == {("console", "Ana")}
    converged(us)
    assert work_off(on) == []


def test_the_same_run_is_not_asked_for_twice(us: Team, on: Live) -> None:
    """A daemon that was killed between its steps asks again, by the same key; a run that is there is waited for."""
    asked = Asked(us, "sync", entity="users")
    first, again = on.look(NAME), on.look(NAME)
    assert [one.run_key for one in first.requests] == [one.run_key for one in again.requests]
    run = on.queue(first.requests[0])
    assert on.look(NAME).requests == []
    assert (asked.now.runs, asked.now.outcome) == ((run.run_id,), None)


def test_a_run_that_was_killed_ends_its_request(us: Team, on: Live) -> None:
    """Failed with its reason, never running forever; what depends on it is named as not tried."""
    asked = Asked(us, "sync")
    for request in on.look(NAME).requests:
        on.instance.report_run_failed(on.queue(request), "The process of this run ended without reporting a result.")
    assert on.look(NAME).requests == []
    found = asked.now
    assert found.outcome == "failed"
    assert "ended without reporting a result" in found.reason
    assert found.reason.endswith("Not tried after this: time_entries.")


def test_a_failure_has_the_words_of_the_run(us: Team, on: Live) -> None:
    """What the API answered, and how to fix it."""
    us.fault("status", "GET */users*", status=401)
    asked = Asked(us, "sync", entity="users")
    work_off(on)
    assert asked.now.outcome == "failed"
    assert "CLOCKIFY_API_KEY" in asked.now.reason


def test_verify_keeps_the_differences(us: Team, on: Live) -> None:
    """With both values; repair delivers them; asked for again, nothing differs."""
    entry = us.entries()[0]
    us.snapshots("PUT", f"/time_entries/{entry['id']}", {"description": "changed by someone else"})
    asked = Asked(us, "verify", entity="time_entries")
    assert work_off(on) == ["verify_time_entries"]
    assert asked.now.outcome == "differs"
    (figures,) = asked.now.result.values()
    assert figures["different"] == 1
    assert [(one["record"], one["field"]) for one in figures["differences"]] == [(entry["id"], "description")]
    repaired = Asked(us, "repair", entity="time_entries")
    work_off(on)
    assert repaired.now.outcome == "done"
    converged(us)
    again = Asked(us, "verify")
    assert sorted(work_off(on)) == ["verify_locations", "verify_projects", "verify_time_entries", "verify_users"]
    assert again.now.outcome == "done"


def test_one_record_is_synced_by_id(us: Team, on: Live) -> None:
    """One read, one write."""
    entry = us.change_entry(us.entries()[0], description="edited")
    us.forget_stats()
    asked = Asked(us, "sync_record", entity="time_entries", ids=(entry["id"],))
    assert work_off(on) == ["changes_time_entries"]
    assert us.writes() == {"time_entries": 1}
    assert asked.now.outcome == "done"


def test_what_is_held_is_not_done(us: Team, on: Live) -> None:
    """It waits for an approval, as everywhere."""
    for project in us.projects()[:4]:
        us.delete_project(project["id"])
    for entry in us.entries():
        us.clockify("DELETE", f"/time-entries/{entry['id']}")
    asked = Asked(us, "sync", entity="time_entries")
    work_off(on)
    assert asked.now.outcome == "held"
    assert "approval" in asked.now.reason


def test_where_nothing_may_be_written_nothing_is_sent(
    us: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request reports it instead of ending green; a comparison may read."""
    with live(us, tmp_path / "dry", monkeypatch, SYNC_MODE="dry_run") as on:
        asked, read = Asked(us, "sync", entity="users"), Asked(us, "verify", entity="users")
        assert work_off(on) == ["verify_users"]
    assert asked.now.outcome == "failed"
    assert "SYNC_MODE is dry_run" in asked.now.reason
    assert read.now.outcome == "done"


def test_a_queued_run_is_cancelled_with_its_request(us: Team, on: Live) -> None:
    """It never starts."""
    asked = Asked(us, "sync", entity="users")
    run = on.queue(on.look(NAME).requests[0])
    asked.cancel()
    on.look(NAME)
    ended = on.instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status == dg.DagsterRunStatus.CANCELED
    assert (asked.now.outcome, asked.now.cancel_by) == ("cancelled", "Ben")


def test_a_run_that_starts_after_a_cancel_sends_nothing(us: Team, on: Live) -> None:
    """It ends as cancelled in Dagster, too; nothing is green."""
    asked = Asked(us, "sync", entity="users")
    (request,) = on.look(NAME).requests
    asked.cancel()
    us.forget_stats()
    on.execute(request)
    assert us.requests() == {}, "nothing was even read"
    (run,) = on.instance.get_runs()
    assert run.status == dg.DagsterRunStatus.CANCELED
    on.look(NAME)
    assert asked.now.outcome == "cancelled"


def test_a_cancel_is_noticed_by_another_look(us: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster's storage is busy in the moment in which the run is to be shown as canceled."""
    asked = Asked(us, "sync", entity="users")
    noticed: list[str] = []

    def show() -> None:
        noticed.append("canceling")
        if len(noticed) == 1:
            raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)
    follower = Follower(asked.now.tag, "run", silent, show)
    with us.session() as session, follower.following(session.store):
        asked.cancel()
        wait_until(lambda: len(noticed) == 2)
    with pytest.raises(Cancelled):
        follower.check(ask=False)


def test_a_cancel_between_requests_ends_the_run(us: Team, on: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster shows it as canceled, the sync as cancelled; nothing is green, and the next sync delivers everything."""
    for number in range(3):
        us.clockify("POST", "/projects", {"name": f"New {number}"})
    asked = Asked(us, "sync", entity="projects")

    class Impatient(Follower):
        def report(self, progress: Progress) -> None:
            super().report(progress)
            if progress.stage == "extract" and self._store is not None:
                asked.cancel()
                self._look(self._store)  # as its thread does each second

    monkeypatch.setattr(resources, "Follower", Impatient)
    (tick,) = [on.tick(NAME)]
    (run,) = on.instance.get_runs()
    assert (tick.jobs, run.status) == (["sync_projects"], dg.DagsterRunStatus.CANCELED)
    assert not tick.runs[0].get_asset_materialization_events()
    assert asked.now.outcome is None
    on.look(NAME)
    found = asked.now
    assert (found.outcome, found.cancel_by, found.result) == ("cancelled", "Ben", {})
    with us.session() as session:
        assert [sync.outcome for sync in by_run(session.store, [run.run_id])] == ["cancelled"]
    us.sync("projects")
    converged(us)


def test_a_backfill_is_dagsters_own(us: Team, on: Live) -> None:
    """Asked for once; its days are the progress; a cancel reaches it."""
    keys = us.days.keys
    asked = Asked(us, "backfill", entity="time_entries", first=keys[0], last=keys[1])
    for _ in range(2):
        assert on.look(NAME).requests == []
    (chain,) = asked.now.runs
    assert asked.now.progress["total"] == len(list(us.days))
    assert on.instance.get_backfill(chain) is not None
    asked.cancel()
    on.look(NAME)
    found = on.instance.get_backfill(chain)
    assert found is not None
    assert found.status.value == "CANCELING"
    assert asked.now.outcome is None
    on.instance.update_backfill(found._replace(status=type(found.status)["CANCELED"]))
    on.look(NAME)
    assert asked.now.outcome == "cancelled"


def test_a_paused_backfill_is_resumed_by_its_request(us: Team, on: Live) -> None:
    """Dagster stops it, and the request stays open; resumed, the days that are left are asked for under the same request."""
    asked = Asked(us, "backfill", entity="time_entries", first=us.days.keys[0], last=us.days.keys[1])

    def set_to(by: str | None) -> None:
        with us.session() as session:
            assert set_paused(session.store, session.pair, asked.number, by)
        on.tick(NAME)

    on.tick(NAME)
    (first,) = asked.now.runs
    set_to("Ben")
    backfill = on.instance.get_backfill(first)
    assert backfill is not None
    assert backfill.status == BulkActionStatus.CANCELING
    on.instance.update_backfill(backfill._replace(status=BulkActionStatus.CANCELED))
    us.sync("time_entries", days=Days(us.days.first, us.days.first))
    on.tick(NAME)
    assert asked.now.is_open
    assert list(asked.now.runs) == [first]
    set_to(None)
    newest, before = asked.now.runs
    assert before == first
    assert (asked.now.progress["done"], asked.now.progress["total"]) == (1, 28)
    set_to("Ben")
    asked.cancel()
    on.tick(NAME)
    backfill = on.instance.get_backfill(newest)
    assert backfill is not None
    assert backfill.status == BulkActionStatus.CANCELING
    assert backfill.tags.keys().isdisjoint({PAUSED_TAG})
    on.instance.update_backfill(backfill._replace(status=BulkActionStatus.CANCELED))
    on.tick(NAME)
    assert asked.now.outcome == "cancelled"


def test_a_backfill_that_a_command_resumes_stays_with_its_request(us: Team, on: Live) -> None:
    """`sync-pipeline backfills resume` asks for the days that are left; the request continues with those."""
    asked = Asked(us, "backfill", entity="time_entries", first=us.days.keys[0], last=us.days.keys[1])
    on.tick(NAME)
    (first,) = asked.now.runs
    with us.session() as session:
        assert set_paused(session.store, session.pair, asked.number, "Ben")
        pause(on.instance, first, "Ben")
        backfill = on.instance.get_backfill(first)
        assert backfill is not None
        on.instance.update_backfill(backfill._replace(status=BulkActionStatus.CANCELED))
        chain = resume(on.instance, session, daily(session.settings), first, session.now(), "Ben")
        assert set_paused(session.store, session.pair, asked.number, None)
    on.tick(NAME)
    assert asked.now.is_open
    assert list(asked.now.runs) == chain
    assert chain[1:] == [first]


def test_a_backfill_that_was_asked_for_but_not_noted_is_cancelled_with_its_request(us: Team, on: Live) -> None:
    """The daemon was killed in between."""
    asked = Asked(us, "backfill", entity="time_entries", first=us.days.keys[0], last=us.days.keys[1])
    on.tick(NAME)
    (first,) = asked.now.runs
    with us.session() as session:
        note_runs(session.store, asked.number, ())
    on.tick(NAME)
    assert asked.now.runs == (first,)
    with us.session() as session:
        note_runs(session.store, asked.number, ())
    asked.cancel()
    on.tick(NAME)
    assert asked.now.outcome is None
    backfill = on.instance.get_backfill(first)
    assert backfill is not None
    assert backfill.status == BulkActionStatus.CANCELING


def test_an_entity_that_was_switched_off_ends_its_request(us: Team, on: Live) -> None:
    """With the reason."""
    asked = Asked(us, "sync", entity="users")
    us.changes["SYNC_ENTITIES"] = "locations"
    on.renew()
    assert on.look(NAME).requests == []
    us.changes.pop("SYNC_ENTITIES")
    assert asked.now.outcome == "failed"
    assert "switched off" in asked.now.reason
