"""Wherever the target still shows a record that has moved, a sync of that day looks at it - whenever which write arrives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from sync_pipeline.store.claims import Sending
from sync_pipeline.store.deliveries import Delivered
from sync_pipeline.store.engine import Store
from sync_pipeline_tests.store.batch import LATER, at, deliver, here, is_pending, merge, row

DAYS = ("2024-03-01", "2024-03-02", "2024-03-03")
STEPS = 5
SEND, ANSWER, LOST, ARRIVED = "send", "answer", "lost", "arrived"
"""``arrived`` was carried out at the target, and its answer never came."""

State = tuple[str, str]
"""Day and hash."""
BEFORE: State = (DAYS[0], DAYS[0])


@dataclass
class Story:
    """What happens to one record, and where it is: wanted, at the target, and in the write that is under way."""

    steps: tuple[str, ...]
    wanted: State = BEFORE
    there: State = BEFORE
    known: str = BEFORE[1]
    sent: State | None = None

    @property
    def key(self) -> str:
        """The id of its record."""
        return " ".join(self.steps)


def stories(steps: tuple[str, ...] = (), *, is_sent: bool = False) -> Iterator[Story]:
    """Every sequence of so many reads that show it on one of the days, writes, and what becomes of these."""
    if len(steps) == STEPS:
        yield Story(steps)
        return
    for step in (*DAYS, *((ANSWER, LOST, ARRIVED) if is_sent else (SEND,))):
        yield from stories((*steps, step), is_sent=step == SEND or (is_sent and step in DAYS))


def _happens(store: Store, told: list[Story], number: int, *, is_edited: bool) -> None:
    """The step of this number, of all records at once; if a move is no edit, a record that moves back is as it was."""
    by_step: dict[str, list[Story]] = {}
    for story in told:
        by_step.setdefault(story.steps[number], []).append(story)
    read = []
    for day in DAYS:
        for story in by_step.get(day, ()):
            story.wanted = (day, f"{day} v{number}" if is_edited else day)
            read.append(row(story.key, story.wanted[1], day))
    merge(store, read, number + 2)
    for story in by_step.get(SEND, ()):
        story.sent = story.wanted
    here(store).mark_sending([Sending(story.key, f"t-{story.key}", story.known) for story in by_step.get(SEND, ())])
    answered = []
    for story in by_step.get(ANSWER, ()):
        assert story.sent is not None
        story.there, story.known = story.sent, story.sent[1]
        answered.append(Delivered(story.key, f"t-{story.key}", story.sent[1], "update"))
    here(store).mark_delivered(answered, None, at(number + 2))
    for story in by_step.get(ARRIVED, ()):
        assert story.sent is not None
        story.there = story.sent
    for step in (ANSWER, LOST, ARRIVED):
        for story in by_step.get(step, ()):
            story.sent = None


def _left(store: Store, day: str) -> set[str]:
    with here(store).staging((day, day), read_no=LATER) as staging:
        return set(staging.left_behind(100_000))


@pytest.mark.parametrize("is_edited", [True, False])
def test_a_sync_of_the_day_that_the_target_shows_looks_at_the_record(store: Store, is_edited: bool) -> None:
    """In all sequences of five steps; where nothing is left to be delivered, the target shows what is wanted."""
    told = list(stories())
    deliver(store, [row(story.key, BEFORE[1], BEFORE[0]) for story in told])
    for number in range(STEPS):
        _happens(store, told, number, is_edited=is_edited)
        known = here(store).lookup([story.key for story in told])
        left = {day: _left(store, day) for day in DAYS}
        for story in told:
            shown = " ".join(story.steps[: number + 1])
            if not is_pending(known[story.key]):
                assert story.there == story.wanted or story.sent is not None, shown
            elif story.there[0] != story.wanted[0]:
                assert story.key in left[story.there[0]], shown
