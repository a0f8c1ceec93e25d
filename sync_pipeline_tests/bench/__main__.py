"""``python -m sync_pipeline_tests.bench``: measure, and print every figure next to its aim."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import click

from sync_pipeline_tests.bench.aims import figures
from sync_pipeline_tests.bench.commands import ROOT
from sync_pipeline_tests.bench.dashboard import PageTime, measure_dashboard
from sync_pipeline_tests.bench.flood import Flood, measure_flood
from sync_pipeline_tests.bench.highlevel import measure_highlevel
from sync_pipeline_tests.bench.latency import WAYS, Latency, measure_latency
from sync_pipeline_tests.bench.postgresql import serving
from sync_pipeline_tests.bench.report import show, show_live, show_pages, show_workers
from sync_pipeline_tests.bench.rounds import CLOCKS, WALL, Measured, Plan, document, measure_large, measure_rounds
from sync_pipeline_tests.bench.workers import Together, measure_workers
from sync_pipeline_tests.harness import clean_environ

ROUNDS, POSTGRESQL, LARGE, HIGHLEVEL, LATENCY, FLOOD, DASHBOARD, WORKERS = PARTS = (
    "rounds", "postgresql", "large", "highlevel", "latency", "flood", "dashboard", "workers",
)  # fmt: skip


@dataclass(slots=True)
class Bench:
    """What was measured."""

    measured: Measured = field(default_factory=Measured)
    latencies: list[Latency] = field(default_factory=list)
    floods: list[Flood] = field(default_factory=list)
    pages: list[PageTime] = field(default_factory=list)
    workers: list[Together] = field(default_factory=list)


def _numbers(_context: click.Context, _option: click.Parameter, value: str) -> list[int]:
    try:
        found = sorted(int(number) for number in value.split(",") if number)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of numbers like 10000,100000") from None
    if not found:
        raise click.BadParameter("name at least one number")
    return found


def _parts(_context: click.Context, _option: click.Parameter, value: str) -> list[str]:
    found = [part for part in value.split(",") if part]
    if unknown := [part for part in found if part not in PARTS]:
        raise click.BadParameter(f"{', '.join(unknown)}: the parts are {', '.join(PARTS)}")
    if POSTGRESQL in found and ROUNDS not in found:
        raise click.BadParameter(f"{POSTGRESQL} is measured in the {ROUNDS}: name both")
    return found


@click.command()
@click.option("--parts", default=",".join(PARTS), show_default=True, callback=_parts, help="What to measure.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="How often; the median counts.")
@click.option("--sizes", default="100000,300000", show_default=True, callback=_numbers, help="Time entries.")
@click.option(
    "--large", default=1_000_000, show_default=True, help="Time entries to verify and preview, and of the dashboard."
)
@click.option("--page-size", default=1000, show_default=True, help="Rows a page.")
@click.option("--users", default=100, show_default=True, help="Clockify users.")
@click.option("--days", default=365, show_default=True, help="Days the entries are spread over.")
@click.option("--edits", default=100, show_default=True, help="Edits whose way is timed, each way.")
@click.option("--deliveries", default=50_000, show_default=True, help="Webhooks of the flood.")
@click.option("--connections", default=100, show_default=True, help="Connections of the flood.")
@click.option("--clock", type=click.Choice(CLOCKS), default=WALL, help="Tell seconds of the wall, or of the processor.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def bench(parts: list[str], rounds: int, sizes: list[int], large: int, clock: str, as_json: bool, **more: int) -> None:
    """Sync sample workspaces in full, and again when nothing has changed, next to a bare reader of the same lists.

    Each command is a process of its own, as a user would start it: real Dagster runs, imports included. Then, with
    `sync-pipeline dev` running, how long an edit takes to arrive; what a flood of webhooks costs; and how long the pages
    of the dashboard take; and how much faster several workers load than one.
    """
    found = Bench(Measured(clock=clock))
    plan = Plan(rounds, sizes, more["users"], more["days"], more["page_size"])
    try:
        with TemporaryDirectory(prefix="sync-bench-") as name:
            _measure_speed(Path(name), parts, plan, large, found)
            _measure_life(Path(name), parts, more, found)
            if DASHBOARD in parts:
                _say(f"The dashboard with {large:,} time entries ...")
                found.pages += measure_dashboard(Path(name), large)
            if WORKERS in parts:
                _say("One, two and three workers ...")
                found.workers += measure_workers(Path(name))
    finally:  # what was measured before a part failed
        _print(found, as_json)


def _measure_speed(directory: Path, parts: list[str], plan: Plan, large: int, found: Bench) -> None:
    if ROUNDS in parts:
        with serving(plan.rounds) if POSTGRESQL in parts else nullcontext("") as postgresql:
            measure_rounds(directory, plan, found.measured, postgresql, _say)
    if LARGE in parts:
        measure_large(directory, plan, found.measured, large, _say)
    if HIGHLEVEL in parts:
        measure_highlevel(directory, found.measured, _say)


def _measure_life(directory: Path, parts: list[str], counts: Mapping[str, int], found: Bench) -> None:
    for way in WAYS if LATENCY in parts else ():
        _say(f"{counts['edits']} edits by {way} ...")
        found.latencies.append(measure_latency(directory, counts["edits"], way))
    if FLOOD in parts:
        _say(f"{counts['deliveries']:,} webhooks ...")
        found.floods.append(measure_flood(directory, counts["deliveries"], counts["connections"]))


def _print(found: Bench, as_json: bool) -> None:
    reached = figures(found.measured, found.latencies, found.pages, found.workers)
    if not as_json:
        show(found.measured, reached, load_seconds())
        show_live(found.latencies, found.floods)
        show_pages(found.pages)
        show_workers(found.workers)
        return
    everything: dict[str, Any] = {
        "figures": [asdict(figure) | {"is_reached": figure.is_reached} for figure in reached],
        "runs": document(found.measured),
        "latency": [asdict(one) for one in found.latencies],
        "flood": [asdict(one) for one in found.floods],
        "dashboard": [asdict(one) for one in found.pages],
        "workers": [asdict(one) for one in found.workers],
        "code_location_seconds": load_seconds(),
    }
    sys.stdout.write(json.dumps(everything, indent=2) + "\n")


def load_seconds(times: int = 3) -> float:
    """Seconds until the Dagster code location is loaded, interpreter included: the best of a few starts."""
    command = [sys.executable, "-c", "import sync_pipeline.definitions as d; d.defs()"]
    taken = []
    for _ in range(times):
        started = perf_counter()
        subprocess.run(command, env=clean_environ(PYTHONPATH=str(ROOT)), check=True)
        taken.append(perf_counter() - started)
    return round(min(taken), 2)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    bench()
