"""``python -m sync_pipeline_tests.scale``: a fleet on seven machines, measured and disturbed."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import mkdtemp

import click
import dagster as dg
from dagster._core.storage.tags import BACKFILL_ID_TAG

from sync_pipeline.hosting.liveness import PROCESS_TAG
from sync_pipeline_tests.harness import clean_environ
from sync_pipeline_tests.scale.faults import Faults, Outcome
from sync_pipeline_tests.scale.fleet import NAMES, Fleet, Size, sandbox_command, wait, workspace_at
from sync_pipeline_tests.scale.machines import Network

LARGE, SMALL = Size(1_000_000, 730), Size(50_000, 730)


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast so many workers were."""

    workers: int
    entries: int
    seconds: float
    runs: dict[str, int]
    requests: int
    limited: int
    in_sync: bool

    @property
    def per_second(self) -> float:
        """Entries a second."""
        return self.entries / self.seconds


@dataclass(slots=True)
class Report:
    """What was measured and seen."""

    entries: int
    speeds: list[Speed] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    in_sync: bool | None = None


@click.command()
@click.option("--small", is_flag=True, help=f"{SMALL.entries:,} entries instead of {LARGE.entries:,}.")
@click.option("--entries", type=int, help="Another number of entries.")
@click.option(
    "--workers", default="1,2,3", show_default=True, help="The numbers of workers to measure; empty for none."
)
@click.option("--faults/--no-faults", default=True, help="Disturb a fleet of three workers.")
@click.option("--keep", is_flag=True, help="Leave the logs.")
def scale(*, small: bool, entries: int | None, workers: str, faults: bool, keep: bool) -> None:
    """Sync a workspace of two years with a fleet on seven machines, which are network namespaces of this one."""
    if os.geteuid() != 0:
        sys.exit("`make scale` makes network namespaces, which needs root.")
    chosen = SMALL if small else LARGE
    size = Size(entries or chosen.entries, chosen.days)
    directory = Path(mkdtemp(prefix="sync-scale-"))
    directory.chmod(0o755)
    report = Report(size.entries)
    try:
        seeded = seed(size, directory)
        for number in map(int, filter(None, workers.split(","))):
            with fleet_of(directory / f"fleet{number}", size, number, seeded) as fleet:
                report.speeds.append(measure(fleet))
                say(show_speed(report.speeds[-1]))
        if faults:
            with fleet_of(directory / "disturbed", size, 3, seeded) as fleet:
                disturb(fleet, report)
    finally:
        if not keep:
            subprocess.run(["rm", "-rf", str(directory)], check=False)
    print_report(report)
    is_well = all(speed.in_sync and not speed.limited for speed in report.speeds) and report.in_sync is not False
    sys.exit(0 if is_well else 1)


def seed(size: Size, directory: Path) -> Path:
    """A database of the vendors' with everything in it, made once."""
    say(f"Making {size.entries:,} entries ...")
    file = directory / "seeded.db"
    command = sandbox_command(size, "127.0.0.1", file, 8759)
    with subprocess.Popen(command, env=clean_environ(), stdout=subprocess.DEVNULL) as process:
        wait(lambda: bool(workspace_at("http://127.0.0.1:8759")), 1800, "the sandbox")
        process.terminate()
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # one file, to be copied
    return file


@contextmanager
def fleet_of(directory: Path, size: Size, workers: int, seeded: Path) -> Iterator[Fleet]:
    """Seven machines and what runs on them, until the end of the block."""
    say(f"Starting seven machines, {workers} of them with a worker ...")
    network = Network(directory)
    fleet = Fleet(network, size, workers)
    try:
        network.build(NAMES)
        fleet.start(seeded)
        first(fleet)
        yield fleet
    except BaseException:
        for log in sorted(directory.rglob("*.log")):
            say(f"--- {log.relative_to(directory)}\n{log.read_text(errors='replace')[-3000:]}")
        raise
    finally:
        network.remove()


