"""What goes wrong while a backfill runs, one after the other, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG

from sync_pipeline.hosting.liveness import PROCESS_TAG
from sync_pipeline_tests.scale.fleet import Fleet, wait

PATIENCE = 600.0
CUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened, and what came of it."""

    fault: str
    outcome: str


@dataclass(slots=True)
class Faults:
    """The faults, in order; each waits until there is something to disturb."""

    fleet: Fleet
    instance: dg.DagsterInstance
    tell: Callable[[str], None]

    def all(self) -> list[Outcome]:
        """Every fault with its outcome."""
        found = []
        for fault in (
            self.killed,
            self.cut,
            self.cancelled,
            self.no_daemon,
            self.no_broker,
            self.no_database,
            self.two_daemons,
        ):
            what = " ".join((fault.__doc__ or "").split()).rstrip(".")
            self.tell(f"{what} ...")
            try:
                outcome = fault()
            except RuntimeError as error:
                outcome = f"NOT SEEN: {error}"
            self.tell(f"  {outcome}")
            found.append(Outcome(what, outcome))
        return found

    def killed(self) -> str:
        """A whole worker is killed with `kill -9`."""
        run = self._running_on("worker2")
        self.fleet["worker2"].kill("worker")
        noticed = wait(
            lambda: self._status(run) is dg.DagsterRunStatus.FAILURE, PATIENCE, "the run to be marked failed"
        )
        repeated = wait(lambda: AUTO_RETRY_RUN_ID_TAG in self._tags(run), PATIENCE, "the run to be repeated")
        again = self._tags(run)[AUTO_RETRY_RUN_ID_TAG]
        self.fleet.start_worker("worker2")
        ended = wait(lambda: self._status(again) in ENDED, PATIENCE, "the repeated run to end")
        return (
            f"its run was marked failed after {noticed:.0f} s, its repetition queued {repeated:.0f} s later; that ended as "
            f"{self._status(again).value} after {ended:.0f} s"
        )

    def cut(self) -> str:
        """The network of a worker is cut for a minute."""
        run, worker = self._running_on("worker3"), self.fleet["worker3"]
        worker.plug(connected=False)
        time.sleep(CUT_SECONDS)
        worker.plug(connected=True)
        ended = wait(lambda: self._status(run) in ENDED, PATIENCE, "its run to end")
        back = wait(lambda: bool(self._on("worker3")), PATIENCE, "the worker to take runs again")
        return (
            f"its run ended as {self._status(run).value} {ended:.0f} s after the network was back; the worker took another one "
            f"{back:.0f} s later"
        )

    def cancelled(self) -> str:
        """A run is cancelled, as in the Dagster UI."""
        run = self._running_on("worker1")
        self.instance.run_coordinator.cancel_run(run)
        took = wait(lambda: self._status(run) in ENDED, PATIENCE, "the run to end")
        return f"it ended as {self._status(run).value} after {took:.0f} s"

    def no_daemon(self) -> str:
        """The daemon is killed and started again after 20 seconds."""
        return self._restarted("control", "daemon", self.fleet.start_daemon)

    def no_broker(self) -> str:
        """The broker is killed and started again after 20 seconds."""
        return self._restarted("broker", "valkey", self.fleet.start_broker)

    def no_database(self) -> str:
        """PostgreSQL is killed and started again after 20 seconds."""
        return self._restarted("database", "postgres", self.fleet.start_database)

    def two_daemons(self) -> str:
        """A second daemon runs for a minute by mistake."""
        before = len(self._runs())
        self.fleet.start_daemon("daemon2")
        time.sleep(60)
        self.fleet["control"].kill("daemon2")
        return f"{len(self._runs()) - before} further runs came into being meanwhile; what was at the target is below"

    def _restarted(self, machine: str, program: str, start: Callable[[], None]) -> str:
        self._any_running()
        self.fleet[machine].kill(program)
        time.sleep(20)
        start()
        newest = self._newest()
        took = wait(lambda: self._newest() > newest or not self._unfinished(), PATIENCE, "another run to start")
        return f"{took:.0f} s after it was back the next run started"

    # -- what Dagster says --------------------------------------------------------------------------------------

    def _runs(self) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs())

    def _unfinished(self) -> list[dg.DagsterRun]:
        return [run for run in self._runs() if not run.is_finished]

    def _newest(self) -> float:
        return max((record.start_time or 0.0 for record in self.instance.get_run_records()), default=0.0)

    def _on(self, machine: str) -> list[str]:
        started = self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        return [run.run_id for run in started if run.tags.get(PROCESS_TAG, "").endswith(f"@{machine}")]

    def _running_on(self, machine: str) -> str:
        wait(lambda: bool(self._on(machine)), PATIENCE, f"a run on {machine}")
        return next(iter(self._on(machine)), "") or self._running_on(machine)

    def _any_running(self) -> None:
        wait(lambda: bool(self._unfinished()), PATIENCE, "a run under way")

    def _status(self, run_id: str) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def _tags(self, run_id: str) -> dict[str, str]:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return dict(run.tags)


ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
