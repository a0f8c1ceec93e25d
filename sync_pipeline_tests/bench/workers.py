"""How much faster several workers load than one: each loads its share of the days into one PostgreSQL store.

Every request takes 200 ms and each system refuses more than ten a second, so waiting is measured and not the processor.
``python -m sync_pipeline_tests.bench.workers FIRST LAST`` is one such worker; it starts when a line comes in.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import yaml

from sync_pipeline.connectors.clockify.account import PLANS
from sync_pipeline.stages.batch import Days
from sync_pipeline_tests.bench.commands import ROOT, Workplace, sync_words
from sync_pipeline_tests.bench.postgresql import serving
from sync_pipeline_tests.bench.rounds import Plan, workplace

NUMBERS = (1, 2, 3)
ENTRIES, DAYS, USERS = 1_500, 180, 10
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
    work.run(*sync_words("locations", "users", "projects"))
    work.sandbox.ask("/_control/options", {"requests_per_second": A_SECOND})
    work.sandbox.ask("/_control/snapshots", {"rate_per_second": A_SECOND})
    work.sandbox.ask("/_control/faults", {"kind": "stall", "route": "*", "seconds": LATENCY})
    with _ready(work, shares(plan, workers)) as processes:
        work.sandbox.clear()
        begun = perf_counter()
        for process in processes:
            _tell(process)
        for process in processes:
            process.wait()
        seconds = perf_counter() - begun
    counted = work.sandbox.ask("/_control/stats")
    requests, writes = sum(counted["requests"].values()), sum(counted["writes"].values())
    return Together(workers, round(seconds, 1), requests, writes, counted["rate_limited"])


def shares(plan: Plan, workers: int) -> list[Days]:
    """The days cut into as many neighbouring ranges as there are workers."""
    cuts = [plan.first_day + timedelta(days=plan.days * number // workers) for number in range(workers + 1)]
    return [Days(first, following - timedelta(days=1)) for first, following in pairwise(cuts)]


@contextmanager
def _ready(work: Workplace, spans: Sequence[Days]) -> Iterator[list[subprocess.Popen[str]]]:
    """A worker for each of the ranges, each with everything imported; none has failed in the end."""
    profile = work.root / "ten_a_second.yaml"
    facts = yaml.safe_load(PROFILE.read_text())
    facts["rate"], facts["batch"]["size"] = [{"requests": A_SECOND, "seconds": 1}], BATCH_SIZE
    profile.write_text(yaml.safe_dump({**facts, "profile": profile.stem}))
    processes = []
    for number, span in enumerate(spans):
        environ = {**work.environ(), "SNAPSHOTS_PROFILE": str(profile), "SYNC_HOME": f"{work.home}-{number}"}
        command = [sys.executable, "-m", __spec__.name, *span.keys]
        process = subprocess.Popen(
            command, cwd=work.root, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
    try:
        for process in processes:
            assert process.stdout
            process.stdout.readline()
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if failed := [process.args for process in processes if process.returncode]:
        raise RuntimeError(f"these workers failed: {failed}")


def _tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("start\n")
    process.stdin.close()


def _work(first: str, last: str) -> None:
    """Load these days with what the sandbox's limits allow."""
    from sync_pipeline.definitions import build
    from sync_pipeline.hosting.main_job import run_main_job
    from sync_pipeline.settings import load_settings
    from sync_pipeline.stages.check import Options

    PLANS["paid"] = replace(PLANS["paid"], windows=((A_SECOND, 1.0),))  # type: ignore[index]  # of this process alone
    settings = load_settings()
    defs = build(settings)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    days = Days(date.fromisoformat(first), date.fromisoformat(last))
    report = run_main_job(settings, defs, ["time_entries"], days, Options())
    sys.stderr.writelines(f"{error}\n" for error in report.errors)
    sys.exit(not report.success)


if __name__ == "__main__":
    _work(*sys.argv[1:])
