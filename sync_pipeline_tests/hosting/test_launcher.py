"""Runs in forked processes: what is killed is noticed and done again, what is cancelled stops."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing import forkserver

import dagster as dg
import psutil
import pytest
from dagster._core.launcher import LaunchRunContext

from sync_pipeline.definitions import build
from sync_pipeline.hosting.launcher import WarmRunLauncher
from sync_pipeline.hosting.liveness import PROCESS_TAG, process_of
from sync_pipeline.settings import load_settings
from sync_pipeline_tests.defs.live import Live
from sync_pipeline_tests.harness import Json, Team
from sync_pipeline_tests.scenarios.commands import wait_until
from sync_pipeline_tests.store.living import grow_old

BATCH = "POST /snapshots/time_entries/batch"


@pytest.fixture(autouse=True)
def no_server_is_left(on: Live) -> Iterator[None]:
    """The server that forks runs has the environment of the test that started it, and would live as long as this process."""
    yield
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    del on


def changes_job(_home: str) -> dg.JobDefinition:
    """The job of changed entries, as a run's process loads it; Dagster keeps one for each home."""
    return build(load_settings()).resolve_job_def("changes_time_entries")


def launched(us: Team, on: Live) -> tuple[dg.DagsterRun, psutil.Process]:
    """The run an edit asks for, in its process, which waits for the target's answer to its write."""
    edited: Json = next(entry for entry in us.entries() if entry["timeInterval"]["end"])
    on.event("TIME_ENTRY_UPDATED", "time_entries", us.change_entry(edited, description="edited"))
    us.fault("stall", BATCH, seconds=30)
    (request,) = on.tick("time_entries", run=False).requests
    job = dg.build_reconstructable_job(__name__, changes_job.__name__, reconstructable_args=(str(us.home),))
    run = on.instance.create_run_for_job(
        job.get_definition(),
        run_config=request.run_config,
        tags=request.tags,
        status=dg.DagsterRunStatus.STARTING,
        job_code_origin=job.get_python_origin(),
    )
    assert isinstance(on.instance.run_launcher, WarmRunLauncher)
    on.instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
    wait_until(lambda: any(rule["struck"] for rule in us.control("GET", "faults")["faults"]))
    us.no_faults()
    process = process_of(found(on, run).tags[PROCESS_TAG])
    assert process is not None
    return run, process


def found(on: Live, run: dg.DagsterRun) -> dg.DagsterRun:
    """The current run."""
    there = on.instance.get_run_by_id(run.run_id)
    assert there is not None
    return there


def test_a_run_that_is_killed_is_noticed_and_done_again(us: Team, on: Live) -> None:
    """`kill -9` in the middle of a write: the next tick marks the run, keeps the event, and another run answers it."""
    run, process = launched(us, on)
    process.kill()
    process.wait()
    assert found(on, run).status == dg.DagsterRunStatus.STARTED

    on.look("time_entries")

    assert found(on, run).status == dg.DagsterRunStatus.FAILURE
    assert on.inbox("time_entries").open == 1
    on.retry_policy(0)
    (again,) = on.drain("time_entries")
    assert again.runs[0].success
    assert "edited" in {entry["description"] for entry in us.at_snapshots("time_entries").values()}
    assert on.inbox("time_entries").open == 0


def test_a_run_that_was_killed_on_another_machine_is_noticed_by_its_lock(us: Team, on: Live) -> None:
    """It lives as long as it holds its lock; killed, two looks 20 seconds apart mark it, and another run answers."""
    run, process = launched(us, on)
    on.instance.add_run_tags(run.run_id, {PROCESS_TAG: "1@1@elsewhere"})
    url = us.settings().store_url
    grow_old(url)
    on.look("time_entries")
    grow_old(url)
    on.look("time_entries")
    assert found(on, run).status == dg.DagsterRunStatus.STARTED
    process.kill()
    process.wait()

    on.look("time_entries")
    assert found(on, run).status == dg.DagsterRunStatus.STARTED
    grow_old(url, seconds=20)
    on.look("time_entries")

    assert found(on, run).status == dg.DagsterRunStatus.FAILURE
    on.retry_policy(0)
    (again,) = on.drain("time_entries")
    assert again.runs[0].success
    assert on.inbox("time_entries").open == 0


def test_a_run_can_be_cancelled(us: Team, on: Live) -> None:
    """As the button in the UI does it: the process ends, the run reports it, and the event waits for the next one."""
    run, process = launched(us, on)

    assert on.instance.run_launcher.terminate(run.run_id)

    wait_until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    assert found(on, run).status == dg.DagsterRunStatus.CANCELED
    assert on.inbox("time_entries").open == 1
    assert not on.instance.run_launcher.terminate(run.run_id)
