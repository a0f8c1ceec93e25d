"""Speed and memory, next to the bare reader: the same syncs in several rounds, interleaved, so that a busy minute hits both."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from statistics import median

from sync_pipeline.clock import utc_now
from sync_pipeline_tests.bench.commands import Ran, Workplace, sync_words
from sync_pipeline_tests.bench.minimum import Minimum, minimum
from sync_pipeline_tests.bench.sandbox import running
from sync_pipeline_tests.harness import CLOCKIFY_KEY

BARE_READER = Path(__file__).parent / "bare_reader.py"
DAYS_AHEAD = 7
"""The bare reader's window ends where a sync's does: entries may be planned."""
LARGE_YEARS = 3
SQLITE, POSTGRESQL, BARE, HIGHLEVEL = "SQLite", "PostgreSQL", "bare reader", "HighLevel"
CLOCKS = (WALL, CPU) = ("wall", "cpu")
FIRST, AGAIN, VERIFY, PREVIEW = "first", "again", "verify", "preview"

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured: how often, and with which workspaces."""

    rounds: int
    sizes: Sequence[int]
    """Numbers of entries, rising; a workspace without entries is always measured."""
    users: int
    days: int
    page_size: int

    @property
    def first_day(self) -> date:
        """The start date of every sync."""
        return utc_now().date() - timedelta(days=self.days)


@dataclass(slots=True)
class Measured:
    """Every run of every command: by who ran it, which command, and how many entries there were."""

    runs: dict[tuple[str, str, int], list[Ran]] = field(default_factory=dict)
    fewest: dict[int, Minimum] = field(default_factory=dict)
    clock: str = WALL
    """By which clock figures are measured: the wall's, or on a busy machine the processor time."""

    def add(self, who: str, command: str, entries: int, ran: Ran) -> None:
        """Note one run."""
        self.runs.setdefault((who, command, entries), []).append(ran)

    def seconds(self, who: str, command: str, entries: int) -> float | None:
        """The median; None when this was not measured."""
        runs = self.runs.get((who, command, entries))
        return median(getattr(ran, f"{self.clock}_seconds") for ran in runs) if runs else None

    def peak_mb(self, who: str, command: str, entries: int) -> float | None:
        """The largest of the peaks."""
        runs = self.runs.get((who, command, entries))
        return max(ran.peak_mb for ran in runs) if runs else None

    def entries(self, who: str, command: str) -> list[int]:
        """The sizes at which this was measured, rising."""
        return sorted(size for runner, name, size in self.runs if (runner, name) == (who, command))

    def per_entry(self, who: str, command: str) -> float | None:
        """Microseconds an entry, between the two largest workspaces: what is fixed does not count."""
        *_, few, many = [0, 0, *self.entries(who, command)]
        less, more = self.seconds(who, command, few), self.seconds(who, command, many)
        return (more - less) / (many - few) * 1e6 if less is not None and more is not None and few < many else None


def measure_rounds(directory: Path, plan: Plan, measured: Measured, postgresql: str = "", say: Say = print) -> None:
    """Round by round, each size: the command line, first and again, and the bare reader next to it.

    ``postgresql`` names an empty database for each round of the largest size; without it only SQLite is measured.
    """
    for number in range(plan.rounds):
        for entries in dict.fromkeys((0, *plan.sizes)):
            say(f"round {number + 1} of {plan.rounds}: {entries:,} entries ...")
            with workplace(directory, plan, entries) as work:
                measured.fewest[entries] = minimum(work.sandbox, plan.first_day, utc_now().date(), plan.page_size)
                _sync_twice(measured, work, SQLITE, entries)
                if entries:
                    _read_bare(measured, work, entries)
                if number == 0:
                    compare(measured, work, entries)
            if postgresql and entries == max(plan.sizes):
                with workplace(directory, plan, entries, postgresql.format(number=number)) as work:
                    _sync_twice(measured, work, POSTGRESQL, entries)


def compare(measured: Measured, work: Workplace, entries: int) -> None:
    """Verify, and preview, what was synced."""
    for command in (VERIFY, PREVIEW):
        measured.add(SQLITE, command, entries, work.run(command, "--json"))


def measure_large(directory: Path, plan: Plan, measured: Measured, entries: int, say: Say = print) -> None:
    """One workspace of very many entries, in times of the rounds' days: synced once, then verified and previewed."""
    say(f"{entries:,} entries: sync, verify, preview ...")
    with workplace(directory, replace(plan, days=LARGE_YEARS * plan.days), entries) as work:
        measured.add(SQLITE, FIRST, entries, work.run(*sync_words()))
        compare(measured, work, entries)


@contextmanager
def workplace(directory: Path, plan: Plan, entries: int, database: str = "") -> Iterator[Workplace]:
    """A fresh copy of the sample workspace and a home without any state, both removed afterwards."""
    root = directory / "work"
    root.mkdir()
    try:
        shutil.copy(_seeded(directory, plan, entries), root / "sandbox.db")
        with running(root / "sandbox.db", plan.users, entries, plan.days) as sandbox:
            yield Workplace.make(root / "project", sandbox, plan.first_day, plan.page_size, database)
    finally:
        shutil.rmtree(root)


def _seeded(directory: Path, plan: Plan, entries: int) -> Path:
    """An unused sandbox's database; made once for each size."""
    database = directory / f"seeded-{entries}-{plan.days}.db"
    if not database.exists():
        with running(database, plan.users, entries, plan.days):
            pass  # filled, closed, and from now on only copied
    return database


def _sync_twice(measured: Measured, work: Workplace, who: str, entries: int) -> None:
    for command in (FIRST, AGAIN):
        measured.add(who, command, entries, work.run(*sync_words()))


def _read_bare(measured: Measured, work: Workplace, entries: int) -> None:
    for command in (FIRST, AGAIN):
        measured.add(BARE, command, entries, work.start(*bare_words(work)))


def bare_words(work: Workplace) -> list[str]:
    """How the bare reader is started on a workplace."""
    url = f"{work.sandbox.url}/clockify/api/v1"
    last = utc_now().date() + timedelta(days=DAYS_AHEAD)
    read = (url, work.sandbox.workspace, CLOCKIFY_KEY, str(work.first_day), str(last), str(work.page_size))
    return [str(BARE_READER), *read, str(work.root / "bare.db")]


def document(measured: Measured) -> list[dict[str, object]]:
    """Every run, as printed with `--json`."""
    return [
        {
            "who": who,
            "command": command,
            "entries": entries,
            "wall_seconds": round(ran.wall_seconds, 3),
            "cpu_seconds": round(ran.cpu_seconds, 2),
            "peak_mb": round(ran.peak_mb, 1),
            "requests": ran.requests,
            "writes": ran.writes,
        }
        for (who, command, entries), runs in measured.runs.items()
        for ran in runs
    ]
