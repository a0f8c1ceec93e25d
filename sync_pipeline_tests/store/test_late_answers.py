"""A sync of a day reads each moved record that the target still shows there, in whatever order writes arrive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
from sqlalchemy import select, update

from sync_pipeline.store.bulk import chunks
from sync_pipeline.store.claims import Sending
from sync_pipeline.store.deliveries import Delivered
from sync_pipeline.store.engine import Store
from sync_pipeline.store.liveness import alive
from sync_pipeline.store.schema import records
from sync_pipeline.store.staged import StagedRow
from sync_pipeline_tests.store.batch import LATER, at, deliver, here, is_pending, merge, row

DAYS = ("2024-03-01", "2024-03-02", "2024-03-03")
STEPS = 5
SEND, ANSWER, LOST, ARRIVED = "send", "answer", "lost", "arrived"
"""``arrived`` was carried out at the target, and its answer never came."""
REJECTED, VERIFIED = "rejected", "verified"
"""Read on the second day in a form that is not delivered; what the target has was read."""

State = tuple[str, str]
"""Day and hash."""
BEFORE: State = (DAYS[0], DAYS[0])


@dataclass
class Case:
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


def all_cases(steps: tuple[str, ...] = ()) -> Iterator[Case]:
    """Every sequence of so many reads that show it on one of the days, writes, what becomes of these, and looks at the target."""
    if len(steps) == STEPS:
        yield Case(steps)
        return
    last_write = next((step for step in reversed(steps) if step in (SEND, ANSWER, LOST, ARRIVED)), None)
    last_read = next((step for step in reversed(steps) if step in (*DAYS, REJECTED)), None)
    may_send = () if last_read == REJECTED else (SEND,)  # only what is valid is sent
    for step in (*DAYS, REJECTED, *((ANSWER, LOST, ARRIVED) if last_write == SEND else (*may_send, VERIFIED))):
        yield from all_cases((*steps, step))


def _happens(store: Store, cases: list[Case], number: int, *, is_edited: bool) -> None:
    """The step of this number, of all records; if a move is no edit, a record that moves back is as it was."""
    by_step: dict[str, list[Case]] = {}
    for case in cases:
        by_step.setdefault(case.steps[number], []).append(case)
    merge(store, list(_read(by_step, number, is_edited=is_edited)), number + 2)
    here(store).mark_sending([Sending(case.key, f"t-{case.key}", case.known) for case in by_step.get(SEND, ())])
    for case in by_step.get(SEND, ()):
        case.sent = case.wanted
    for step in (ANSWER, LOST, ARRIVED):
        for case in by_step.get(step, ()):
            assert case.sent is not None
            case.there = case.there if step == LOST else case.sent
            case.sent = None
    _give_back(store, [case.key for step in (LOST, ARRIVED) for case in by_step.get(step, ())])
    answered = by_step.get(ANSWER, ())
    here(store).mark_delivered(
        [Delivered(case.key, f"t-{case.key}", case.there[1], "update") for case in answered], None, at(number + 2)
    )
    here(store).observe_target([(case.key, case.there[1]) for case in by_step.get(VERIFIED, ())], LATER)
    for case in (*answered, *by_step.get(VERIFIED, ())):
        case.known = case.there[1]


def _give_back(store: Store, keys: list[str]) -> None:
    """The run that was writing these has ended."""
    with store.writing() as tx:
        for some in chunks(keys):
            tx.execute(update(records).where(records.c.source_id.in_(some)).values(claimed_by=None))


def _read(by_step: Mapping[str, list[Case]], number: int, *, is_edited: bool) -> Iterator[StagedRow]:
    for day in DAYS:
        for case in by_step.get(day, ()):
            case.wanted = (day, f"{day} v{number}" if is_edited else day)
            yield row(case.key, case.wanted[1], day)
    for case in by_step.get(REJECTED, ()):
        if case.sent is None:
            case.wanted = (DAYS[1], case.wanted[1])
        yield row(case.key, f"rejected {number}", DAYS[1], "rejected", "rule")


def _left(store: Store, day: str) -> set[str]:
    with here(store).staging((day, day), read_no=LATER) as staging:
        return set(staging.left_behind(100_000))


@pytest.mark.parametrize("is_edited", [True, False])
def test_a_sync_of_the_day_that_the_target_shows_looks_at_the_record(store: Store, is_edited: bool) -> None:
    """In all sequences of five steps; where nothing is left to be delivered, the target shows what is wanted."""
    cases = list(all_cases())
    deliver(store, [row(case.key, BEFORE[1], BEFORE[0]) for case in cases])
    with alive(store, "run"):
        _play(store, cases, is_edited=is_edited)


def _play(store: Store, cases: list[Case], *, is_edited: bool) -> None:
    for number in range(STEPS):
        _happens(store, cases, number, is_edited=is_edited)
        known = here(store).lookup([case.key for case in cases])
        left = {day: _left(store, day) for day in DAYS}
        for case in cases:
            shown = " ".join(case.steps[: number + 1])
            if not is_pending(known[case.key]):
                assert case.there[1] == case.wanted[1] or case.sent is not None, shown
            elif case.there[0] != case.wanted[0]:
                assert case.key in left[case.there[0]], shown


def test_a_record_that_is_back_before_its_move_was_sent_has_the_short_way_again(store: Store) -> None:
    """Nothing is left of the move."""
    deliver(store, [row("k", "v1", DAYS[0])])
    merge(store, [row("k", "v2", DAYS[1])], 2)
    merge(store, [row("k", "v1", DAYS[0])], 3)
    with store.reading() as tx:
        assert tx.scalar(select(records.c.moved_from)) is None


def test_what_is_missing_at_the_source_keeps_no_day_from_being_done(store: Store) -> None:
    """It is shown as missing until a read of the day that it is stored on."""
    deliver(store, [row("k", "v1", DAYS[0])])
    merge(store, [row("k", "v2", DAYS[1])], 2)
    assert _left(store, DAYS[0]) == {"k"}
    here(store).mark_unconfirmed(["k"], at(3), read_no=3)
    assert _left(store, DAYS[0]) == set()
