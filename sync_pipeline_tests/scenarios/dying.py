"""Runs that end at a chosen request, and requests that Clockify refuses."""

from __future__ import annotations

import random
from contextlib import suppress
from functools import cache
from typing import Any

from sync_pipeline.errors import RetryableApiError
from sync_pipeline_tests.harness import Team

RATE = 0.2


def dies_at(us: Team, number: int, kind: str, *entities: str) -> bool:
    """Sync, with the connection cut at the ``number``-th request about clients; whether there were so many.

    A run that tries every request only once ends there: ``cut_before`` it was carried out, or ``cut_after``.
    """
    us.fault(kind, "* */clients*", rate=RATE, seed=_seed(number), count=1)
    with suppress(RetryableApiError):
        us.sync(*entities, SYNC_MAX_ATTEMPTS="1")
    (rule,) = us.control("GET", "faults")["faults"]
    us.no_faults()
    return bool(rule["struck"])


def refused_at(us: Team, number: int, route: str, *entities: str) -> bool:
    """Sync, with the ``number``-th of these requests refused; whether there were so many."""
    refuse(us, route, rate=RATE, seed=_seed(number), count=1)
    us.sync(*entities)
    (rule,) = us.control("GET", "faults")["faults"]
    us.no_faults()
    return bool(rule["struck"])


def refuse(us: Team, route: str, **more: Any) -> None:
    """Clockify refuses these requests for a reason of its own."""
    us.fault("status", route, status=400, body={"code": 501, "message": "not this one"}, **more)


def see_no_clients(us: Team, times: int) -> None:
    """The next lists of clients are empty, as one is that was read before someone created them."""
    us.fault("status", "GET */clients", status=200, body=[], count=times)


@cache
def _seed(number: int) -> int:
    """The seed of dice that strike at this throw for the first time."""
    for seed in range(100_000):
        dice = random.Random(seed)
        throws = [dice.random() < RATE for _ in range(number)]
        if throws == [False] * (number - 1) + [True]:
            return seed
    raise AssertionError(f"no dice strike at throw {number} for the first time")
