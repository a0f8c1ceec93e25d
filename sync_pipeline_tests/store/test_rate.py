"""No stretch of time ever holds more requests than it may, from all callers together."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from sync_pipeline.store.engine import Store
from sync_pipeline.store.rate import (
    MICRO,
    RateWindow,
    budget,
    end_day,
    is_day_over,
    microseconds,
    next_free,
    note_sent,
    penalise,
    reserve,
)
from sync_pipeline.store.schema import rate_windows
from sync_pipeline_tests.forking import Started

pytestmark = pytest.mark.clock

NOON = 1_709_294_400.0

WORKER = """
import json, sys
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.rate import reserve

url, windows, times = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
store = open_store(url)
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps([reserve(store, "clockify w1", windows, now) for now in times]))
"""


def _fullest(times: Sequence[int], seconds: float) -> int:
    """The most requests that any half-open stretch of ``seconds`` holds, times in microseconds."""
    ordered = sorted(times)
    return max(sum(0 <= later - first < microseconds(seconds) for later in ordered) for first in ordered)


def test_processes_share_one_budget(url: str) -> None:
    """Three real processes with clocks of their own never exceed either window together."""
    windows: list[RateWindow] = [(5, 1.0), (30, 3600.0)]
    clocks = [[NOON + nr * 0.05 + skew for nr in range(25)] for skew in (0.0, 0.013, -0.4)]
    processes = [
        Started(
            [sys.executable, "-c", WORKER, url, json.dumps(windows), json.dumps(times)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for times in clocks
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    given_out = [json.loads(process.communicate()[0]) for process in processes]

    times = [round(at * MICRO) for answers in given_out for at in answers]
    assert len(times) == 75
    assert all(
        at >= now
        for answers, nows in zip(given_out, clocks, strict=True)
        for at, now in zip(answers, nows, strict=True)
    )
    assert [_fullest(times, seconds) for _, seconds in windows] == [limit for limit, _ in windows]


def test_a_free_budget_does_not_wait(store: Store) -> None:
    """Within the limit the answer is now; beyond it, the moment the oldest request leaves the window."""
    windows = [(2, 1.0)]

    assert [reserve(store, "b", windows, NOON) for _ in range(5)] == [NOON, NOON, NOON + 1, NOON + 1, NOON + 2]
    assert reserve(store, "b", windows, NOON + 60) == NOON + 60


def test_what_was_sent_without_waiting_counts(store: Store) -> None:
    """Also in a log that is empty."""
    window = (3, 3600.0)
    note_sent(store, "b", [window], NOON, 2)
    assert budget(store, "b", window, NOON).left == 1
    assert [reserve(store, "b", [window], NOON) for _ in range(2)] == [NOON, NOON + 3600]


def test_what_is_left_is_computed_by_the_clock_of_the_reader(store: Store) -> None:
    """Times of the store's clock, which is two minutes ahead of it."""
    window = (2, 3600.0)
    for _ in range(2):
        reserve(store, "b", [window], NOON + 120)
    seen = budget(store, "b", window, NOON + 130).by_clock(120)
    assert (seen.left, seen.free_at(1), seen.full_at.timestamp()) == (0, NOON + 3600, NOON + 3600)


def test_a_clock_that_ran_ahead_is_forgotten(store: Store) -> None:
    """Once it is corrected, no one waits for the days it was ahead; requests of the last hour still count."""
    windows = [(2, 3600.0)]
    assert reserve(store, "b", windows, NOON) == NOON
    assert reserve(store, "b", windows, NOON + 86_400) == NOON + 86_400
    penalise(store, "b", NOON + 86_400, NOON + 86_400)

    assert reserve(store, "b", windows, NOON + 60) == NOON + 60
    assert reserve(store, "b", windows, NOON + 120) == NOON + 3600


def test_nothing_waits_for_a_request_of_a_clock_that_was_two_hours_ahead(store: Store) -> None:
    """It was sent by now, so it counts as sent now; the others of the hour are free."""
    windows = [(30, 3600.0), (10, 1.0)]
    earlier = [reserve(store, "b", windows, NOON) for _ in range(4)]
    assert reserve(store, "b", windows, NOON + 7200) == NOON + 7200

    again = NOON + 60
    assert budget(store, "b", windows[0], again).left == 25
    assert [reserve(store, "b", windows, again) for _ in range(9)] == [again] * 9
    assert reserve(store, "b", windows, again) == again + 1
    assert [reserve(store, "b", windows, again + 2) for _ in range(15)][-1] <= again + 3
    assert reserve(store, "b", windows, again + 3) == earlier[0] + 3600


