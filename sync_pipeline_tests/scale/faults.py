"""The faults during a backfill, one after the other, and their outcome."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, BACKFILL_ID_TAG, PARENT_RUN_ID_TAG

from sync_pipeline.clock import utc_now
from sync_pipeline.hosting.launch import RANGE_START
from sync_pipeline.hosting.liveness import PROCESS_TAG
from sync_pipeline_tests.scale.fleet import WORKERS, Fleet, wait
from sync_pipeline_tests.scale.release import next_schema, release

LOOKED_AT = 200
"""The newest runs, which are looked at for those that started since a moment."""

PATIENCE = 600.0
CUT_SECONDS = 60.0
NOTICED_SECONDS = 60.0
"""Within so long a run whose worker was killed is noticed and waits to be repeated."""
GRACE_SECONDS = 300.0
"""How long a program may take to end when it is asked to: deploy/compose.yaml has the same for workers."""
ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened, its outcome, and whether that is expected."""

    fault: str
    outcome: str
    is_well: bool


class Unexpected(Exception):
    """The outcome of a fault is not the expected one."""


def expect(is_so: bool, outcome: str) -> str:
    """The outcome, if it is as it should be."""
    if not is_so:
        raise Unexpected(outcome)
    return outcome


@dataclass(slots=True)
class Faults:
    """The faults, in order; each waits until there is something to disturb."""

    fleet: Fleet
    instance: dg.DagsterInstance
    report: Callable[[str], None]

    def all(self) -> list[Outcome]:
        """Every fault with its outcome, which was looked for, and is as it should be or is not."""
        return [
            self._outcome(fault)
            for fault in (
                self.killed,
                self.rolled_out,
                self.cut,
                self.cancelled,
                self.no_daemon,
                self.no_broker,
                self.no_database,
                self.migrated,
                self.two_daemons,
            )
        ]

    def _outcome(self, fault: Callable[[], str]) -> Outcome:
        what = " ".join((fault.__doc__ or "").split()).rstrip(".")
        self.report(f"{what} ...")
        try:
            found = Outcome(what, fault(), is_well=True)
        except Unexpected as error:
            found = Outcome(what, f"WRONG: {error}", is_well=False)
        except RuntimeError as error:
            found = Outcome(what, f"NOT SEEN: {error}", is_well=False)
        self.report(f"  {found.outcome}")
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
        is_well = self._succeeded(again) and noticed + repeated <= NOTICED_SECONDS
        return expect(
            is_well,
            f"its run was marked failed after {noticed:.0f} s and queued again {repeated:.0f} s later; the repeated run ended as "
            f"{self._status(again).value} {ended:.0f} s after that",
        )

    def rolled_out(self) -> str:
        """A new version with the same schema: its processes replace the old ones one after the other."""
        self.fleet.release = release(self.fleet.network.directory / "next", "0.2.0", newer_schema=False)
        self._any_running()
        began, running, took = utc_now().timestamp(), self._unfinished(), time.monotonic()
        self.fleet["control"].stop("daemon", 30)
        self.fleet["control"].stop("code", 30)
        self.fleet.start_code_server()
        self.fleet.start_daemon()
        for name in WORKERS:
            self.fleet[name].stop("worker", GRACE_SECONDS)
            self.fleet.start_worker(name)
        seconds = time.monotonic() - took
        replaced = utc_now().timestamp()
        wait(lambda: self._hosts_since(replaced) >= set(WORKERS), PATIENCE, "a run on each of the new workers")
        version = self.fleet.on_control("sync-pipeline", "--version").split()[-1]
        wait(lambda: all(self._status(run.run_id) in ENDED for run in running), PATIENCE, "the runs before to end")
        kept = [run for run in running if self._ended_well(run.run_id)]
        return expect(
            version == "0.2.0" and len(kept) == len(running) and not self._failed_since(began),
            f"all were replaced in {seconds:.0f} s; of {len(running)} runs under way or waiting {len(kept)} ended well, and "
            f"{self._failed_since(began)} other runs failed; version {version} then had runs on all three workers",
        )

    def migrated(self) -> str:
        """A new version with a newer schema, as deploy/README.md describes: stop all, migrate, start all."""
        old = self.fleet.release
        self.fleet.release = release(self.fleet.network.directory / "migrated", "0.3.0", newer_schema=True)
        self._any_running()
        running, took = [run.run_id for run in self._started()], time.monotonic()
        self.fleet["control"].stop("daemon", 30)
        for name in WORKERS:
            self.fleet[name].stop("worker", GRACE_SECONDS)
        self.fleet["control"].stop("code", 30)
        self.fleet.on_control("sync-pipeline", "migrate")
        refused = self.fleet.refused(old)
        self.fleet.start_code_server()
        self.fleet.start_daemon()
        for name in WORKERS:
            self.fleet.start_worker(name)
        seconds, since = time.monotonic() - took, utc_now().timestamp()
        wait(lambda: bool(self._hosts_since(since)), PATIENCE, "a run of the new version")
        wait(lambda: all(self._status(run) in ENDED for run in running), PATIENCE, "the runs before to end")
        kept = [run for run in running if self._ended_well(run)]
        return expect(
            next_schema() in refused and len(kept) == len(running),
            f"the new version was there after {seconds:.0f} s; {len(kept)} of {len(running)} runs under way ended well; a process of the "
            f"old version ends with: {refused}",
        )

    def cut(self) -> str:
        """The network of a worker is cut for a minute."""
        run, worker = self._running_on("worker3"), self.fleet["worker3"]
        worker.plug(connected=False)
        time.sleep(CUT_SECONDS)
        worker.plug(connected=True)
        ended = wait(lambda: self._status(run) in ENDED, PATIENCE, "its run to end")
        since = utc_now().timestamp()
        back = wait(lambda: "worker3" in self._hosts_since(since), PATIENCE, "the worker to take runs again")
        wait(lambda: self._ended_well(run), PATIENCE, "its run, or the one that repeats it, to succeed")
        return (
            f"its run ended as {self._status(run).value} {ended:.0f} s after the network was back, and its days are loaded; the worker took "
            f"another run {back:.0f} s later"
        )

    def cancelled(self) -> str:
        """A run is cancelled, as in the Dagster UI."""
        run = self._running_on("worker1")
        self.instance.run_coordinator.cancel_run(run)
        took = wait(lambda: self._status(run) in ENDED, PATIENCE, "the run to end")
        ended = self._status(run)
        return expect(ended is dg.DagsterRunStatus.CANCELED, f"it ended as {ended.value} after {took:.0f} s")

    def no_daemon(self) -> str:
        """The daemon is killed and started again after 20 seconds."""
        return self._restarted("control", "daemon", self.fleet.start_daemon)

    def no_broker(self) -> str:
        """The broker is killed and started again after 20 seconds."""
        return self._restarted("broker", "valkey", self.fleet.start_broker)

    def no_database(self) -> str:
        """PostgreSQL is killed and started again after 20 seconds."""
        return self._restarted("database", "postgres", self.fleet.start_database, runs_go_on=False)

    def two_daemons(self) -> str:
        """A second daemon runs for a minute by mistake."""
        since = utc_now().timestamp()
        self.fleet.start_daemon("daemon2")
        time.sleep(60)
        self.fleet["control"].kill("daemon2")
        wait(lambda: bool(self._hosts_since(since)), PATIENCE, "a run to start")
        records = [each for each in self.instance.get_run_records(limit=LOOKED_AT) if (each.start_time or 0) >= since]
        wait(
            lambda: all(self._status(each.dagster_run.run_id) in ENDED for each in records), PATIENCE, "the runs to end"
        )
        twice = sum(self._starts(each.dagster_run.run_id) > 1 for each in records)
        asked = (each.dagster_run.tags for each in records if not _is_retry(each))
        days = Counter((tags[BACKFILL_ID_TAG], tags[RANGE_START]) for tags in asked if BACKFILL_ID_TAG in tags)
        doubled = sum(count - 1 for count in days.values())
        return expect(
            not self._failed_since(since) and not twice and not doubled,
            f"{len(records)} runs started since; {twice} of them were executed twice, {doubled} had the same days of a backfill as another one, and "
            f"{self._failed_since(since)} failed",
        )

    def _restarted(self, machine: str, program: str, start: Callable[[], None], *, runs_go_on: bool = True) -> str:
        self._any_running()
        began = utc_now().timestamp()
        self.fleet[machine].kill(program)
        time.sleep(20)
        start()
        since = utc_now().timestamp()
        took = wait(lambda: bool(self._hosts_since(since)), PATIENCE, "another run to start")
        running = self._under_way(began, since)
        wait(lambda: all(self._status(run) in ENDED for run in running), PATIENCE, "the runs under way to end")
        ended = Counter(self._status(run).value for run in running)
        failed = self._failed_since(began)
        outcome = f"{took:.0f} s after it was back the next run started; the runs under way ended as {dict(ended)}, and {failed} runs failed in all"
        return expect(not runs_go_on or (all(self._ended_well(run) for run in running) and not failed), outcome)

    # -- what Dagster reports -----------------------------------------------------------------------------------

    def _runs(self) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs())

    def _unfinished(self) -> list[dg.DagsterRun]:
        return [run for run in self._runs() if not run.is_finished]

    def _started(self) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])))

    def _under_way(self, began: float, until: float) -> list[str]:
        """The runs that were under way at some moment between these two."""
        records = self.instance.get_run_records(limit=LOOKED_AT)
        started = [each for each in records if each.start_time is not None and each.start_time < until]
        return [each.dagster_run.run_id for each in started if each.end_time is None or each.end_time >= began]

    def _on(self, machine: str) -> list[str]:
        return [run.run_id for run in self._started() if _host(run) == machine]

    def _hosts_since(self, moment: float) -> set[str]:
        """The workers that have started a run since."""
        records = self.instance.get_run_records(limit=LOOKED_AT)
        return {_host(record.dagster_run) for record in records if (record.start_time or 0.0) >= moment}

    def _failed_since(self, moment: float) -> int:
        failed = self.instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]), limit=LOOKED_AT)
        return sum((record.end_time or 0.0) >= moment for record in failed)

    def _starts(self, run_id: str) -> int:
        return len(self.instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_START))

    def _succeeded(self, run_id: str) -> bool:
        return self._status(run_id) is dg.DagsterRunStatus.SUCCESS

    def _ended_well(self, run_id: str) -> bool:
        """Whether it succeeded, or the run that Dagster repeats it with."""
        again = self._tags(run_id).get(AUTO_RETRY_RUN_ID_TAG)
        return self._succeeded(run_id) or (again is not None and self._ended_well(again))

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


def _host(run: dg.DagsterRun) -> str:
    return run.tags.get(PROCESS_TAG, "").rpartition("@")[2]


def _is_retry(record: dg.RunRecord) -> bool:
    return PARENT_RUN_ID_TAG in record.dagster_run.tags
