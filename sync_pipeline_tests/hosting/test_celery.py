"""Runs that workers take from a real Valkey server: cancelled, killed, asked to end, and with a set-up that changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import psutil
import pytest
import redis
import yaml
from celery.concurrency import get_implementation
from celery.signals import worker_process_shutdown
from dagster._core.launcher import LaunchRunContext
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_TASK_ID_TAG

import sync_pipeline.hosting.celery_worker  # noqa: F401  # connects to the signals
from sync_pipeline.errors import ConfigError
from sync_pipeline.hosting.celery_launcher import CELERY, HANDED_OVER, QUEUE, CeleryLauncher, app_args
from sync_pipeline.hosting.celery_pool import PromptPool, RunPool
from sync_pipeline.hosting.liveness import PROCESS_TAG, close_orphans, process_of, process_tags
from sync_pipeline.hosting.queue import BULK, URGENT
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.liveness import is_dead
from sync_pipeline.store.setup import SetupChange, put_current
from sync_pipeline_tests.defs.live import Live, live
from sync_pipeline_tests.harness import Json, Team, clean_environ, team
from sync_pipeline_tests.hosting.test_launcher import BATCH, changes_job, found
from sync_pipeline_tests.hosting.valkey import valkey
from sync_pipeline_tests.scenarios.commands import ROOT
from sync_pipeline_tests.scenarios.developing import free_port, wait_for
from sync_pipeline_tests.store.living import grow_old

PATIENCE = 120.0
pytestmark = pytest.mark.outside


@dataclass(slots=True)
class Fleet:
    """A team whose runs workers execute; they are started when a test asks for them."""

    us: Team
    on: Live
    log: Path
    stack: ExitStack

    def start_worker(self) -> psutil.Process:
        """A worker, as the docs start it, in a group of its own."""
        command = [sys.executable, "-m", "celery", "-A", "sync_pipeline.hosting.celery_worker", "worker"]
        environ = clean_environ(**self.us.environ, DAGSTER_HOME=os.environ["DAGSTER_HOME"])
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log, start_new_session=True)
        self.stack.callback(process.wait)
        self.stack.callback(kill, process.pid)
        return psutil.Process(process.pid)

    def queue(self, description: str, tags: dict[str, str] = URGENT) -> dg.DagsterRun:
        """Edit an entry, and hand a run that syncs it to the launcher, as the daemon does it."""
        edited: Json = next(entry for entry in self.us.entries() if entry["timeInterval"]["end"])
        self.us.change_entry(edited, description=description)
        job = dg.build_reconstructable_job(
            changes_job.__module__, changes_job.__name__, reconstructable_args=(str(self.us.home),)
        )
        run = self.on.instance.create_run_for_job(
            job.get_definition(),
            run_config={"ops": {"time_entries_changed": {"config": {"ids": [edited["id"]]}}}},
            tags=tags,
            status=dg.DagsterRunStatus.STARTING,
            job_code_origin=job.get_python_origin(),
        )
        self.on.instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
        return run

    def writing(self, description: str, seconds: float = 30) -> dg.DagsterRun:
        """A run that a worker has taken, and that waits so long for the target's answer to its write."""
        self.us.fault("stall", BATCH, seconds=seconds)
        run = self.queue(description)
        wait_for(lambda: any(rule["struck"] for rule in self.us.control("GET", "faults")["faults"]), PATIENCE)
        self.us.no_faults()
        return run

    def waiting(self) -> int:
        """How many tasks are in the queue."""
        launcher = self.on.instance.run_launcher
        assert isinstance(launcher, CeleryLauncher)
        assert launcher.broker
        with closing(redis.Redis.from_url(launcher.broker)) as broker:
            return sum(broker.llen(name) for name in broker.scan_iter(f"{QUEUE}*", _type="list"))

    def ended(self, run: dg.DagsterRun) -> dg.DagsterRunStatus:
        """How it ended."""
        wait_for(lambda: found(self.on, run).is_finished, PATIENCE)
        return found(self.on, run).status

    def delivered(self) -> set[str]:
        """The descriptions at the target."""
        return {entry["description"] for entry in self.us.at_snapshots("time_entries").values()}


