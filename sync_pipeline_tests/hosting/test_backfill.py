"""Backfills: bounded runs of a real daemon, resumable, and no finished day twice."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from sync_pipeline.defs.assets import daily
from sync_pipeline.errors import ConfigError
from sync_pipeline.hosting.backfill import BackfillReport, ask, cancel, find, listed, look, pause, resume
from sync_pipeline.hosting.dev import BACKFILLS_WAIT
from sync_pipeline.hosting.launch import RANGE_START
from sync_pipeline.session.session import Session
from sync_pipeline.stages.batch import Days
from sync_pipeline_tests.cli.shell import Shell, shell_for
from sync_pipeline_tests.defs.live import Live, live
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.scenarios.commands import wait_until
from sync_pipeline_tests.scenarios.developing import wait_for

PATIENCE = 400.0
pytestmark = pytest.mark.clock
PATIENT = {"SYNC_LOCK_SECONDS": None, "SYNC_MAX_ATTEMPTS": None}
"""As a user has it: on a busy machine a process may hold the database for more than the second of other tests."""


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team, nothing of which was ever synced."""
    with team(tmp_path / "team") as opened:
        yield opened


@pytest.fixture
def on(us: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Its Dagster instance."""
    with live(us, tmp_path / "live", monkeypatch, SYNC_DAYS_PER_RUN="10") as switched_on:
        yield switched_on


def work_off(us: Team, on: Live, backfill_id: str, span: Days, *, success: bool) -> None:
    """A run of the backfill over a span, as the daemon would launch it: its days are loaded, or it failed."""
    tags = {
        "dagster/backfill": backfill_id,
        "dagster/asset_partition_range_start": span.keys[0],
        "dagster/asset_partition_range_end": span.keys[1],
    }
    run = on.queue(dg.RunRequest(run_key="b", job_name="sync_time_entries", tags=tags))
    if not success:
        on.instance.report_run_failed(run)
        return
    us.sync("time_entries", days=span)
    on.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", run.job_name), run.run_id)


def end(on: Live, backfill_id: str, status: str) -> None:
    """The daemon has ended the backfill."""
    found = on.instance.get_backfill(backfill_id)
    assert found
    on.instance.update_backfill(found._replace(status=BulkActionStatus[status]))


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks for backfills of the team's time entries."""

    on: Live
    session: Session

    def ask(self, days: Days, at: datetime) -> list[str]:
        """Ask for the days; the backfill and those it continues."""
        return ask(self.on.instance, self.session, daily(self.session.settings), "time_entries", days, at, "Ana")

    def look(self, chain: list[str], days: Days, at: datetime) -> BackfillReport:
        """How it is going."""
        return look(self.on.instance, self.session, chain, "time_entries", days, at)

    def resume(self, backfill_id: str, at: datetime) -> list[str]:
        """Resume it; the backfill and those it continues."""
        partitions, graph = daily(self.session.settings), self.on.defs.resolve_asset_graph()
        return resume(self.on.instance, self.session, partitions, backfill_id, at, "Ben", graph)

    def listed(self, at: datetime) -> list[BackfillReport]:
        """All backfills."""
        return listed(self.on.instance, self.session, self.on.defs.resolve_asset_graph(), at)

    def asked_for(self, backfill_id: str) -> list[str]:
        """The days a backfill holds."""
        backfill = self.on.instance.get_backfill(backfill_id)
        assert backfill
        asked = backfill.get_asset_backfill_data(self.on.defs.resolve_asset_graph()).target_subset
        return sorted(asked.get_partitions_subset(dg.AssetKey("time_entries")).get_partition_keys())


@pytest.fixture
def asking(us: Team, on: Live) -> Iterator[Asking]:
    """Someone who asks, with the team's other entities synced."""
    us.sync("locations", "users", "projects")
    with us.session() as session:
        yield Asking(on, session)


def test_what_is_under_way_is_watched_on(us: Team, asking: Asking, now: datetime) -> None:
    """Asked for again, an unfinished backfill of the same days is not asked for twice; other days are another one."""
    first = asking.ask(us.days, now)
    assert asking.ask(us.days, now) == first
    assert asking.ask(Days(us.days.first, us.days.first), now) != first
    report = asking.look(first, us.days, now)
    assert (report.total, report.done, report.daemon, report.has_ended) == (28, 0, False, False)


def test_finished_days_are_not_repeated(us: Team, on: Live, asking: Asking, now: datetime) -> None:
    """After a backfill that ended badly the next one holds only the days that are left."""
    (first,) = asking.ask(us.days, now)
    good = Days(us.days.first, us.days.first + timedelta(days=9))
    work_off(us, on, first, good, success=True)
    work_off(us, on, first, Days(good.last + timedelta(days=1), us.days.last), success=False)
    end(on, first, "COMPLETED_FAILED")
    report = asking.look([first], us.days, now)
    assert (report.done, report.failed, report.success) == (10, 18, False)
    chain = asking.ask(us.days, now + timedelta(seconds=1))
    assert chain[1:] == [first]
    assert asking.asked_for(chain[0]) == [day for day in us.days if day not in set(good)]
    work_off(us, on, chain[0], Days(good.last + timedelta(days=1), us.days.last), success=True)
    end(on, chain[0], "COMPLETED_SUCCESS")
    assert asking.look(chain, us.days, now).success
    assert len(asking.ask(us.days, now + timedelta(seconds=2))) == 1  # all over again


def test_a_day_is_done_when_it_is_loaded_not_when_a_run_says_success(
    us: Team, on: Live, asking: Asking, now: datetime
) -> None:
    """Runs that ended well without loading leave their days to do; days that anything has loaded since are done."""
    us.sync("time_entries")  # what was loaded before it was asked for does not count
    (first,) = asking.ask(us.days, now)
    tags = {"dagster/backfill": first, "dagster/partition": us.days.keys[1]}
    run = on.queue(dg.RunRequest(run_key="b", job_name="sync_time_entries", tags=tags))
    on.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", run.job_name), run.run_id)
    end(on, first, "COMPLETED_SUCCESS")
    report = asking.look([first], us.days, now)
    assert (report.done, report.failed, report.success) == (0, 1, False)

    us.sync("time_entries", days=Days(us.days.last, us.days.last))
    assert asking.look([first], us.days, now).done == 1
    chain = asking.ask(us.days, now + timedelta(seconds=1))
    assert chain[1:] == [first]
    assert asking.asked_for(chain[0]) == list(us.days)[:-1]


def test_a_paused_backfill_continues_with_what_is_left(us: Team, on: Live, asking: Asking, now: datetime) -> None:
    """Dagster cancels it; resumed, its days that are not done are asked for, and rate and end count from then on."""
    (first,) = asking.ask(us.days, now)
    good = Days(us.days.first, us.days.first + timedelta(days=6))
    work_off(us, on, first, good, success=True)
    hours_later = now + timedelta(hours=2)
    going = asking.look([first], us.days, hours_later)
    assert (going.days_an_hour, going.ends_at) == (3.5, hours_later + timedelta(hours=6))

    pause(on.instance, first, "Ana")
    assert asking.look([first], us.days, hours_later).status == "PAUSING"
    assert asking.resume(first, hours_later) == []  # the daemon is still stopping its runs
    end(on, first, "CANCELED")
    report = asking.look([first], us.days, hours_later)
    assert (report.status, report.done, report.has_ended, report.days_an_hour) == ("PAUSED", 7, True, None)
    assert find(on.instance, None, is_paused=True).backfill_id == first

    chain = asking.resume(first, hours_later)
    assert chain[1:] == [first]
    assert asking.asked_for(chain[0]) == [day for day in us.days if day not in set(good)]
    assert asking.look(chain, us.days, hours_later).done == 7
    work_off(us, on, chain[0], Days(good.last + timedelta(days=1), us.days.last), success=True)
    end(on, chain[0], "COMPLETED_SUCCESS")
    assert asking.look(chain, us.days, hours_later).success
    with pytest.raises(ConfigError, match="No backfill is paused"):
        find(on.instance, None, is_paused=True)
    (one,) = asking.listed(hours_later)
    assert (one.backfill_id, one.done, one.total) == (chain[0], 28, 28)


@pytest.mark.parametrize("asked", ["PAUSING", "CANCELING"])
def test_the_daemon_does_not_undo_what_was_asked_for(
    us: Team, on: Live, asking: Asking, now: datetime, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """It had read the backfill before, and writes it afterwards: it is paused or cancelled again."""
    (first,) = asking.ask(us.days, now)
    read_before = on.instance.get_backfill(first)
    assert read_before is not None
    writes = iter([read_before])

    def settle(_seconds: float) -> None:
        for backfill in writes:
            on.instance.update_backfill(backfill)

    monkeypatch.setattr("sync_pipeline.hosting.backfill.time", SimpleNamespace(sleep=settle))
    if asked == "PAUSING":
        pause(on.instance, first, "Ana")
    else:
        assert not cancel(on.instance, first)
    assert next(writes, None) is None
    assert asking.look([first], us.days, now).status == asked


def test_a_backfill_that_was_paused_before_it_started_is_resumed_unchanged(
    us: Team, on: Live, asking: Asking, now: datetime
) -> None:
    """No daemon has stopped it, since none is there: nothing has to be requested again."""
    (first,) = asking.ask(us.days, now)
    pause(on.instance, first, "Ana")
    assert asking.resume(first, now) == [first]
    assert asking.look([first], us.days, now).status == "REQUESTED"
    pause(on.instance, first, "Ana")
    assert not cancel(on.instance, first)
    assert asking.look([first], us.days, now).status == "CANCELING"


def test_a_backfill_of_the_dagster_ui_is_listed_paused_and_resumed(
    us: Team, on: Live, asking: Asking, now: datetime
) -> None:
    """What its runs have done counts; the rest is asked for."""
    (first,) = asking.ask(us.days, now)
    backfill = on.instance.get_backfill(first)
    assert backfill
    on.instance.update_backfill(backfill._replace(tags={}))
    good = Days(us.days.first, us.days.first + timedelta(days=6))
    work_off(us, on, first, good, success=True)
    (one,) = asking.listed(now)
    assert (one.backfill_id, one.total, one.done) == (first, 28, 7)
    pause(on.instance, first, "Ana")
    end(on, first, "CANCELED")
    assert [one.status for one in asking.listed(now)] == ["PAUSED"]
    chain = asking.resume(first, now)
    assert asking.asked_for(chain[0]) == [day for day in us.days if day not in set(good)]


def test_what_ended_while_it_was_being_paused_is_not_paused(us: Team, on: Live, asking: Asking, now: datetime) -> None:
    """The daemon may note the end of the last run after the pause: nothing is left to resume. One that failed is resumed."""
    (first,) = asking.ask(us.days, now)
    work_off(us, on, first, us.days, success=True)
    pause(on.instance, first, "Ana")
    end(on, first, "COMPLETED_SUCCESS")
    report = asking.look([first], us.days, now)
    assert (report.status, report.success) == ("COMPLETED_SUCCESS", True)
    with pytest.raises(ConfigError, match="No backfill is paused"):
        find(on.instance, None, is_paused=True)
    assert asking.resume(first, now) == [first]

    (second,) = asking.ask(us.days, now)
    pause(on.instance, second, "Ana")
    end(on, second, "FAILED")
    assert asking.look([second], us.days, now).status == "PAUSED"
    assert asking.resume(second, now)[1:] == [second]


def test_a_backfill_is_asked_for_once_by_several_processes(us: Team, on: Live, asking: Asking, now: datetime) -> None:
    """Together, by one whose clock is behind, and after one that was killed before it noted that the pause is over."""

    def ask_in_a_session(number: int) -> str:
        with us.session() as session:
            at = now - timedelta(minutes=number)
            return Asking(on, session).ask(us.days, at)[0]

    with ThreadPoolExecutor(4) as pool:
        (first,) = set(pool.map(ask_in_a_session, range(4)))
    pause(on.instance, first, "Ana")
    end(on, first, "CANCELED")
    paused = on.instance.get_backfill(first)
    assert paused
    chain = asking.resume(first, now - timedelta(minutes=10))
    assert asking.resume(first, now) == asking.ask(us.days, now) == chain
    assert chain[1:] == [first]

    on.instance.update_backfill(paused)
    assert asking.resume(first, now) == chain
    with pytest.raises(ConfigError, match="No backfill is paused"):
        find(on.instance, None, is_paused=True)


def test_a_backfill_of_a_job_is_listed_and_not_resumed(us: Team, on: Live, asking: Asking, now: datetime) -> None:
    """The Dagster UI asks for one on the page of a job; it is left to the UI."""
    of_job = PartitionBackfill(
        "ofajob", BulkActionStatus.REQUESTED, False, {}, now.timestamp(), partition_names=us.days.keys
    )
    on.instance.add_backfill(of_job)
    assert [(one.backfill_id, one.total) for one in asking.listed(now)] == [("ofajob", 2)]
    pause(on.instance, "ofajob", "Ana")
    end(on, "ofajob", "CANCELED")
    with pytest.raises(ConfigError, match="not for one asset"):
        asking.resume("ofajob", now)


@contextmanager
def daemon(shell: Shell) -> Iterator[subprocess.Popen[bytes]]:
    """A real Dagster daemon on the shell's instance."""
    environ = {**os.environ, **BACKFILLS_WAIT, **{name: value for name, value in shell.environ.items() if value}}
    environ["DAGSTER_HOME"] = str(shell.home / "dagster")
    command = [sys.executable, "-m", "dagster._daemon", "run", "--workspace", str(shell.root / "workspace.yaml")]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=shell.home, env=environ, stdout=quiet, stderr=quiet) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE)


