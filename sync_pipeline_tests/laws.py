"""``python -m sync_pipeline_tests.laws``: law 9 with random histories, as many as there is time for."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import format_exc
from typing import NamedTuple

import click
import pytest

from sync_pipeline_tests.properties.overlaps import History, history_of, stage

TOGETHER = 10
"""Histories that share a stage; what is finished of an interrupted run is remembered in steps of so many."""


class Verdict(NamedTuple):
    """How one history ended; nothing is wrong when the law holds."""

    seed: int
    wrong: str


@click.command()
@click.option("--count", default=1000, show_default=True, help="How many histories.")
@click.option("--seed", type=int, help="Only the history of this seed, told move by move, and its smallest form.")
@click.option("--jobs", default=min(os.cpu_count() or 1, 4), show_default=True, help="Processes at work.")
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(".sync/laws.json"),
    show_default=True,
    help="What is done already: interrupted, the same command goes on there.",
)
def main(count: int, seed: int | None, jobs: int, state: Path) -> None:
    """Overlapping, held and killed runs: whatever says that it is done has to be. Exit code 1 when something is not."""
    if seed is not None:
        sys.exit(_one(seed))
    first, done, failed = _resume(state, count)
    click.echo(f"seeds {first + done} to {first + count - 1}" + (f", after {done} that are done" if done else ""))
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        parts = [
            range(start, min(start + TOGETHER, first + count)) for start in range(first + done, first + count, TOGETHER)
        ]
        for verdicts in pool.map(_play, parts):
            done += len(verdicts)
            failed += [one.seed for one in verdicts if one.wrong]
            _tell(verdicts, done, count)
            _remember(state, first, done, failed)
    state.unlink()
    click.echo(f"{count} histories, {len(failed)} against the law{': ' if failed else ''}{', '.join(map(str, failed))}")
    sys.exit(1 if failed else 0)


def _tell(verdicts: list[Verdict], done: int, count: int) -> None:
    for one in verdicts:
        if one.wrong:
            click.echo(f"{one.wrong}\nOnly this one again: make laws SEED={one.seed}")
    click.echo(f"{done} of {count}, up to seed {verdicts[-1].seed}")


def _one(seed: int) -> int:
    """Tell a history; when it is against the law, leave out every move that is not needed for that."""
    history = history_of(seed)
    click.echo(str(history))
    (verdict,) = _play((seed,))
    if not verdict.wrong:
        click.echo("The law holds.")
        return 0
    click.echo(verdict.wrong)
    click.echo(f"The smallest form:\n{_smallest(history)}")
    return 1


def _smallest(history: History) -> History:
    number = 0
    while number < len(history.moves):
        fewer = replace(history, moves=(*history.moves[:number], *history.moves[number + 1 :]))
        if _wrong([fewer])[0].wrong:
            history = fewer
        else:
            number += 1
    return history


def _play(seeds: Sequence[int]) -> list[Verdict]:
    """A few histories in a process."""
    return _wrong([history_of(seed) for seed in seeds])


def _wrong(histories: list[History]) -> list[Verdict]:
    verdicts: list[Verdict] = []
    while rest := histories[len(verdicts) :]:
        _on_one_stage(rest, verdicts)
    return verdicts


def _on_one_stage(histories: list[History], verdicts: list[Verdict]) -> None:
    """Play and judge until one breaks the stage itself: the rest needs a new one."""
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        pytest.MonkeyPatch.context() as patch,
        stage(Path(directory) / "stage", patch) as here,
    ):
        for history in histories:
            try:
                broken = here.play(history)
            except Exception:  # noqa: BLE001 - whatever it is, it is told with the history
                verdicts.append(Verdict(history.seed, f"{history}\n{format_exc()}"))
                return
            verdicts.append(Verdict(history.seed, "\n".join([str(history), *broken]) if broken else ""))


def _resume(state: Path, count: int) -> tuple[int, int, list[int]]:
    """The first seed, how many are done, and which of them failed."""
    if state.exists():
        found = json.loads(state.read_text())
        if found["done"] < count:
            return found["first"], found["done"], found["failed"]
    return secrets.randbelow(1_000_000_000), 0, []


def _remember(state: Path, first: int, done: int, failed: list[int]) -> None:
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_text(json.dumps({"first": first, "done": done, "failed": failed}))


if __name__ == "__main__":
    main()
