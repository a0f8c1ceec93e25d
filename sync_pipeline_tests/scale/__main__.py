"""``python -m sync_pipeline_tests.scale``: a fleet on seven machines, measured and disturbed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import click

from sync_pipeline_tests.harness import clean_environ
from sync_pipeline_tests.scale.changes import Changes, measure_changes
from sync_pipeline_tests.scale.faults import Faults, Outcome
from sync_pipeline_tests.scale.fleet import NAMES, WORKERS, Fleet, Size, sandbox_command, wait, workspace_at
from sync_pipeline_tests.scale.machines import Network
from sync_pipeline_tests.scale.measure import Speed, backfill_words, measure

LARGE, SMALL = Size(1_000_000, 730), Size(50_000, 730)


@dataclass(slots=True)
class Report:
    """What was measured and seen."""

    entries: int
    speeds: list[Speed] = field(default_factory=list)
    changes: Changes | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    in_sync: bool | None = None

    def problems(self) -> Iterator[str]:
        """Everything that is not as it should be: each ends the command with 1."""
        for speed in self.speeds:
            yield from (f"{speed.workers} workers: {problem}" for problem in speed.problems())
        if self.changes and not self.changes.is_well:
            yield f"changes during a backfill: {self.changes}"
        yield from (f"{each.fault}: {each.outcome}" for each in self.outcomes if not each.is_well)
        if self.in_sync is False:
            yield "the sides differ after the faults"


@click.command()
@click.option("--small", is_flag=True, help=f"{SMALL.entries:,} entries instead of {LARGE.entries:,}.")
@click.option("--entries", type=int, help="Another number of entries.")
@click.option(
    "--workers", default="1,2,3", show_default=True, help="The numbers of workers to measure; empty for none."
)
@click.option(
    "--changes/--no-changes",
    default=True,
    help="Edit entries while a backfill runs on three workers, after these were measured.",
)
@click.option("--faults/--no-faults", default=True, help="Disturb a fleet of three workers.")
@click.option("--keep", is_flag=True, help="Keep the logs, and print where they are.")
def scale(*, small: bool, entries: int | None, keep: bool, **parts: Any) -> None:
    """Sync a workspace of two years with a fleet on seven machines, which are network namespaces of this one."""
    if os.geteuid() != 0:
        sys.exit("`make scale` makes network namespaces, which needs root.")
    for asked in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # also where it was started in the background: nothing may be left behind
        signal.signal(asked, signal.default_int_handler)
    chosen = SMALL if small else LARGE
    size = Size(entries or chosen.entries, chosen.days)
    directory = Path(mkdtemp(prefix="sync-scale-"))
    directory.chmod(0o755)
    report = Report(size.entries)
    try:
        run_parts(report, size, directory, **parts)
    finally:
        if keep:
            say(f"The logs are in {directory}.")
        else:
            subprocess.run(["rm", "-rf", str(directory)], check=False)
        print_report(report)
    problems = list(report.problems())
    for problem in problems:
        say(f"PROBLEM: {problem}")
    sys.exit(1 if problems else 0)


def run_parts(report: Report, size: Size, directory: Path, *, workers: str, changes: bool, faults: bool) -> None:
    """The parts that were asked for, each with a fleet of its own."""
    seeded = seed(size, directory)
    for number in map(int, filter(None, workers.split(","))):
        with fleet_of(directory / f"fleet{number}", Fleet(size, number), seeded) as fleet:
            report.speeds.append(measure(fleet))
            say(show_speed(report.speeds[-1]))
            if changes and number == len(WORKERS):
                report.changes = measure_changes(fleet)
                say(str(report.changes))
    if faults:
        with fleet_of(directory / "disturbed", Fleet(size, 3, is_live=True), seeded) as fleet:
            disturb(fleet, report)


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
def fleet_of(directory: Path, fleet: Fleet, seeded: Path) -> Iterator[Fleet]:
    """Seven machines and what runs on them, until the end of the block."""
    say(f"Starting seven machines, {fleet.workers} of them with a worker ...")
    network = fleet.network = Network(directory)
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
    fleet.on_control("sync-pipeline", "sync", "locations", "users", "projects", "--yes")


def disturb(fleet: Fleet, report: Report) -> None:
    """All faults while all days are filled, again when that has ended; then a third time, and a comparison of both sides."""
    are_over = threading.Event()

    def fill() -> None:
        while not are_over.is_set():
            fleet.on_control("sync-pipeline", *backfill_words(fleet), check=False)

    filling = threading.Thread(target=fill, name="backfill")
    filling.start()
    with fleet.instance() as instance:
        try:
            report.outcomes = Faults(fleet, instance, say).all()
        finally:
            are_over.set()
            filling.join()
        for _ in range(3):  # days whose run was cancelled, or failed permanently
            if json.loads(fleet.on_control("sync-pipeline", *backfill_words(fleet), check=False))["success"]:
                break
        wait(lambda: not [run for run in instance.get_runs() if not run.is_finished], 1800, "all runs to end")
    report.in_sync = fleet.is_in_sync()


def show_speed(speed: Speed) -> str:
    """One line."""
    return f"{speed.workers} workers: {speed.entries:,} entries in {speed.seconds:.0f} s, {speed.per_second:,.0f} a second; {speed}"


def print_report(report: Report) -> None:
    """Tables for the docs, and the same as JSON."""
    say(
        "\n| workers | seconds | entries a second | requests | minimum | over the limit | MB a worker | runs begin after | used by others |"
        "\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    for one in report.speeds:
        middle, longest = one.start_seconds
        say(
            f"| {one.workers} | {one.seconds:.0f} | {one.per_second:,.0f} | {sum(one.requests.values()):,} | {one.minimum:,} | {one.limited} "
            f"| {one.worker_megabytes} | {middle} s, at most {longest} s | {one.others:.0%} |"
        )
    if report.changes:
        say(f"\n{report.changes}")
    say("\n| fault | outcome |\n| --- | --- |")
    for outcome in report.outcomes:
        say(f"| {outcome.fault} | {outcome.outcome} |")
    say(f"\nBoth sides after the faults are in sync: {report.in_sync}")
    say(json.dumps(asdict(report)))


def say(text: str) -> None:
    """Print a line immediately."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    scale()
