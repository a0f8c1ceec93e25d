"""Backfills: bounded runs of a real daemon, resumable, and no finished day twice."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from sync_pipeline.defs.backfill import ask, look
from sync_pipeline.defs.launch import RANGE_START
from sync_pipeline.stages.batch import Days
from sync_pipeline_tests.cli.shell import Shell, shell_for
from sync_pipeline_tests.defs.live import Live, live
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.scenarios.commands import wait_until


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team, nothing of which was ever synced."""
    with team(tmp_path / "team") as everybody:
        yield everybody


@pytest.fixture
def on(us: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Its Dagster instance."""
    with live(us, tmp_path / "live", monkeypatch, SYNC_DAYS_PER_RUN="10") as switched_on:
        yield switched_on


def work_off(on: Live, backfill_id: str, span: Days, *, success: bool) -> None:
    """A run of the backfill over a span, as the daemon would launch it."""
    tags = {
        "dagster/backfill": backfill_id,
        "dagster/asset_partition_range_start": span.keys[0],
        "dagster/asset_partition_range_end": span.keys[1],
    }
    run = on.queue(dg.RunRequest(run_key="b", job_name="sync_time_entries", tags=tags))
    if success:
        on.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", run.job_name), run.run_id)
    else:
        on.instance.report_run_failed(run)


def end(on: Live, backfill_id: str, status: str) -> None:
    """The daemon has ended the backfill."""
    from dagster._core.execution.backfill import BulkActionStatus

    found = on.instance.get_backfill(backfill_id)
    assert found
    on.instance.update_backfill(found._replace(status=BulkActionStatus[status]))


def test_what_is_under_way_is_watched_on(us: Team, on: Live) -> None:
    """Asked for again, an unfinished backfill of the same days is not asked for twice; other days are another one."""
    now = datetime.now(UTC)
    first = ask(on.instance, on.defs, "time_entries", us.days, now)
    assert ask(on.instance, on.defs, "time_entries", us.days, now) == first
    assert ask(on.instance, on.defs, "time_entries", Days(us.days.first, us.days.first), now) != first
    report = look(on.instance, first, us.days, now)
    assert (report.total, report.done, report.daemon, report.has_ended) == (28, 0, False, False)


def test_finished_days_are_not_repeated(us: Team, on: Live) -> None:
    """After a backfill that ended badly the next one holds only the days that are left."""
    now = datetime.now(UTC)
    (first,) = ask(on.instance, on.defs, "time_entries", us.days, now)
    good = Days(us.days.first, us.days.first + timedelta(days=9))
    work_off(on, first, good, success=True)
    work_off(on, first, Days(good.last + timedelta(days=1), us.days.last), success=False)
    end(on, first, "COMPLETED_FAILED")
    report = look(on.instance, [first], us.days, now)
    assert (report.done, report.failed, report.success) == (10, 18, False)
    chain = ask(on.instance, on.defs, "time_entries", us.days, now + timedelta(seconds=1))
    assert chain[1:] == [first]
    backfill = on.instance.get_backfill(chain[0])
    assert backfill
    asked = backfill.get_asset_backfill_data(on.defs.resolve_asset_graph()).target_subset
    days = asked.get_partitions_subset(dg.AssetKey("time_entries")).get_partition_keys()
    assert sorted(days) == [day for day in us.days if day not in set(good)]
    work_off(on, chain[0], Days(good.last + timedelta(days=1), us.days.last), success=True)
    end(on, chain[0], "COMPLETED_SUCCESS")
    assert look(on.instance, chain, us.days, now).success
    assert len(ask(on.instance, on.defs, "time_entries", us.days, now + timedelta(seconds=2))) == 1  # all over again


@contextmanager
def daemon(shell: Shell) -> Iterator[subprocess.Popen[bytes]]:
    """A real Dagster daemon on the shell's instance."""
    environ = {**os.environ, **{name: value for name, value in shell.environ.items() if value}}
    environ["DAGSTER_HOME"] = str(shell.home / "dagster")
    command = [sys.executable, "-m", "dagster._daemon", "run", "--workspace", str(shell.root / "workspace.yaml")]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=shell.home, env=environ, stdout=quiet, stderr=quiet) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_a_backfill_runs_in_the_daemon_and_waits_for_one(us: Team, tmp_path: Path) -> None:
    """Without a daemon it is kept and the command says so; with one it is worked off in bounded runs, and all is there."""
    us.sync("locations", "users", "projects")
    with shell_for(us, tmp_path / "shell", SYNC_DAYS_PER_RUN="10") as shell:
        asking = ("backfill", "--json", "--from", us.days.keys[0], "--to", us.days.keys[1])
        assert "No Dagster daemon is running" in shell("backfill", *asking[2:], code=1).err
        asked = shell(*asking, code=1).document
        with daemon(shell) as process:
            while (ended := shell(*asking)).code:  # until the daemon has shown itself it says that there is none
                assert process.poll() is None
        done = ended.document
        assert done["backfill_id"] == asked["backfill_id"]
        assert (done["status"], done["done"], done["total"]) == ("COMPLETED_SUCCESS", 28, 28)
        assert len(done["runs"]) == 3
        stopped = [entry["id"] for entry in us.entries() if entry["timeInterval"]["end"]]
        assert set(us.at_snapshots("time_entries")) == set(stopped)


def successes(shell: Shell) -> list[str]:
    """The first days of the runs that ended well, as Dagster's history has them."""
    ended_well = (
        "SELECT value FROM runs JOIN run_tags USING (run_id) WHERE status = 'SUCCESS' AND key = ? ORDER BY value"
    )
    with closing(sqlite3.connect(shell.home / "dagster" / "history" / "runs.db")) as history:
        return [value for (value,) in history.execute(ended_well, (RANGE_START,))]


def test_killed_in_the_middle_it_goes_on_without_its_finished_days(us: Team, tmp_path: Path) -> None:
    """`kill -9` of a daemon at work: another one goes on, and no day is read or written a second time."""
    us.sync("locations", "users", "projects")
    us.forget_stats()
    us.fault("stall", "POST /snapshots/time_entries/batch", seconds=0.5)
    with shell_for(us, tmp_path / "shell", SYNC_DAYS_PER_RUN="4") as shell:
        span = Days(us.days.last - timedelta(days=15), us.days.last)
        asking = ("backfill", "--json", "--from", span.keys[0], "--to", span.keys[1])
        shell(*asking, code=1)
        with daemon(shell) as process:
            wait_until(lambda: len(successes(shell)) >= 1)
            process.kill()
        finished = successes(shell)
        assert len(finished) < 4
        with daemon(shell):
            while (ended := shell(*asking)).code:
                assert not ended.document["failed"]
        assert ended.document["done"] == 16
        assert len(successes(shell)) == len(set(successes(shell))) == 4
        assert set(finished) <= set(successes(shell))
    stopped = {
        entry["id"]
        for entry in us.entries()
        if entry["timeInterval"]["end"] and entry["timeInterval"]["start"][:10] >= span.keys[0]
    }
    assert stopped
    assert set(us.at_snapshots("time_entries")) == stopped
    assert us.writes()["time_entries"] == len(stopped)
