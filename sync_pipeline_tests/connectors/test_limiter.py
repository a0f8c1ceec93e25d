"""Waiting for our turn."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipeline.clock import clock_from, utc_now
from sync_pipeline.connectors.limiter import Limiter, memory_limiter, store_limiter
from sync_pipeline.store.engine import open_store
from sync_pipeline_tests.connectors.clients import Time, run
from sync_pipeline_tests.store.conftest import Server, postgres

__all__ = ["postgres"]  # a fixture of the store's tests

pytestmark = pytest.mark.clock

WINDOWS = st.lists(st.tuples(st.integers(1, 5), st.sampled_from([1.0, 10.0, 60.0])), min_size=1, max_size=2)


async def send(limiter: Limiter, time: Time, count: int) -> list[float]:
    """The moments at which requests left."""
    moments = []
    for _ in range(count):
        await limiter.acquire()
        moments.append(time.at)
    return moments


@given(WINDOWS, st.integers(1, 30))
def test_no_window_is_ever_overfull(windows: list[tuple[int, float]], count: int) -> None:
    """In any stretch as long as a window at most its number of requests leave."""
    time = Time()
    sent = run(send(memory_limiter(windows, now=time.now, sleep=time.sleep), time, count))
    for limit, seconds in windows:
        assert all(later - earlier >= seconds - 1e-6 for earlier, later in zip(sent, sent[limit:], strict=False))


def test_long_waits_are_announced() -> None:
    """A wait worth noticing states whose limit it is and when it continues; short ones are silent."""
    time, said = Time(), list[str]()
    limiter = memory_limiter(
        [(1, 2.0), (2, 3600.0)], label="30 an hour", on_wait=said.append, now=time.now, sleep=time.sleep
    )
    run(send(limiter, time, 3))
    assert len(said) == 1
    assert said[0].startswith("30 an hour: next request at ")


def test_a_penalty_holds_everybody_back() -> None:
    """After a 429 nothing leaves before the moment the target named."""
    time = Time()
    limiter = memory_limiter([(100, 1.0)], now=time.now, sleep=time.sleep)

    async def work() -> None:
        await limiter.penalise(time.at + 50)
        await limiter.acquire()

    start = time.at
    run(work())
    assert time.at == start + 50


@pytest.mark.parametrize("skew", [-90.0, 90.0])
def test_hosts_whose_clocks_differ_share_a_budget(postgres: Server, skew: float) -> None:
    """Neither waits for the other's clock, and both together send no more than the window allows."""
    url = postgres.emptied()
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    def sent(count: int, ahead: float) -> None:
        """So many requests of a host, whose clock is so far ahead."""
        with closing(open_store(url)) as store, clock_from(utc_now() + timedelta(seconds=ahead)):
            limiter = store_limiter(store, "a", [(4, 3600.0)], sleep=wait)
            for _ in range(count):
                run(limiter.acquire())

    sent(2, skew)
    sent(2, 0)
    assert max(waits, default=0.0) < abs(skew) / 2
    waits.clear()
    sent(1, skew)
    sent(1, 0)
    assert [round(wait, -2) for wait in waits] == [3600, 3600]


def test_a_budget_in_the_store_is_shared(tmp_path: Path) -> None:
    """Two limiters on one bucket share its budget and its penalties; another bucket has its own.

    A full minute is waited for a little longer: the first request may have arrived late.
    """
    store = open_store(f"sqlite:///{tmp_path / 'sync.db'}")
    time = Time()

    def limiter(bucket: str) -> Limiter:
        return store_limiter(store, bucket, [(2, 60.0)], now=time.now, sleep=time.sleep)

    async def work() -> list[float]:
        one, two = limiter("a"), limiter("a")
        start = time.at
        await one.acquire()
        await two.acquire()
        await limiter("b").acquire()
        moments = [time.at - start]
        await one.acquire()
        moments.append(time.at - start)
        await two.penalise(start + 1000)
        await one.acquire()
        return [*moments, time.at - start]

    assert run(work()) == [0, 65, 1000]
    store.close()
