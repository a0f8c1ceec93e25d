"""What a run leaves in Dagster's storage."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage

from sync_pipeline.hosting.run_storage import captured
from sync_pipeline_tests.forking import Started

DAYS = dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-02-01", timezone="UTC")
RANGE = {"dagster/asset_partition_range_start": "2026-01-01", "dagster/asset_partition_range_end": "2026-01-31"}
CONFIG = """
telemetry: {enabled: false}
storage: {custom: {module: sync_pipeline.hosting.run_storage, class: History, config: {base_dir: BASE}}}
compute_logs: {module: sync_pipeline.hosting.run_storage, class: StepOutput, config: {base_dir: BASE}}
"""


@dg.asset(
    partitions_def=DAYS,
    check_specs=[dg.AssetCheckSpec("whole", asset="days")],
)
def days() -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """A month in one run, checked once."""
    yield dg.MaterializeResult()
    yield dg.AssetCheckResult(passed=True, check_name="whole")


@dg.op
def silent() -> None:
    """Prints nothing."""


@dg.op
def talking() -> None:
    """Prints a line."""
    sys.stdout.write("something\n")
    sys.stdout.flush()


@dg.job(executor_def=dg.in_process_executor)
def steps() -> None:
    """One step that prints, and one that does not."""
    silent()
    talking()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance on our storage."""
    (tmp_path / "dagster.yaml").write_text(CONFIG.replace("BASE", str(tmp_path)))
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


def query(file: Path, statement: str) -> list[tuple[object, ...]]:
    """Rows of one of Dagster's files."""
    with closing(sqlite3.connect(file)) as opened:
        return opened.execute(statement).fetchall()


def test_a_check_of_many_days_is_one_row(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """It is evaluated once: a row for each day would stay planned and grow the index with every sync."""
    result = dg.materialize([days], instance=instance, tags=RANGE)
    rows = query(tmp_path / "history/runs/index.db", "SELECT partition, execution_status FROM asset_check_executions")
    assert result.success
    assert rows == [(None, "SUCCEEDED")]
    assert len(instance.get_materialized_partitions(dg.AssetKey("days"))) == 31


def test_the_file_of_a_run_is_small(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """Dagster's empty tables take half a kilobyte each; a run of two steps stays below the size its tables had alone."""
    result = steps.execute_in_process(instance=instance)
    file = tmp_path / f"history/runs/{result.run_id}.db"
    assert query(file, "PRAGMA page_size") == [(512,)]
    instance.dispose()
    assert file.stat().st_size < 26 * 4096


def test_the_tables_of_a_run_are_those_that_dagster_makes(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """The file of each run is made with the tables of the index, exactly as Dagster makes it."""
    results = [steps.execute_in_process(instance=instance) for _ in range(3)]
    stored = {result.run_id: instance.all_logs(result.run_id) for result in results}
    assert all({entry.run_id for entry in entries} == {run_id} for run_id, entries in stored.items())
    assert len({len(entries) for entries in stored.values()}) == 1

    made = SqliteEventLogStorage(str(tmp_path / "dagster's"))
    with made.run_connection("another"):
        schema = "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2"
        wanted = query(Path(made.path_for_shard("another")), schema)
        revision = query(Path(made.path_for_shard("another")), "SELECT version_num FROM alembic_version")
    for result in results:
        file = tmp_path / f"history/runs/{result.run_id}.db"
        assert query(file, schema) == wanted
        assert query(file, "SELECT version_num FROM alembic_version") == revision
        assert query(file, "PRAGMA journal_mode") == [("wal",)]
    assert list((tmp_path / "history/runs").glob(".*")) == []


def test_a_step_that_printed_nothing_leaves_no_empty_files(
    instance: dg.DagsterInstance, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What another one printed is kept and shown, to its last line, and both are known to be complete."""
    result = steps.execute_in_process(instance=instance)
    assert result.success
    assert "something\n" in capfd.readouterr().out.splitlines(keepends=True)
    files = [path for path in (tmp_path / "storage").rglob("*") if path.is_file()]
    assert [path.read_text() for path in files if path.suffix == ".out"] == ["something\n"]
    assert [path for path in files if path.suffix in {".out", ".err"} and not path.stat().st_size] == []
    assert any(path.suffix == ".complete" for path in files)


def test_a_full_pipe_of_another_program_loses_nothing(tmp_path: Path) -> None:
    """One that does not block takes only what fits in: the rest is written when there is room again."""
    lines = "".join(f"line {number:06}\n" for number in range(80_000))
    end, start = os.pipe()
    os.set_blocking(start, False)
    with os.fdopen(end, encoding="utf-8") as shown, ThreadPoolExecutor() as reader:
        with os.fdopen(start, "w", encoding="utf-8") as stream, captured(stream, tmp_path / "step.out"):
            stream.write(lines)
            read = reader.submit(shown.read)
        assert read.result() == lines
    assert (tmp_path / "step.out").read_text() == lines


SPOILED = """
import os, resource, sys
from pathlib import Path
from sync_pipeline.hosting.run_storage import captured
with captured(sys.stdout, Path(sys.argv[1])):
    SPOIL
os.write(1, b"the answer")
with captured(sys.stdout, Path(sys.argv[1])):
    pass
"""
FULL = "resource.setrlimit(resource.RLIMIT_FSIZE, (0, -1)); sys.stdout.write('lost. ')"


@pytest.mark.parametrize("spoil", [FULL, "sys.stdout.close()"], ids=["full", "closed"])
def test_what_is_printed_after_a_step_is_shown_whatever_the_step_did(tmp_path: Path, spoil: str) -> None:
    """A step fills the disk, or closes its output: what follows is no longer written to its file."""
    program = SPOILED.replace("SPOIL", spoil)
    command = [sys.executable, "-c", program, str(tmp_path / "step.out")]
    with Started(command, stdout=subprocess.PIPE, text=True) as process:
        assert "the answer" in process.communicate()[0]
    assert process.returncode == 0
