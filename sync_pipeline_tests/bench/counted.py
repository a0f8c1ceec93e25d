"""``python -m sync_pipeline_tests.bench.counted``: the work of a sync for each 1,000 rows, against the table it may not exceed.

Counts, not seconds, so that a test can hold them. A workspace without entries gives what a run costs by itself; what one
of 1,000 costs beyond that is the cost of the rows: unchanged, and changed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from sync_pipeline.clock import clock_from
from sync_pipeline_tests.bench.commands import Workplace
from sync_pipeline_tests.bench.counting import LINES, WRITTEN
from sync_pipeline_tests.bench.sandbox import Sandbox
from sync_pipeline_tests.harness import Team, team

TABLE = Path(__file__).parent / "counted.json"
COUNTING = "sync_pipeline_tests.bench.counting"
INSTANT = datetime(2026, 11, 25, 10, 43, tzinfo=UTC)
"""When it is: how entries fall on days must not depend on when they are counted."""
PAGE_SIZE = 200
VARIES = {WRITTEN: 0.06}
"""By this share of all it wrote a run varies: when a write-ahead log is copied, and how rows lie on pages, is not ours."""
RUN, UNCHANGED, CHANGED = COLUMNS = ("a run", "1,000 unchanged", "1,000 changed")

LOWER = "Less than the table allows: lower it with `make bench-counted LOWER=1`."

Counts = dict[str, dict[str, int]]
"""For each line its figure in each column."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure next to what the table allows."""

    line: str
    column: str
    counted: int
    allowed: int
    varies: int

    @property
    def excess(self) -> int:
        """By how much it is more than allowed, 0 when it is not."""
        return max(0, self.counted - self.allowed) if self.counted > self.allowed + self.varies else 0

    @property
    def fall(self) -> int:
        """By how much it is less than allowed, 0 when it is not."""
        return max(0, self.allowed - self.counted) if self.counted < self.allowed - self.varies else 0


def count(directory: Path) -> Counts:
    """Sync two workspaces, one of them empty, and take what the rows cost apart."""
    few, many = _counted(directory, 0, 1000)
    scale = 1000 / many["rows"]
    return {
        line: {
            RUN: few["unchanged"][line],
            UNCHANGED: round((many["unchanged"][line] - few["unchanged"][line]) * scale),
            CHANGED: round((many["changed"][line] - few["unchanged"][line]) * scale),
        }
        for line in LINES
    }


def _counted(directory: Path, *sizes: int) -> list[dict[str, Any]]:
    """What each workspace took; their syncs run next to each other, each in a process and a home of its own."""
    with ExitStack() as stack:
        stack.enter_context(clock_from(INSTANT))
        counting = []
        for entries in sizes:
            us = stack.enter_context(team(directory / f"sandbox-{entries}", entries=entries))
            work = _workplace(us, directory / str(entries))
            place = (work.sandbox.url, work.sandbox.workspace)
            command = [sys.executable, "-m", COUNTING, "counted.json", INSTANT.isoformat(), *place]
            started = subprocess.Popen(command, cwd=work.root, env=work.environ(), stdout=subprocess.DEVNULL)
            counting.append((stack.enter_context(started), work.root / "counted.json"))
        return [_result(process, out) for process, out in counting]


def _workplace(us: Team, root: Path) -> Workplace:
    us.control("POST", "snapshots", {"rate_per_second": None})
    sandbox = Sandbox(us.sandbox.control.removesuffix("/_control"), us.sandbox.workspace)
    return Workplace.make(root, sandbox, us.days.first, PAGE_SIZE)


def _result(process: subprocess.Popen[bytes], out: Path) -> dict[str, Any]:
    if process.wait():
        raise RuntimeError(f"Counting ended with {process.returncode}.")
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def cells(counted: Counts, table: Mapping[str, Any]) -> Iterator[Cell]:
    """Every figure next to what is allowed: the line's own figure and what features have added to it."""
    for line, figures in counted.items():
        for column, figure in figures.items():
            added = [each["cost"].get(line, {}).get(column, 0) for each in table["features"]]
            allowed = table["lines"].get(line, {}).get(column, 0) + sum(added)
            varies = VARIES.get(line, 0) * (allowed + table["lines"].get(line, {}).get(RUN, 0))
            yield Cell(line, column, figure, allowed, round(varies))


def exceeded(counted: Counts, table: Mapping[str, Any]) -> list[str]:
    """What is more than the table allows, a sentence each."""
    return [
        f"{cell.line}, {cell.column}: {cell.counted:,}, and the table allows {cell.allowed:,}."
        for cell in cells(counted, table)
        if cell.excess
    ]


def fallen(counted: Counts, table: Mapping[str, Any]) -> list[str]:
    """What is less than the table allows, a sentence each."""
    return [
        f"{cell.line}, {cell.column}: {cell.counted:,} instead of {cell.allowed:,}."
        for cell in cells(counted, table)
        if cell.fall
    ]


def lowered(counted: Counts, table: Mapping[str, Any]) -> dict[str, Any]:
    """The table with every figure that has fallen; none rises."""
    lines = {line: dict(figures) for line, figures in table["lines"].items()}
    for cell in cells(counted, table):
        if cell.fall:
            lines[cell.line][cell.column] -= cell.fall
    return {**table, "lines": lines}


def with_feature(counted: Counts, table: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The table with what is exceeded as the cost of a feature of this name."""
    cost: Counts = {}
    for cell in cells(counted, table):
        if cell.excess:
            cost.setdefault(cell.line, {})[cell.column] = cell.excess
    return {**table, "features": [*table["features"], {"name": name, "cost": cost}]}


@click.command()
@click.option("--lower", is_flag=True, help="Write what has fallen into the table.")
@click.option("--feature", metavar="NAME", help="Write what is exceeded into the table, as the cost of this feature.")
def counted(lower: bool, feature: str | None) -> None:
    """Count the work of a sync and compare it with the table, which may only fall."""
    table = json.loads(TABLE.read_text())
    with TemporaryDirectory(prefix="sync-counted-") as directory:
        found = count(Path(directory))
    for cell in cells(found, table):
        sys.stdout.write(f"{cell.line:30} {cell.column:16} {cell.counted:10,} of {cell.allowed:10,}\n")
    changed = lowered(found, table) if lower else table
    changed = with_feature(found, changed, feature) if feature else changed
    if changed != table:
        TABLE.write_text(json.dumps(changed, indent=2) + "\n")
    for line in exceeded(found, changed):
        sys.stdout.write(f"More than allowed: {line}\n")
    if fallen(found, changed):
        sys.stdout.write(f"{LOWER}\n")
    sys.exit(1 if exceeded(found, changed) else 0)


if __name__ == "__main__":
    counted()
