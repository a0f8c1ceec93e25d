"""Measures how much faster several workers fill one PostgreSQL store than one; each takes the next ten days when free.

Every request takes 200 ms and each system refuses more than ten a second, so waiting is measured and not the processor.
``python -m sync_pipeline_tests.bench.workers`` is one such worker; each line it reads names the days of a run.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter

import yaml

from sync_pipeline.connectors.clockify.account import PLANS
from sync_pipeline.stages.batch import Days, Options
from sync_pipeline_tests.bench.commands import ROOT, Workplace, sync_words
from sync_pipeline_tests.bench.postgresql import serving
from sync_pipeline_tests.bench.rounds import Plan, workplace

NUMBERS = (1, 2, 3)
ENTRIES, DAYS, USERS = 1_500, 180, 10
DAYS_A_RUN = 10
LATENCY, A_SECOND = 0.2, 10
PAGE_SIZE, BATCH_SIZE = 20, 20
PROFILE = ROOT / "sync_pipeline" / "connectors" / "profiles" / "generic.yaml"


@dataclass(frozen=True, slots=True)
class Together:
    """What some workers did at the same time."""

    workers: int
    seconds: float
    requests: int
    writes: int
    refused: int
    """Requests beyond the limit of a system."""


def measure_workers(
    directory: Path, numbers: Sequence[int] = NUMBERS, entries: int = ENTRIES, days: int = DAYS
) -> Iterator[Together]:
    """The same days by one worker, by two, by three; each time into an empty store and an empty target."""
    plan = Plan(1, [entries], USERS, days, PAGE_SIZE)
    with serving(len(numbers)) as database:
        for number, workers in enumerate(numbers):
            with workplace(directory, plan, entries, database.format(number=number)) as work:
                yield _load(work, plan, workers)


def _load(work: Workplace, plan: Plan, workers: int) -> Together:
    work = replace(work, more={"SNAPSHOTS_PROFILE": str(_profile(work.root))})
    work.run(*sync_words("locations", "users", "projects"))
    work.sandbox.ask("/_control/options", {"requests_per_second": A_SECOND})
    work.sandbox.ask("/_control/snapshots", {"rate_per_second": A_SECOND})
    work.sandbox.ask("/_control/faults", {"kind": "stall", "route": "*", "seconds": LATENCY})
    waiting: SimpleQueue[Days | None] = SimpleQueue()
    for run in [*runs(plan), *[None] * workers]:
        waiting.put(run)
    with _ready(work, workers) as processes, ThreadPoolExecutor(workers) as threads:
        work.sandbox.clear()
        started = perf_counter()
        list(threads.map(lambda process: _feed(process, waiting), processes))
        seconds = perf_counter() - started
    counted = work.sandbox.ask("/_control/stats")
    requests, writes = sum(counted["requests"].values()), sum(counted["writes"].values())
    return Together(workers, round(seconds, 1), requests, writes, counted["rate_limited"])


def runs(plan: Plan) -> list[Days]:
    """The days of the plan, ten a run."""
    firsts = [plan.first_day + timedelta(days=number) for number in range(0, plan.days, DAYS_A_RUN)]
    return [Days(first, first + timedelta(days=DAYS_A_RUN - 1)) for first in firsts]


def _profile(directory: Path) -> Path:
    """The Snapshots API as this is measured: ten requests a second, 20 records a write."""
    path = directory / "ten_a_second.yaml"
    facts = yaml.safe_load(PROFILE.read_text())
    facts["rate"], facts["batch"]["size"] = [{"requests": A_SECOND, "seconds": 1}], BATCH_SIZE
    path.write_text(yaml.safe_dump({**facts, "profile": path.stem}))
    return path


@contextmanager
def _ready(work: Workplace, workers: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Start the workers and wait until each has imported everything; they are killed at the end."""
    processes = []
    for number in range(workers):
        process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name],
            cwd=work.root,
            env={**work.environ(), "SYNC_HOME": f"{work.home}-{number}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
    try:
        for process in processes:
            _line(process)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _feed(process: subprocess.Popen[str], waiting: SimpleQueue[Days | None]) -> None:
    """Give the worker the next run as soon as the one before is done, until there is none."""
    assert process.stdin
    while run := waiting.get():
        process.stdin.write(" ".join(run.keys) + "\n")
        process.stdin.flush()
        if not _line(process):
            raise RuntimeError(f"a worker failed at {run}")


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


def _work() -> None:
    """Load what each line names, with what the sandbox's limits allow."""
    from sync_pipeline.definitions import build
    from sync_pipeline.hosting.main_job import run_main_job
    from sync_pipeline.settings import load_settings

    PLANS["paid"] = replace(PLANS["paid"], windows=((A_SECOND, 1.0),))  # type: ignore[index]  # of this process alone
    settings = load_settings()
    defs = build(settings)
    _say("ready")
    for line in sys.stdin:
        days = Days(*map(date.fromisoformat, line.split()))
        report = run_main_job(settings, defs, ["time_entries"], days, Options())
        sys.stderr.writelines(f"{error}\n" for error in report.errors)
        if not report.success:
            sys.exit(1)
        _say("done")


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _work()
