"""The night's housekeeping: Dagster's history stays bounded, and nothing it shows of a day or a check changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable

from sync_pipeline.clock import utc_now
from sync_pipeline.defs.first_sync import NAME
from sync_pipeline.defs.housekeeping import FORGET_EVENTS
from sync_pipeline.hosting.launch import RANGE_END, RANGE_START
from sync_pipeline.hosting.run_retention import current_runs, prune_runs
from sync_pipeline.store.schema import COPY
from sync_pipeline_tests.defs.live import Live, live
from sync_pipeline_tests.harness import Team, team

ENTRIES = dg.AssetKey("time_entries")
YEAR_BEFORE = timedelta(days=365)
KEPT = timedelta(days=30)


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """Both systems."""
    with team(tmp_path / "team", entries=10) as opened:
        yield opened


@pytest.fixture
def on(us: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Everything was synced once, a year ago."""
    with live(us, tmp_path / "live", monkeypatch) as switched_on:
        while switched_on.tick(NAME).requests:
            pass
        yield switched_on


def test_a_year_of_runs_is_pruned_and_every_day_looks_the_same(us: Team, on: Live) -> None:
    """A re-scan a month: runs and files stay bounded, days and checks look the same, and there is nothing to sync."""
    start = utc_now() - YEAR_BEFORE
    assert rescan(us, on).success
    settle(on, start)
    before, files = picture(on), []
    for month in range(1, 13):
        assert rescan(us, on).success
        settle(on, start + month * KEPT)
        prune(on, start + month * KEPT)
        files.append(len(run_files(on)))
    prune(on, start + 14 * KEPT)
    assert picture(on) == before
    kept = {run.run_id for run in on.instance.get_runs()}
    assert kept == set(current_runs(on.instance, checks(on)))
    assert run_files(on) == kept
    assert len(kept) < 10
    assert files[2:] == [files[2]] * 10
    assert orphaned_tags(on) == []
    assert orphaned_executions(on, kept) == []
    assert on.look(NAME).requests == []
    us.forget_stats()
    us.sync()
    assert us.writes() == {}


def test_a_failed_day_stays_failed(us: Team, on: Live) -> None:
    """The run that failed last is what makes a day red: it stays until the day is synced."""
    us.fault("status", "POST /clockify/report/v1/workspaces/{ws}/reports/detailed", status=500)
    us.fault("status", "GET /clockify/api/v1/workspaces/{ws}/user/{user}/time-entries", status=500)
    failed = rescan(us, on)
    assert not failed.success
    settle(on, utc_now() - YEAR_BEFORE)
    prune(on, utc_now())
    assert failed.run_id in {run.run_id for run in on.instance.get_runs()}
    us.no_faults()
    assert rescan(us, on).success
    prune(on, utc_now())
    assert failed.run_id not in {run.run_id for run in on.instance.get_runs()}


def test_an_interrupted_night_is_continued(us: Team, on: Live) -> None:
    """At most so many runs a night, the oldest first; a run half deleted is still listed, and is deleted the next night."""
    for _ in range(4):
        rescan(us, on)
    settle(on, utc_now() - YEAR_BEFORE)
    everything = {run.run_id for run in on.instance.get_runs()}
    due = everything - set(current_runs(on.instance, checks(on)))
    on.instance.event_log_storage.delete_events(min(due))
    assert prune_runs(on.instance, checks(on), utc_now(), limit=2) == 2
    assert prune_runs(on.instance, checks(on), utc_now()) == len(due) - 2
    assert prune_runs(on.instance, checks(on), utc_now()) == 0


def test_the_nightly_job_deletes_rows_runs_logs_and_copies(us: Team, on: Live) -> None:
    """One job for all of it, under the name it always had."""
    for _ in range(2):
        rescan(us, on)
    settle(on, utc_now() - YEAR_BEFORE)
    copy = us.home / f"sync.db{COPY}0004"
    copy.write_bytes(b"")
    us.changes["SYNC_KEEP_COPIES_DAYS"] = "1"
    on.renew()
    outdated = next(
        run for run in on.instance.get_runs() if run.run_id not in set(current_runs(on.instance, checks(on)))
    )
    logs = Path(on.instance.root_directory) / "storage" / outdated.run_id
    (logs / "compute_logs").mkdir(parents=True, exist_ok=True)
    (logs / "compute_logs" / "a.err").write_text("a line")
    assert copy.exists()
    assert on.execute(dg.RunRequest("night", job_name=FORGET_EVENTS)).success
    assert on.instance.get_run_by_id(outdated.run_id) is None
    assert not logs.exists()
    assert copy.exists(), "it is from today"


def rescan(us: Team, on: Live) -> dg.ExecuteInProcessResult:
    """A run over all days, as the schedules ask for."""
    first, last = us.days.keys
    tags = {RANGE_START: first, RANGE_END: last}
    return on.execute(dg.RunRequest("", job_name="sync_time_entries", tags=tags))


def settle(on: Live, at: datetime) -> None:
    """The runs of this minute ended then."""
    with sqlite3.connect(runs_file(on)) as db:
        db.execute(
            "UPDATE runs SET update_timestamp = ? WHERE update_timestamp > ?",
            (f"{at:%Y-%m-%d %H:%M:%S}", f"{utc_now() - timedelta(hours=1):%Y-%m-%d %H:%M:%S}"),
        )


def prune(on: Live, night: datetime) -> int:
    """The runs' part of one night."""
    return prune_runs(on.instance, checks(on), night - KEPT)


def checks(on: Live) -> list[dg.AssetCheckKey]:
    """Every check there is."""
    return list(on.defs.resolve_asset_graph().asset_check_keys)


def picture(on: Live) -> dict[str, Any]:
    """What the UI shows of days and checks."""
    partitions = on.defs.resolve_assets_def(ENTRIES).partitions_def
    assert partitions is not None
    days = sorted(on.instance.get_materialized_partitions(ENTRIES))
    records = on.instance.event_log_storage.get_asset_check_summary_records(checks(on))
    latest = {key: summary.last_check_execution_record for key, summary in records.items()}
    return {
        "days": on.instance.get_status_by_partition(ENTRIES, days, partitions),
        "materialized": {
            record.asset_entry.asset_key: record.asset_entry.last_materialization is not None
            for record in on.instance.get_asset_records()
        },
        "checks": {key: record.status for key, record in latest.items() if record is not None},
    }


def runs_file(on: Live) -> Path:
    """Dagster's list of runs."""
    return Path(on.instance.root_directory) / "history" / "runs.db"


def run_files(on: Live) -> set[str]:
    """The runs that have a file of events."""
    found = (Path(on.instance.root_directory) / "history" / "runs").glob("*.db")
    return {path.stem for path in found} - {"index", ".db", ""}


def orphaned_tags(on: Live) -> list[Any]:
    """Tags of runs that are deleted."""
    with sqlite3.connect(runs_file(on)) as db:
        return db.execute("SELECT run_id FROM run_tags WHERE run_id NOT IN (SELECT run_id FROM runs)").fetchall()


def orphaned_executions(on: Live, kept: set[str]) -> list[str]:
    """Checks that runs made which are deleted."""
    with on.instance.event_log_storage.index_connection() as tx:  # type: ignore[attr-defined]
        found = tx.execute(AssetCheckExecutionsTable.select().with_only_columns(AssetCheckExecutionsTable.c.run_id))
        return [row[0] for row in found if row[0] not in kept]
