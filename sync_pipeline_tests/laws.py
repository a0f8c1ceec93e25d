"""``python -m sync_pipeline_tests.laws``: the laws with random histories, on both databases, as many as there is time for."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import count as numbers
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import format_exc
from typing import Any, NamedTuple

import click
import pytest

from sync_pipeline_tests.highlevel import HighLevelTeam
from sync_pipeline_tests.properties.histories import Round, drawn_history, office
from sync_pipeline_tests.properties.once import drawn_moments, fewer_moments, holds
from sync_pipeline_tests.properties.overlaps import History, history_of, ranges_of, stage
from sync_pipeline_tests.properties.report_histories import drawn_history as drawn_reports
from sync_pipeline_tests.properties.report_histories import fewer as fewer_parts
from sync_pipeline_tests.properties.report_histories import report_office
from sync_pipeline_tests.properties.saved import Database, database
from sync_pipeline_tests.properties.stories import drawn_stories, play_story
from sync_pipeline_tests.properties.third import Actions, agrees, drawn_actions

TOGETHER = 10
"""Histories that share a stage; what is finished of an interrupted run is remembered in steps of so many."""
DATABASES = ("sqlite", "postgresql")

Play = Callable[[Any], Sequence[str]]
"""Plays one history and reports what breaks the law."""


class Verdict(NamedTuple):
    """How one history ended; nothing is wrong when the law holds."""

    seed: int
    wrong: str


@dataclass(frozen=True, slots=True)
class Law:
    """A kind of history, and what has to be true after it."""

    history: Callable[[int], Any]
    """The history of a seed."""
    stage: Callable[[Path, pytest.MonkeyPatch, Database], AbstractContextManager[Play]]
    smaller: Callable[[Any], Iterator[Any]]
    """The histories that lack one thing each."""


@contextmanager
def _overlaps(root: Path, patch: pytest.MonkeyPatch, made: Database) -> Iterator[Play]:
    """Overlapping, held and killed runs: whatever reports that it is done has to be."""
    with stage(root, patch, made) as here:
        yield here.play


@contextmanager
def _ranges(root: Path, patch: pytest.MonkeyPatch, made: Database) -> Iterator[Play]:
    """Neighbouring and overlapping days of one entity, loaded at the same moment."""
    with stage(root, patch, made, side_by_side=True) as here:
        yield here.play


def _fewer_moves(history: History) -> Iterator[History]:
    for number in range(len(history.moves)):
        yield replace(history, moves=(*history.moves[:number], *history.moves[number + 1 :]))


@contextmanager
def _live(root: Path, patch: pytest.MonkeyPatch, made: Database) -> Iterator[Play]:
    """Live syncing: whatever gets lost, doubled, mixed up or killed, the next reconciliation finds it."""
    with office(root, patch, made) as here:
        yield lambda history: _broken(lambda: here.holds(history))


@contextmanager
def _overlaps_at_highlevel(root: Path, patch: pytest.MonkeyPatch, made: Database) -> Iterator[Play]:
    """The same with records of HighLevel."""
    with stage(root, patch, made, "highlevel") as here:
        yield here.play


@contextmanager
def _highlevel(root: Path, patch: pytest.MonkeyPatch, made: Database) -> Iterator[Play]:
    """The same with HighLevel, whose search lags less than is waited, and in every second history refuses a key that is taken."""
    with office(root, patch, made, "highlevel") as here:
        us = here.us
        assert isinstance(us, HighLevelTeam)
        turns = numbers()
        here.prepare = lambda: us.switch(index_lag=20, unique=bool(next(turns) % 2))
        yield lambda history: _broken(lambda: here.holds(history))


@contextmanager
def _stories(root: Path, patch: pytest.MonkeyPatch, made: Database) -> Iterator[Play]:
    """Ownership, safe deletes and the story tests, with records of HighLevel."""
    root.mkdir(parents=True)
    places = numbers()
    yield lambda names: [
        wrong
        for name in names
        for wrong in _broken(lambda name=name: play_story(root / str(next(places)), patch, name, made))  # type: ignore[misc]
    ]


def _fewer_rounds(history: list[Round]) -> Iterator[list[Round]]:
    for number, one in enumerate(history):
        before, after = history[:number], history[number + 1 :]
        yield [*before, *after]
        if one.kill is not None:
            yield [*before, replace(one, kill=None), *after]
        for action in range(len(one.actions)):
            yield [*before, replace(one, actions=one.actions[:action] + one.actions[action + 1 :]), *after]


def _fewer_stories(names: list[str]) -> Iterator[list[str]]:
    for number in range(len(names)):
        yield [*names[:number], *names[number + 1 :]]


@contextmanager
def _third(root: Path, _patch: pytest.MonkeyPatch, made: Database) -> Iterator[Play]:
    """A vendor that the engine does not know."""
    places = numbers()
    yield lambda actions: _broken(lambda: agrees(root / str(next(places)), actions, made))


def _fewer_actions(history: Actions) -> Iterator[Actions]:
    for part, actions in enumerate(history):
        for number in range(len(actions)):
            fewer = [*actions[:number], *actions[number + 1 :]]
            yield (fewer, history[1]) if part == 0 else (history[0], fewer)


@contextmanager
def _reports(root: Path, _patch: pytest.MonkeyPatch, made: Database) -> Iterator[Play]:
    """Reports, dashboard and views: what both systems add up to, whatever happened."""
    with report_office(root, made) as here:
        yield lambda history: _broken(lambda: here.holds(history))


@contextmanager
def _once(root: Path, patch: pytest.MonkeyPatch, made: Database) -> Iterator[Play]:
    """An automation: what it makes for each new record exists once, whatever happens in between."""
    places = numbers()
    yield lambda history: _broken(lambda: holds(root / str(next(places)), patch, history, made))


def _broken(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except AssertionError:
        return [format_exc()]
    return []


LAWS = {
    "overlaps": Law(history_of, _overlaps, _fewer_moves),
    "ranges": Law(ranges_of, _ranges, _fewer_moves),
    "live": Law(drawn_history, _live, _fewer_rounds),
    "overlaps_highlevel": Law(history_of, _overlaps_at_highlevel, _fewer_moves),
    "highlevel": Law(drawn_history, _highlevel, _fewer_rounds),
    "stories_highlevel": Law(drawn_stories, _stories, _fewer_stories),
    "third": Law(drawn_actions, _third, _fewer_actions),
    "once": Law(drawn_moments, _once, fewer_moments),
    "reports": Law(drawn_reports, _reports, fewer_parts),
}


@click.command()
@click.option("--count", default=1000, show_default=True, help="How many histories.")
@click.option("--seed", type=int, help="Only the history of this seed, printed move by move, and its smallest form.")
@click.option("--law", type=click.Choice(list(LAWS)), help="Only histories of this kind (of a seed: overlaps).")
@click.option("--database", "dialect", type=click.Choice(DATABASES), help="Only on this one (a seed: sqlite).")
@click.option("--jobs", default=min(os.cpu_count() or 1, 4), show_default=True, help="Processes at work.")
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(".sync/laws.json"),
    show_default=True,
    help="What is done already: after an interruption the same command continues there.",
)
def main(count: int, seed: int | None, law: str | None, dialect: str | None, jobs: int, state: Path) -> None:
    """Random histories of all kinds, alternately on each database. Exit code 1 when one is against a law."""
    if seed is not None:
        sys.exit(_one(law or "overlaps", dialect or "sqlite", seed))
    turns = [(name, on) for name in ([law] if law else LAWS) for on in ([dialect] if dialect else DATABASES)]
    first, done, failed = _resume(state, count, turns)
    click.echo(f"seeds {first + done} to {first + count - 1}" + (f", after {done} that are done" if done else ""))
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        starts = range(first + done, first + count, TOGETHER)
        parts = [
            (*turns[(at - first) // TOGETHER % len(turns)], at, min(at + TOGETHER, first + count)) for at in starts
        ]
        for (name, on, *_), verdicts in zip(parts, pool.map(_play, parts), strict=True):
            done += len(verdicts)
            failed += [f"{name} on {on} {one.seed}" for one in verdicts if one.wrong]
            _report(name, on, verdicts)
            click.echo(f"{done} of {count}: {name} on {on}, up to seed {verdicts[-1].seed}")
            _remember(state, first, done, failed, turns)
    state.unlink()
    click.echo(f"{count} histories, {len(failed)} against a law{': ' if failed else ''}{', '.join(failed)}")
    sys.exit(1 if failed else 0)


def _report(law: str, on: str, verdicts: list[Verdict]) -> None:
    for one in verdicts:
        if one.wrong:
            click.echo(f"{one.wrong}\nOnly this one again: make laws SEED={one.seed} LAW={law} DATABASE={on}")


def _one(law: str, on: str, seed: int) -> int:
    """Tell a history; when it is against the law, leave out everything that is not needed for that."""
    history = LAWS[law].history(seed)
    click.echo(str(history))
    (verdict,) = played(law, on, [(seed, history)])
    if not verdict.wrong:
        click.echo("The law holds.")
        return 0
    click.echo(verdict.wrong)
    click.echo(f"The smallest form:\n{_smallest(law, on, seed, history)}")
    return 1


def _smallest(law: str, on: str, seed: int, history: Any) -> Any:
    for fewer in LAWS[law].smaller(history):
        if played(law, on, [(seed, fewer)])[0].wrong:
            return _smallest(law, on, seed, fewer)
    return history


def _play(part: tuple[str, str, int, int]) -> list[Verdict]:
    """A few histories in a process."""
    law, on, first, end = part
    return played(law, on, [(seed, LAWS[law].history(seed)) for seed in range(first, end)])


def played(law: str, on: str, histories: list[tuple[int, Any]]) -> list[Verdict]:
    """How histories of a law end on a database."""
    verdicts: list[Verdict] = []
    with database(on) as made:
        while rest := histories[len(verdicts) :]:
            _on_one_stage(LAWS[law], made, rest, verdicts)
    return verdicts


def _on_one_stage(law: Law, made: Database, histories: list[tuple[int, Any]], verdicts: list[Verdict]) -> None:
    """Play and check until one breaks the stage itself: the rest needs a new one."""
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        pytest.MonkeyPatch.context() as patch,
        law.stage(Path(directory) / "stage", patch, made) as play,
    ):
        for seed, history in histories:
            try:
                broken = play(history)
            except Exception:  # noqa: BLE001 - any failure is reported with the history
                verdicts.append(Verdict(seed, f"{history}\n{format_exc()}"))
                return
            verdicts.append(Verdict(seed, "\n".join([str(history), *broken]) if broken else ""))


def _resume(state: Path, count: int, turns: list[tuple[str, str]]) -> tuple[int, int, list[str]]:
    """The first seed, how many are done, and which of them failed."""
    if state.exists():
        found = json.loads(state.read_text())
        if found["done"] < count and found.get("turns") == [list(turn) for turn in turns]:
            return found["first"], found["done"], found["failed"]
    return secrets.randbelow(1_000_000_000), 0, []


def _remember(state: Path, first: int, done: int, failed: list[str], turns: list[tuple[str, str]]) -> None:
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_text(json.dumps({"first": first, "done": done, "failed": failed, "turns": turns}))


if __name__ == "__main__":
    main()
