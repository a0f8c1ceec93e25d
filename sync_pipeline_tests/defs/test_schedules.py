"""Schedules: the runs they ask for do what they state, and none begins while the last one has not ended."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import DefaultRunLauncher, WorkerStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._utils.schedules import cron_string_iterator

from sync_pipeline.clock import utc_now
from sync_pipeline.defs.schedules import freshness, schedules
from sync_pipeline.hosting import liveness as orphans
from sync_pipeline.hosting.liveness import PROCESS_TAG, name_of, process_tags
from sync_pipeline.hosting.queue import URGENT
from sync_pipeline.mapping.load import load_specs
from sync_pipeline.store.events import close
from sync_pipeline_tests.defs.live import Live
from sync_pipeline_tests.harness import Team, morning
from sync_pipeline_tests.properties.invariants import converged
from sync_pipeline_tests.store.living import grow_old, kill, living

pytestmark = pytest.mark.clock


def turn(on: Live, name: str) -> tuple[list[dg.RunRequest], str]:
    """What a schedule asks for now, or why it skips its turn."""
    schedule = on.defs.resolve_schedule_def(name)
    with dg.build_schedule_context(on.instance, scheduled_execution_time=utc_now()) as context:
        data = schedule.evaluate_tick(context)
    for request in data.run_requests or []:
        assert request.job_name in (None, schedule.job_name)
    requests = [request.with_replaced_attrs(job_name=schedule.job_name) for request in data.run_requests or []]
    return requests, data.skip_message or ""


def test_the_re_scan_finds_what_no_event_reported(us: Team, on: Live) -> None:
    """A recent entry whose event was lost arrives; one from before the recent days waits for the weekly verify."""
    user = us.users()[0]["id"]
    recent, old = us.add_entry(user, morning(2)), us.add_entry(user, morning(15))
    (request,) = turn(on, "rescan_time_entries")[0]
    assert on.execute(request).success
    assert recent["id"] in us.at_snapshots("time_entries")
    assert old["id"] not in us.at_snapshots("time_entries")
    (request,) = turn(on, "weekly_verify_time_entries")[0]
    assert on.execute(request).success
    converged(us)


@pytest.mark.parametrize("plan", ["free", "paid"])
def test_an_invalid_profile_hides_no_schedule(us: Team, tmp_path: Path, plan: str) -> None:
    """Schedules and freshness policies are there all the same: how often a system is asked is known without its profile."""
    profile = tmp_path / "broken.yaml"
    profile.write_text("connector: unheard of\n")
    settings = us.settings(SNAPSHOTS_PROFILE=str(profile), CLOCKIFY_PLAN=plan)
    specs = list(load_specs().values())
    assert all(freshness(spec, settings) for spec in specs)
    found = schedules(specs, settings)
    assert len(found) == 2 * len(specs) + 1
    asking = [schedule.name for schedule in found if schedule.name != "nightly_forget_events"]  # which sends no request
    assert len(asking) == 2 * len(specs)
    assert [s.name for s in found if "Free plan" in str(s.description)] == (asking if plan == "free" else [])


def test_the_re_scan_comes_in_bounded_runs(us: Team, on: Live, now: datetime) -> None:
    """It keeps to SYNC_DAYS_PER_RUN, and its runs do not overlap."""
    us.changes["SYNC_DAYS_PER_RUN"] = "5"
    on.renew()
    requests, _ = turn(on, "rescan_time_entries")
    spans = [
        (request.tags["dagster/asset_partition_range_start"], request.tags["dagster/asset_partition_range_end"])
        for request in requests
    ]
    today = now.date()
    assert len(spans) == 3
    assert (spans[0][0], spans[-1][1]) == (str(today - timedelta(days=6)), str(today + timedelta(days=7)))
    assert len({request.run_key for request in requests}) == 3


@pytest.mark.parametrize("entity", ["locations", "users", "projects"])
def test_the_nightly_pass_reads_a_small_entity_in_full(us: Team, on: Live, entity: str) -> None:
    """One run of its sync job."""
    (request,) = turn(on, f"nightly_{entity}")[0]
    us.forget_stats()
    assert request.job_name == f"sync_{entity}"
    assert on.execute(request).success
    assert us.writes() == {}


def test_the_weekly_verify_repairs(us: Team, on: Live) -> None:
    """Someone's edit at the target is found and corrected."""
    victim = next(iter(us.at_snapshots("users")))
    us.snapshots("PUT", f"/users/{victim}", {"name": "Somebody Else"})
    (request,) = turn(on, "weekly_verify_users")[0]
    assert on.execute(request).success
    assert us.at_snapshots("users")[victim]["name"] != "Somebody Else"
    converged(us)


