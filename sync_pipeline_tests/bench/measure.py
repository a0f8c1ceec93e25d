"""One configuration measured: the same sync twice, each in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil

from sync_pipeline_tests.bench.minimum import minimum
from sync_pipeline_tests.bench.sandbox import Sandbox, running
from sync_pipeline_tests.harness import CLOCKIFY_KEY, SNAPSHOTS_KEY, clean_environ

ROOT = Path(__file__).parents[2]
SAMPLE_SECONDS = 0.02
CLOCKIFY_REQUESTS_PER_SECOND = 50  # of a paid plan; the sync keeps to it although the sandbox would not mind


@dataclass(frozen=True, slots=True)
class Sync:
    """One sync: what it took and what it did."""

    wall_seconds: float
    cpu_seconds: float
    entries_per_second: float
    requests: int
    minimum_requests: int
    request_ratio: float
    writes: int
    peak_mb: float
    sandbox_peak_mb: float
    sandbox_seconds: float
    sandbox_cpu_seconds: float
    sandbox_share: float


@dataclass(frozen=True, slots=True)
class Result:
    """The two syncs of one configuration."""

    entries: int
    page_size: int
    synced: int
    first: Sync
    second: Sync
    limit_seconds: float
    """What the rate limit of a paid plan alone costs the reads of one sync."""


def measure(directory: Path, entries: int, users: int, days: int, page_size: int) -> Result:
    """Sync a fresh copy of the made-up workspace in full, then again; nothing else may run beside it."""
    today = datetime.now(UTC).date()
    first_day = today - timedelta(days=days)
    work = directory / f"{entries}-{page_size}"
    work.mkdir()
    for name in ("workspace.yaml", "dagster.yaml"):
        shutil.copy(ROOT / name, work / name)
    shutil.copy(_seeded(directory, users, entries, days), work / "sandbox.db")
    with running(work / "sandbox.db", users, entries, days) as sandbox:
        fewest = minimum(sandbox, first_day, today, page_size)
        first, synced = _sync(sandbox, work, first_day, page_size, fewest.first)
        second, _ = _sync(sandbox, work, first_day, page_size, fewest.second)
    shutil.rmtree(work)
    return Result(entries, page_size, synced, first, second, fewest.second / CLOCKIFY_REQUESTS_PER_SECOND)


def load_seconds(times: int = 3) -> float:
    """Seconds until the Dagster code location is loaded, interpreter included: the best of a few starts."""
    program = "import sync_pipeline.definitions as d; d.defs()"
    command = [sys.executable, "-c", program]
    taken = []
    for _ in range(times):
        begun = perf_counter()
        subprocess.run(command, env=clean_environ(PYTHONPATH=str(ROOT)), check=True)
        taken.append(perf_counter() - begun)
    return round(min(taken), 2)


def _seeded(directory: Path, users: int, entries: int, days: int) -> Path:
    """A sandbox's database as it is before anybody used it; made once for each number of entries."""
    database = directory / f"seeded-{entries}.db"
    if not database.exists():
        with running(database, users, entries, days):
            pass  # filled, closed, and from now on only copied
    return database


def _sync(sandbox: Sandbox, work: Path, first_day: date, page_size: int, fewest: int) -> tuple[Sync, int]:
    before = sandbox.clear()
    with _peak(sandbox.process) as sandbox_peak:
        begun = perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "sync_pipeline.cli", "sync", "--json"],
            cwd=work,
            env=_environ(sandbox, work, first_day, page_size),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with _peak(psutil.Process(process.pid)) as peak:
            out, err = process.communicate()
        wall = perf_counter() - begun
    if process.returncode:
        raise RuntimeError(f"The sync failed:\n{out}\n{err}")
    document, after = json.loads(out), sandbox.stats()
    counts = document["entities"]["time_entries"]
    requests = sum(after.requests.values())
    return Sync(
        wall_seconds=round(wall, 2),
        cpu_seconds=round(peak.cpu_seconds, 2),
        entries_per_second=round(counts["extracted"] / wall, 1),
        requests=requests,
        minimum_requests=fewest,
        request_ratio=round(requests / fewest, 4),
        writes=after.writes,
        peak_mb=round(peak.megabytes, 1),
        sandbox_peak_mb=round(sandbox_peak.megabytes, 1),
        sandbox_seconds=round(after.request_seconds - before.request_seconds, 2),
        sandbox_cpu_seconds=round(after.busy_seconds - before.busy_seconds, 2),
        sandbox_share=round((after.request_seconds - before.request_seconds) / wall, 3),
    ), counts["extracted"]


def _environ(sandbox: Sandbox, work: Path, first_day: date, page_size: int) -> dict[str, str]:
    return clean_environ(
        CLOCKIFY_API_KEY=CLOCKIFY_KEY,
        CLOCKIFY_WORKSPACE_ID=sandbox.workspace,
        CLOCKIFY_BASE_URL=f"{sandbox.url}/clockify/api/v1",
        CLOCKIFY_REPORTS_URL=f"{sandbox.url}/clockify/report/v1",
        CLOCKIFY_PLAN="paid",
        CLOCKIFY_PAGE_SIZE=str(page_size),
        SNAPSHOTS_BASE_URL=f"{sandbox.url}/snapshots",
        SNAPSHOTS_API_KEY=SNAPSHOTS_KEY,
        SYNC_START_DATE=first_day.isoformat(),
        SYNC_HOME=str(work / "home"),
        PYTHONPATH=str(ROOT),
    )


class _Peak:
    """The largest process of a tree, and the CPU time its root had used when it was last seen."""

    def __init__(self) -> None:
        self.megabytes = 0.0
        self.cpu_seconds = 0.0

    def look(self, root: psutil.Process) -> None:
        """Look once; a process that has just ended has nothing to show."""
        with suppress(psutil.Error):
            times: Any = root.cpu_times()
            self.cpu_seconds = max(self.cpu_seconds, times.user + times.system)
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.Error):
                    self.megabytes = max(self.megabytes, process.memory_info().rss / 1e6)


@contextmanager
def _peak(root: psutil.Process) -> Iterator[_Peak]:
    """Watch a process and its children until the end of the block."""
    peak, ended = _Peak(), threading.Event()

    def watch() -> None:
        while True:
            peak.look(root)
            if ended.wait(SAMPLE_SECONDS):
                return

    thread = threading.Thread(target=watch, name="peak", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()
