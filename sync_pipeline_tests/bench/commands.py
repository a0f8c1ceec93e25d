"""Commands of ours run as a user starts them: each in a process of its own, with what it took and what it did."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil

from sync_pipeline_tests.bench.sandbox import Sandbox
from sync_pipeline_tests.harness import CLOCKIFY_KEY, SNAPSHOTS_KEY, clean_environ

ROOT = Path(__file__).parents[2]
CLI = "sync_pipeline.cli"
SAMPLE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Ran:
    """One command: what it took, and what it asked of the sandbox."""

    wall_seconds: float
    cpu_seconds: float
    peak_mb: float
    requests: int
    writes: int
    document: Any = None
    """What it printed, where that is JSON."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """A project directory with a home of its own, and the sandbox its commands work on."""

    root: Path
    sandbox: Sandbox
    first_day: date
    page_size: int = 1000
    database: str = ""
    more: Mapping[str, str] = field(default_factory=dict)
    """More of the environment."""

    @classmethod
    def make(
        cls, root: Path, sandbox: Sandbox, first_day: date, page_size: int = 1000, database: str = ""
    ) -> Workplace:
        """A new directory with the files that Dagster looks for."""
        root.mkdir(parents=True)
        for name in ("workspace.yaml", "dagster.yaml"):
            shutil.copy(ROOT / name, root / name)
        return cls(root, sandbox, first_day, page_size, database)

    @property
    def home(self) -> Path:
        """Where the commands keep their state."""
        return self.root / "home"

    def environ(self) -> dict[str, str]:
        """The environment that points a command at the sandbox."""
        ours = clean_environ(
            CLOCKIFY_API_KEY=CLOCKIFY_KEY,
            CLOCKIFY_WORKSPACE_ID=self.sandbox.workspace,
            CLOCKIFY_BASE_URL=f"{self.sandbox.url}/clockify/api/v1",
            CLOCKIFY_REPORTS_URL=f"{self.sandbox.url}/clockify/report/v1",
            CLOCKIFY_PLAN="paid",
            CLOCKIFY_PAGE_SIZE=str(self.page_size),
            SNAPSHOTS_BASE_URL=f"{self.sandbox.url}/snapshots",
            SNAPSHOTS_API_KEY=SNAPSHOTS_KEY,
            SYNC_START_DATE=self.first_day.isoformat(),
            SYNC_HOME=str(self.home),
            PYTHONPATH=str(ROOT),
            PYTHONDONTWRITEBYTECODE="",  # compiled once, like an installed program; the environment may say otherwise for others
            **({"SYNC_DATABASE_URL": self.database} if self.database else {}),
        )
        return {**ours, **self.more}

    def run(self, *words: str) -> Ran:
        """Run `sync-pipeline WORDS`; RuntimeError with its output when it fails."""
        return self.start("-m", CLI, *words)

    def start(self, *arguments: str) -> Ran:
        """Run Python with these arguments, and count from zero what it asks of the sandbox."""
        self.sandbox.clear()
        started = perf_counter()
        with subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.root,
            env=self.environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            with watched(psutil.Process(process.pid)) as peak:
                out, err = process.communicate()
            wall = perf_counter() - started
        if process.returncode:
            raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}:\n{out}\n{err}")
        counted = self.sandbox.stats()
        return Ran(wall, peak.cpu_seconds, peak.megabytes, sum(counted.requests.values()), counted.writes, _json(out))


def sync_words(*more: str) -> Sequence[str]:
    """The sync that is measured: the main job, without a question."""
    return ("sync", "--json", "--yes", *more)


def _json(text: str) -> Any:
    with suppress(ValueError):
        return json.loads(text)
    return None


class Peak:
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
def watched(root: psutil.Process) -> Iterator[Peak]:
    """Watch a process and its children until the end of the block."""
    peak, ended = Peak(), threading.Event()

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