def first(fleet: Fleet) -> None:
    """Users, projects and locations, which entries refer to."""
    with fleet.instance() as instance:
        for job in ("sync_users", "sync_locations", "sync_projects"):
            fleet.on_control("dagster", "job", "launch", "-w", "workspace.yaml", "-j", job)
            (run,) = instance.get_runs(dg.RunsFilter(job_name=job), limit=1)
            wait(lambda run_id=run.run_id: ended(instance, run_id), 600, job)  # type: ignore[misc]


def ended(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run has ended."""
    run = instance.get_run_by_id(run_id)
    return run is not None and run.is_finished


def backfill(fleet: Fleet) -> list[str]:
    """The words of the command that fills all days."""
    begin, end = fleet.days()
    return ["backfill", "--from", begin.isoformat(), "--to", end.isoformat(), "--json"]


def measure(fleet: Fleet) -> Speed:
    """One backfill of all days, from its first run's start to its last run's end."""
    fleet.vendors("stats/reset", {})
    fleet.on_control("sync-pipeline", *backfill(fleet), check=False)
    with fleet.instance() as instance:
        records = [each for each in instance.get_run_records() if BACKFILL_ID_TAG in each.dagster_run.tags]
        begin, end = min(r.start_time or 0 for r in records), max(r.end_time or 0 for r in records)
        machines = Counter(r.dagster_run.tags.get(PROCESS_TAG, "@?").rpartition("@")[2] for r in records)
    stats = fleet.vendors("stats")
    return Speed(
        workers=fleet.workers,
        entries=fleet.delivered(),
        seconds=end - begin,
        runs=dict(machines),
        requests=sum(stats["requests"].values()),
        limited=stats["rate_limited"],
        in_sync=is_in_sync(fleet),
    )


def is_in_sync(fleet: Fleet) -> bool:
    """Whether `verify`, which reads both sides in full, finds no difference."""
    fleet.vendors("options", {"requests_per_second": 50})
    try:
        fleet.on_control("sync-pipeline", "verify")
    except RuntimeError as error:
        say(str(error))
        return False
    return True


def disturb(fleet: Fleet, report: Report) -> None:
    """All faults during one backfill; then what was cancelled again, and a comparison of both sides."""
    filling = threading.Thread(
        target=fleet.on_control, args=("sync-pipeline", *backfill(fleet)), kwargs={"check": False}
    )
    filling.start()
    with fleet.instance() as instance:
        report.outcomes = Faults(fleet, instance, say).all()
        filling.join()
        for _ in range(3):  # days whose run was cancelled, or failed for good
            if json.loads(fleet.on_control("sync-pipeline", *backfill(fleet), check=False))["success"]:
                break
        wait(lambda: not [run for run in instance.get_runs() if not run.is_finished], 1800, "all runs to end")
    report.in_sync = is_in_sync(fleet)


def show_speed(speed: Speed) -> str:
    """One line."""
    return (
        f"{speed.workers} workers: {speed.entries:,} entries in {speed.seconds:.0f} s, {speed.per_second:,.0f} a second; runs by machine "
        f"{speed.runs}; {speed.requests:,} requests, {speed.limited} over the limit; {'in sync' if speed.in_sync else 'NOT IN SYNC'}"
    )


def print_report(report: Report) -> None:
    """Tables for the docs, and the same as JSON."""
    say(
        "\n| workers | entries a second | seconds | runs by machine | requests | over the limit |\n| --- | --- | --- | --- | --- | --- |"
    )
    for one in report.speeds:
        say(
            f"| {one.workers} | {one.per_second:,.0f} | {one.seconds:.0f} | {one.runs} | {one.requests:,} | {one.limited} |"
        )
    say("\n| fault | outcome |\n| --- | --- |")
    for outcome in report.outcomes:
        say(f"| {outcome.fault} | {outcome.outcome} |")
    say(f"\nBoth sides at the end: {report.in_sync}")
    say(json.dumps(asdict(report)))


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    scale()
