"""``python -m sync_pipeline_tests.bench.profile``: what is between the figures and their aims, stage by stage."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console

from sync_pipeline_tests.bench.aims import FIXED, RATIOS
from sync_pipeline_tests.bench.commands import Workplace, sync_words
from sync_pipeline_tests.bench.report import WIDTH, table
from sync_pipeline_tests.bench.rounds import AGAIN, FIRST, Plan, bare_words, workplace
from sync_pipeline_tests.bench.sampling import NAMES, START

SAMPLING = "sync_pipeline_tests.bench.sampling"


@dataclass(frozen=True, slots=True)
class Profile:
    """One sync, stage by stage, next to what the bare reader needs for the same entries."""

    command: str
    entries: int
    wall_seconds: float
    bare_seconds: float
    stages: Mapping[str, float]
    cpu: Mapping[str, float]
    """Processor time, which is more reliable on a busy machine."""

    @property
    def aim_seconds(self) -> float:
        """What the aims allow: what is fixed, and so much of the bare reader's time."""
        return FIXED + RATIOS[self.command] * self.bare_seconds


def profile(directory: Path, plan: Plan, entries: int) -> list[Profile]:
    """A sync of so many entries, first and again, sampled; and the bare reader, unsampled."""
    with workplace(directory, plan, entries) as work:
        return [_profiled(work, command, entries) for command in (FIRST, AGAIN)]


def _profiled(work: Workplace, command: str, entries: int) -> Profile:
    out = work.root / f"{command}.json"
    ran = work.start("-m", SAMPLING, str(out), *sync_words())
    bare = work.start(*bare_words(work)).wall_seconds
    found = json.loads(out.read_text())
    seconds: dict[str, float] = found["seconds"]
    unseen = max(0.0, ran.wall_seconds - sum(seconds.values()))  # the interpreter, before and after our code
    seconds[START] = seconds.get(START, 0.0) + unseen
    stages = {name: seconds.get(name, 0.0) for name in NAMES}
    return Profile(command, entries, ran.wall_seconds, bare, stages, found["cpu"])


def rows(one: Profile) -> Iterator[Sequence[str]]:
    """A row for each stage that took any time, then what is too much."""
    for name, seconds in one.stages.items():
        if seconds:
            share, each = seconds / one.wall_seconds, seconds / max(one.entries, 1) * 1e6
            yield (name, f"{seconds:.2f}", f"{share:.0%}", f"{each:.1f}", f"{one.cpu.get(name, 0):.2f}")
    every, bare = (seconds / max(one.entries, 1) * 1e6 for seconds in (one.wall_seconds, one.bare_seconds))
    yield ("all of it", f"{one.wall_seconds:.2f}", "100%", f"{every:.1f}", f"{sum(one.cpu.values()):.2f}")
    yield ("the bare reader", f"{one.bare_seconds:.2f}", "", f"{bare:.1f}", "")
    yield (f"the aim: {FIXED:g} s + {RATIOS[one.command]:g} x the bare reader", f"{one.aim_seconds:.2f}", "", "", "")
    yield ("between figure and aim", f"{one.wall_seconds - one.aim_seconds:+.2f}", "", "", "")


@click.command("profile")
@click.option("--entries", default=100_000, show_default=True, help="Time entries.")
@click.option("--page-size", default=1000, show_default=True, help="Rows a page.")
@click.option("--users", default=100, show_default=True, help="Clockify users.")
@click.option("--days", default=365, show_default=True, help="Days the entries are spread over.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(entries: int, page_size: int, users: int, days: int, as_json: bool) -> None:
    """Sample one sync of a sample workspace, first and again, and print how long it was in which stage."""
    plan = Plan(1, [entries], users, days, page_size)
    with TemporaryDirectory(prefix="sync-profile-") as directory:
        found = profile(Path(directory), plan, entries)
    if as_json:
        sys.stdout.write(json.dumps([asdict(one) | {"aim_seconds": one.aim_seconds} for one in found], indent=2) + "\n")
        return
    console = Console(width=WIDTH, highlight=False)
    for one in found:
        console.print(f"{one.entries:,} entries, {one.command}:")
        console.print(table(("stage", "seconds", "share", "us an entry", "CPU s"), rows(one)))


if __name__ == "__main__":
    command()