@pytest.mark.outside
def test_a_backfill_runs_in_the_daemon_and_waits_for_one(us: Team, tmp_path: Path) -> None:
    """Without a daemon it is kept and the command reports it; with one it is processed in bounded runs, and all is there."""
    us.sync("locations", "users", "projects")
    with shell_for(us, tmp_path / "shell", SYNC_DAYS_PER_RUN="10", **PATIENT) as shell:
        asking = ("backfill", "--json", "--from", us.days.keys[0], "--to", us.days.keys[1])
        assert "No Dagster daemon is running" in shell("backfill", *asking[2:], code=1).err
        asked = shell(*asking, code=1).document
        with daemon(shell) as process:
            done = ended(shell, process)
        assert done["backfill_id"] == asked["backfill_id"]
        figures = (done["status"], done["done"], done["total"])
        assert figures == ("COMPLETED_SUCCESS", 28, 28), failures(shell)
        assert len(done["runs"]) == 3
        stopped = [entry["id"] for entry in us.entries() if entry["timeInterval"]["end"]]
        assert set(us.at_snapshots("time_entries")) == set(stopped)


def ended(shell: Shell, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The newest backfill when it has ended; only looked at, since one that is requested again after its end starts from the beginning."""
    newest: dict[str, Any] = {}

    def is_over() -> bool:
        assert process.poll() is None
        newest.update(shell("backfills", "list", "--json").document["backfills"][0])
        return newest["status"] not in ("REQUESTED", "CANCELING", "FAILING")

    wait_for(is_over, PATIENCE)
    return newest


def failures(shell: Shell) -> list[str]:
    """What is in the events of the runs that failed."""
    found: list[str] = []
    for file in (shell.home / "dagster" / "history" / "runs").glob("*-*.db"):
        with closing(sqlite3.connect(file)) as log:
            found += [event for (event,) in log.execute("SELECT event FROM event_logs WHERE event LIKE '%_FAILURE%'")]
    return found


def successes(shell: Shell) -> list[str]:
    """The first days of the runs that ended well, as Dagster's history has them."""
    ended_well = (
        "SELECT value FROM runs JOIN run_tags USING (run_id) WHERE status = 'SUCCESS' AND key = ? ORDER BY value"
    )
    with closing(sqlite3.connect(shell.home / "dagster" / "history" / "runs.db")) as history:
        return [value for (value,) in history.execute(ended_well, (RANGE_START,))]


@pytest.mark.outside
def test_killed_in_the_middle_it_continues_without_its_finished_days(us: Team, tmp_path: Path) -> None:
    """`kill -9` of a daemon at work: another one continues, and no day is read or written a second time."""
    us.sync("locations", "users", "projects")
    us.forget_stats()
    us.fault("stall", "POST /snapshots/time_entries/batch", seconds=0.5)
    with shell_for(us, tmp_path / "shell", SYNC_DAYS_PER_RUN="2", **PATIENT) as shell:
        span = Days(us.days.last - timedelta(days=15), us.days.last)
        asking = ("backfill", "--json", "--from", span.keys[0], "--to", span.keys[1])
        shell(*asking, code=1)
        with daemon(shell) as process:
            wait_until(lambda: len(successes(shell)) >= 1)
            process.kill()
        finished = successes(shell)
        assert len(finished) < 8
        with daemon(shell) as process:
            assert ended(shell, process)["done"] == 16, failures(shell)
        assert len(successes(shell)) == len(set(successes(shell))) == 8
        assert set(finished) <= set(successes(shell))
    stopped = {
        entry["id"]
        for entry in us.entries()
        if entry["timeInterval"]["end"] and entry["timeInterval"]["start"][:10] >= span.keys[0]
    }
    assert stopped
    assert set(us.at_snapshots("time_entries")) == stopped
    assert us.writes()["time_entries"] == len(stopped)