def kill(group: int) -> None:
    """Kill a worker with all its processes, as when its machine loses power."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """The usual team, in step, with an instance whose runs are taken from a Valkey server."""
    with ExitStack() as stack:
        us = stack.enter_context(team(tmp_path / "team"))
        us.sync()
        url = stack.enter_context(valkey(tmp_path))
        on = stack.enter_context(live(us, tmp_path / "live", monkeypatch, SYNC_BROKER_URL=url))
        config = tmp_path / "live" / "dagster" / "dagster.yaml"
        written = yaml.safe_load(config.read_text())
        written["run_launcher"] = {"module": CeleryLauncher.__module__, "class": CeleryLauncher.__name__}
        config.write_text(yaml.safe_dump(written))
        on.instance = stack.enter_context(dg.DagsterInstance.get())
        yield Fleet(us, on, tmp_path / "worker.log", stack)


def test_a_run_is_cancelled_killed_and_finished(fleet: Fleet) -> None:
    """A run that is cancelled reports it; one whose worker is killed is noticed; a worker that is asked to end finishes its run."""
    launcher, worker = fleet.on.instance.run_launcher, fleet.start_worker()

    cancelled = fleet.writing("cancelled")
    assert process_of(found(fleet.on, cancelled).tags[PROCESS_TAG]) in worker.children()
    assert launcher.terminate(cancelled.run_id)
    assert fleet.ended(cancelled) is dg.DagsterRunStatus.CANCELED
    assert not launcher.terminate(cancelled.run_id)

    killed = fleet.writing("killed")
    assert launcher.check_run_worker_health(found(fleet.on, killed)).status.value == "RUNNING"
    kill(worker.pid)
    worker.wait(PATIENCE)
    wait_for(lambda: launcher.check_run_worker_health(found(fleet.on, killed)).status.value == "NOT_FOUND", PATIENCE)
    fleet.on.look("time_entries")
    assert found(fleet.on, killed).status is dg.DagsterRunStatus.FAILURE

    worker = fleet.start_worker()
    finished = fleet.writing("finished", seconds=1)
    worker.terminate()
    assert fleet.ended(finished) is dg.DagsterRunStatus.SUCCESS
    worker.wait(PATIENCE)
    assert "finished" in fleet.delivered()


def test_urgent_runs_come_first_and_a_running_worker_maps_by_the_new_set_up(fleet: Fleet) -> None:
    """A run that no worker has taken is cancelled; of two others the urgent one is first; a changed mapping needs no restart."""
    untaken = fleet.queue("never")
    assert fleet.on.instance.run_launcher.terminate(untaken.run_id)
    assert found(fleet.on, untaken).status is dg.DagsterRunStatus.CANCELED

    slow, urgent = fleet.queue("bulk", BULK), fleet.queue("urgent")
    fleet.start_worker()
    assert fleet.ended(slow) is fleet.ended(urgent) is dg.DagsterRunStatus.SUCCESS
    assert started(fleet.on, urgent) < started(fleet.on, slow)
    assert found(fleet.on, untaken).status is dg.DagsterRunStatus.CANCELED

    mapped = "mappings: {time_entries: {fields: {description: {transform: [upper]}}}}"
    with fleet.us.session() as session:
        put_current(session.store, "", mapped, SetupChange("ann", session.now(), ""), expected=0)
    assert fleet.ended(fleet.queue("in capitals")) is dg.DagsterRunStatus.SUCCESS
    assert "IN CAPITALS" in fleet.delivered()


def test_a_repeated_run_that_waits_for_a_worker_is_not_the_killed_one(fleet: Fleet) -> None:
    """Dagster copies the tags of the run that it repeats, the killed process's name and task included."""
    copied = process_tags("1@1@elsewhere") | {DAGSTER_CELERY_TASK_ID_TAG: "another"}
    waiting, url = fleet.queue("repeated", URGENT | copied), fleet.us.settings().store_url
    assert found(fleet.on, waiting).tags[DAGSTER_CELERY_TASK_ID_TAG] == waiting.run_id
    for _ in range(3):
        assert close_orphans(fleet.on.instance) == 0
        grow_old(url)
    assert fleet.on.instance.run_launcher.terminate(waiting.run_id)
    assert found(fleet.on, waiting).status is dg.DagsterRunStatus.CANCELED