def test_a_turn_is_skipped_while_the_last_run_has_not_ended(us: Team, on: Live) -> None:
    """The same job is still queued: the schedule reports it and asks for nothing."""
    (request,) = turn(on, "nightly_users")[0]
    queued = on.queue(request)
    requests, said = turn(on, "nightly_users")
    assert requests == []
    assert queued.run_id in said
    assert turn(on, "nightly_projects")[0]
    assert us.users()


@pytest.mark.parametrize("plan", ["paid", "free"])
def test_no_two_begin_together(us: Team, plan: str) -> None:
    """A week of all schedules, minute by minute: they would only wait for each other and for the rate limit."""
    found = schedules(list(load_specs().values()), us.settings(CLOCKIFY_PLAN=plan))
    start = datetime(2026, 11, 1, tzinfo=UTC)
    turns = Counter[datetime]()
    for schedule in found:
        every = cron_string_iterator(start.timestamp(), str(schedule.cron_schedule), "UTC")
        turns.update(takewhile(lambda at: at < start + timedelta(days=7), every))
    assert len(turns) > 30
    assert max(turns.values()) == 1


def test_what_reads_much_leaves_room_for_changes(us: Team, on: Live) -> None:
    """Bulk runs and backfills are limited to fewer than may run; changes come first, and wait for no queued bulk run."""
    queue = on.instance.get_concurrency_config().run_queue_config
    assert queue is not None
    limits = {limit["key"]: limit["limit"] for limit in queue.tag_concurrency_limits}
    assert sum(limits.values()) < queue.max_concurrent_runs
    (rescan,), (night,), (weekly,) = (
        turn(on, n)[0] for n in ("rescan_time_entries", "nightly_users", "weekly_verify_users")
    )
    tags = on.defs.resolve_job_def(str(weekly.job_name)).tags
    assert limits.keys() >= {"dagster/backfill", *(rescan.tags.keys() & night.tags.keys() & tags.keys())}
    on.queue(rescan)
    entry = next(entry for entry in us.entries() if entry["timeInterval"]["end"])
    on.event("TIME_ENTRY_UPDATED", "time_entries", us.change_entry(entry, description="at once"))
    (tick,) = on.drain("time_entries")
    assert tick.requests[0].tags["dagster/priority"] == "10"
    assert us.at_snapshots("time_entries")[entry["id"]]["description"] == "at once"


def test_a_change_overtakes_the_queued_runs_of_a_backfill(us: Team, on: Live) -> None:
    """As Dagster's daemon decides: three runs of a backfill are under way, more have waited for longer, and the change is next."""

    def made(job: str, status: dg.DagsterRunStatus, tags: dict[str, str]) -> str:
        place = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "__repository__")
        job_def, origin = on.defs.resolve_job_def(job), RemoteJobOrigin(place, job)
        run = on.instance.create_run_for_job(job_def, tags=tags, status=status, remote_job_origin=origin)
        return str(run.run_id)

    def next_ones() -> list[str]:
        config = on.instance.get_concurrency_config()
        daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
        return [run.run_id for run in daemon._get_runs_to_dequeue(on.instance, config, None)]

    queued, backfill = dg.DagsterRunStatus.QUEUED, {"dagster/backfill": "abcdefgh"}
    waiting = [made("sync_time_entries", queued, backfill) for _ in range(5)]
    assert next_ones() == waiting[:3]
    for _ in range(3):
        made("sync_time_entries", dg.DagsterRunStatus.STARTED, backfill)
    assert next_ones() == []
    change = made("sync_users", queued, URGENT)
    assert next_ones() == [change]
    assert us.users()


def started(on: Live, job: str, process: str) -> dg.DagsterRun:
    """A run that states it is executed by that process."""
    made = on.instance.create_run_for_job(
        on.defs.resolve_job_def(job), tags={PROCESS_TAG: process}, status=dg.DagsterRunStatus.STARTED
    )
    on.instance.report_engine_event("It has started.", made)
    return made


def health(on: Live, run: dg.DagsterRun) -> WorkerStatus:
    """What Dagster's run monitoring receives about a run."""
    found = on.instance.get_run_by_id(run.run_id)
    assert found is not None
    return on.instance.run_launcher.check_run_worker_health(found).status