def test_places_that_are_waited_for_are_kept(store: Store) -> None:
    """They are in the future, too, but by a clock that is right - also when another host's is a few seconds ahead."""
    windows = [(2, 3600.0)]
    assert [reserve(store, "b", windows, NOON + skew) for skew in (0, 0, 0, 20)] == [
        NOON,
        NOON,
        NOON + 3600,
        NOON + 3600,
    ]
    assert reserve(store, "b", windows, NOON) == NOON + 7200


def test_the_log_of_the_version_before_is_read(store: Store) -> None:
    """It held bare times."""
    reserve(store, "b", [(1, 60.0)], NOON)
    with store.writing() as tx:
        tx.execute(update(rate_windows).values(sent=f"[{microseconds(NOON + 10)}]"))
    assert reserve(store, "b", [(1, 60.0)], NOON + 20) == NOON + 70


def test_buckets_are_independent(store: Store) -> None:
    """One system's requests do not use up another's."""
    assert [reserve(store, bucket, [(1, 60.0)], NOON) for bucket in ("a", "b")] == [NOON, NOON]


def test_after_a_429_everybody_stays_away(store: Store) -> None:
    """No time before the penalty's end is given out; a shorter penalty later does not shorten it."""
    penalise(store, "b", NOON + 30, NOON)
    penalise(store, "b", NOON + 10, NOON)

    assert reserve(store, "b", [(10, 1.0)], NOON) == NOON + 30
    assert reserve(store, "b", [(10, 1.0)], NOON + 31) == NOON + 31


def test_a_long_wait_that_was_asked_for_keeps_everybody_away(store: Store) -> None:
    """For two hours, then the API is asked again: a block that is further ahead could come from a wrong clock."""
    penalise(store, "b", NOON + 10 * 3600, NOON)

    assert reserve(store, "b", [(10, 1.0)], NOON + 1) == NOON + 2 * 3600
    assert reserve(store, "b", [(10, 1.0)], NOON + 2 * 3600 + 1) == NOON + 2 * 3600 + 1


def test_a_block_from_a_clock_that_ran_ahead_hides_no_later_one(store: Store) -> None:
    """What is not believed does not count as the later of two."""
    penalise(store, "b", NOON + 86_400 + 60, NOON + 86_400)
    penalise(store, "b", NOON + 30, NOON)

    assert reserve(store, "b", [(10, 1.0)], NOON + 1) == NOON + 30


def test_a_day_that_is_used_up_is_believed_for_a_while(store: Store) -> None:
    """It blocks no request by itself, and a clock that ran ahead proves nothing."""
    end_day(store, "b", NOON)
    assert [is_day_over(store, "b", NOON + later) for later in (1, 899, 901)] == [True, True, False]
    assert not is_day_over(store, "other", NOON)
    assert reserve(store, "b", [(10, 1.0)], NOON) == NOON
    end_day(store, "b", NOON + 86_400)
    assert not is_day_over(store, "b", NOON + 1)


def test_a_changed_plan_counts_from_the_next_request(store: Store) -> None:
    """Other windows on the same bucket use the same log."""
    for _ in range(3):
        reserve(store, "b", [(10, 1.0)], NOON)

    assert reserve(store, "b", [(3, 60.0)], NOON + 1) == NOON + 60


def test_a_bucket_without_windows_never_waits(store: Store) -> None:
    """No limit is no limit."""
    assert [reserve(store, "b", [], NOON) for _ in range(3)] == [NOON] * 3


seconds = st.floats(0.001, 7200, allow_nan=False)


@given(
    windows=st.lists(st.tuples(st.integers(1, 6), seconds), min_size=1, max_size=3),
    waits=st.lists(st.floats(-5, 4000, allow_nan=False), min_size=1, max_size=40),
    penalties=st.dictionaries(st.integers(0, 39), seconds, max_size=3),
)
def test_no_window_ever_holds_more_than_its_limit(
    windows: list[RateWindow], waits: list[float], penalties: dict[int, float]
) -> None:
    """Whatever the clocks do, the log rises, respects penalties and every limit, and no wait is needless."""
    sent: list[int] = []
    now, blocked = microseconds(NOON), 0
    for nr, wait in enumerate(waits):
        now += round(wait * MICRO)
        blocked = max(blocked, now + microseconds(penalties[nr])) if nr in penalties else blocked
        at = next_free(sent, blocked, windows, now)

        assert at >= max(now, blocked, *sent[-1:])
        needless = max(now, blocked, *sent[-1:]) < at and all(
            _fullest([*sent, at - 1], length) <= limit for limit, length in windows
        )
        assert not needless
        sent.append(at)
    assert all(_fullest(sent, length) <= limit for limit, length in windows)