def test_a_run_waits_in_the_queue_however_long_and_is_missed_outside_it(fleet: Fleet) -> None:
    """It is alive as long as the queue has it; taken by a worker that died, or lost with the queue, it is dead soon after."""
    launcher, url = fleet.on.instance.run_launcher, fleet.us.settings().store_url
    assert isinstance(launcher, CeleryLauncher)
    waiting, elsewhere = fleet.queue("waiting"), fleet.queue("elsewhere", {DAGSTER_CELERY_QUEUE_TAG: "another"})
    both = [found(fleet.on, waiting), found(fleet.on, elsewhere)]
    with closing(open_store(url)) as store:
        assert not is_dead(store, waiting.run_id)  # a check may come before it is in the queue
    for _ in range(3):
        assert launcher.queued(both) == {waiting.run_id, elsewhere.run_id}
        assert close_orphans(fleet.on.instance) == 0
        grow_old(url)

    launcher.celery.control.purge()  # of the usual queue
    assert launcher.queued(both) == {elsewhere.run_id}
    unreachable = CeleryLauncher(f"redis://127.0.0.1:{free_port()}/0")
    assert unreachable.queued(both) == {waiting.run_id, elsewhere.run_id}
    assert close_orphans(fleet.on.instance) == 0  # a worker may have taken it just now
    grow_old(url)
    assert close_orphans(fleet.on.instance) == 1
    assert found(fleet.on, waiting).status is dg.DagsterRunStatus.FAILURE
    assert not found(fleet.on, elsewhere).is_finished


def test_a_run_that_two_daemons_launch_is_executed_once(fleet: Fleet) -> None:
    """Each believes that it is the only one; the second finds the run in the queue, or taken, and changes nothing."""
    launcher = fleet.on.instance.run_launcher
    run = fleet.queue("launched twice")
    launcher.launch_run(LaunchRunContext(run, workspace=None))
    assert fleet.waiting() == 1
    fleet.start_worker()
    wait_for(lambda: bool(found(fleet.on, run).tags.get(PROCESS_TAG)), PATIENCE)
    launcher.launch_run(LaunchRunContext(run, workspace=None))
    assert fleet.waiting() == 0
    assert found(fleet.on, run).tags[PROCESS_TAG]
    assert fleet.ended(run) is dg.DagsterRunStatus.SUCCESS
    assert fleet.ended(fleet.queue("after it")) is dg.DagsterRunStatus.SUCCESS
    assert len(fleet.on.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_START)) == 1


def test_a_run_reaches_a_broker_that_restarts_before_it_is_queued(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server forgets the mark of the run, and the connection on which that was set is lost."""
    instance, add_run_tags = fleet.on.instance, fleet.on.instance.add_run_tags

    def restarting(run_id: str, tags: dict[str, str]) -> None:
        monkeypatch.setattr(instance, "add_run_tags", add_run_tags)
        launcher = instance.run_launcher
        assert isinstance(launcher, CeleryLauncher)
        assert launcher.broker
        with closing(redis.Redis.from_url(launcher.broker)) as broker:
            assert broker.exists(f"{HANDED_OVER}{run_id}")
            broker.shutdown(nosave=True)
        fleet.stack.enter_context(valkey(tmp_path, urlsplit(launcher.broker).port))
        add_run_tags(run_id, tags)

    monkeypatch.setattr(instance, "add_run_tags", restarting)  # called first between the mark and the queue
    run = fleet.queue("restarted")
    assert instance.add_run_tags == add_run_tags
    assert fleet.waiting() == 1
    fleet.start_worker()
    assert fleet.ended(run) is dg.DagsterRunStatus.SUCCESS
    assert "restarted" in fleet.delivered()


def test_a_worker_does_not_wait_for_the_process_of_its_next_run() -> None:
    """When it misses an exit, Celery's own pool checks again after five seconds."""
    assert get_implementation(CELERY["worker_pool"]) is RunPool
    assert max(PromptPool.__new__(PromptPool).timers.values()) < 1


def test_the_process_of_a_run_ends_when_the_worker_asks_it_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a run of Dagster's it ignores SIGTERM, and would sleep for a second before it exits."""
    kept: list[tuple[int, object]] = []
    monkeypatch.setattr(signal, "signal", lambda *given: kept.append(given))
    worker_process_shutdown.send(sender=None, pid=0, exitcode=0)
    assert kept == [(signal.SIGTERM, signal.SIG_DFL)]


def started(on: Live, run: dg.DagsterRun) -> float:
    """When a worker began it."""
    record = on.instance.get_run_record_by_id(run.run_id)
    assert record is not None
    assert record.start_time is not None
    return record.start_time


@pytest.mark.parametrize(
    ("broker", "backend", "reason"),
    [
        ("", None, "SYNC_BROKER_URL is not set"),
        ("redis://broker/0", "rpc://", "only the process that started a run could read its result"),
        ("pyamqp://guest@broker//", None, "cannot be the broker"),
    ],
)
def test_servers_that_would_not_work_are_refused(broker: str, backend: str | None, reason: str) -> None:
    """Before a run is started."""
    with pytest.raises(ConfigError, match=reason):
        app_args(broker, backend)
    assert app_args("rediss://:secret@broker:6379/0")["backend"] == "rediss://:secret@broker:6379/0"