def test_a_run_whose_process_has_ended_costs_no_turn(us: Team, on: Live) -> None:
    """Killed while it was going on: Dagster's monitoring is notified, and the schedule asks for the next one."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        name = name_of(process.pid)
    killed = started(on, "sync_users", str(name))
    assert on.instance.run_launcher.supports_check_run_worker_health
    assert health(on, killed) == WorkerStatus.NOT_FOUND
    assert turn(on, "nightly_users")[0]
    assert us.users()


def test_a_run_that_ends_while_it_is_looked_at_has_not_failed(us: Team, on: Live) -> None:
    """It had not ended when the runs were listed, and its process has ended a moment later: it stays a success."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        name = name_of(process.pid)
    run = started(on, "sync_users", str(name))
    process_has_ended = orphans.process_has_ended

    def ends_now(run: dg.DagsterRun) -> bool:
        on.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", run.job_name), run.run_id)
        return process_has_ended(run)

    on.patch.setattr(orphans, "process_has_ended", ends_now)
    assert orphans.close_orphans(on.instance) == 0
    found = on.instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status == dg.DagsterRunStatus.SUCCESS
    assert us.users()


@pytest.mark.outside
def test_a_run_of_another_machine_lives_as_long_as_it_holds_its_lock(us: Team, on: Live) -> None:
    """However long it has written nothing; killed, it costs a turn until it was looked at twice, 20 seconds apart."""
    elsewhere = started(on, "sync_users", "1@1@elsewhere")
    url = us.settings().store_url
    with living(url, elsewhere.run_id) as process:
        grow_old(url)
        assert health(on, elsewhere) == WorkerStatus.RUNNING
        grow_old(url)
        assert health(on, elsewhere) == WorkerStatus.RUNNING
        assert turn(on, "nightly_users")[0] == []
        kill(process, url, elsewhere.run_id)
    assert turn(on, "nightly_users")[0] == []
    grow_old(url, seconds=19)
    assert health(on, elsewhere) == WorkerStatus.RUNNING
    grow_old(url, seconds=1)
    assert health(on, elsewhere) == WorkerStatus.NOT_FOUND
    assert turn(on, "nightly_users")[0]


def test_a_run_of_a_version_without_locks_is_believed_for_a_day(us: Team, on: Live) -> None:
    """On another machine no one can see whether it lives; here its process shows it."""
    elsewhere = started(on, "sync_users", "1@1@elsewhere")
    url = us.settings().store_url
    assert health(on, elsewhere) == WorkerStatus.RUNNING
    grow_old(url, seconds=86_300)
    assert turn(on, "nightly_users")[0] == []
    grow_old(url, seconds=100)
    assert turn(on, "nightly_users")[0]


def test_a_run_that_another_launcher_starts_is_left_to_dagster(us: Team, on: Live) -> None:
    """Repeated, it names the process of the killed one; its pod may take minutes to start. Ours clear that name."""
    job, url = on.defs.resolve_job_def("sync_users"), us.settings().store_url
    tags = process_tags("1@1@elsewhere")
    on.instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTING)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dg.DagsterInstance, "run_launcher", DefaultRunLauncher())
        for _ in range(3):
            assert orphans.close_orphans(on.instance) == 0
            grow_old(url, seconds=200)
    assert orphans.close_orphans(on.instance) == 0
    grow_old(url, seconds=200)
    assert orphans.close_orphans(on.instance) == 1


def test_a_queued_run_is_not_looked_at(us: Team, on: Live) -> None:
    """It has no process yet, and may wait for days."""
    queued = on.queue(dg.RunRequest(run_key="q", job_name="sync_users", tags={PROCESS_TAG: "1@1@elsewhere"}))
    assert orphans.close_orphans(on.instance) == 0
    grow_old(us.settings().store_url, seconds=200_000)
    assert orphans.close_orphans(on.instance) == 0
    assert turn(on, "nightly_users")[1].startswith(f"run {queued.run_id} of sync_users has not ended")


def test_what_was_closed_long_ago_is_forgotten(us: Team, on: Live, now: datetime) -> None:
    """Bodies hold personal data: the night's run deletes those of old events, and no others."""
    long_ago = now - timedelta(days=31)
    on.event("USER_UPDATED", "users", {"id": "old"})
    on.event("USER_UPDATED", "users", {"id": "recent"})
    with us.session() as session:
        old, recent = (event.id for event in session.ledger("users").events.open_events(10))
        close(session.store, [old], "run", long_ago)
        close(session.store, [recent], "run", session.now())
    (request,) = turn(on, "nightly_forget_events")[0]

    assert on.execute(request).success

    assert on.inbox("users").closed == 1
    assert us.users()
