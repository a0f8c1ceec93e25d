"""One example of a strategy for a seed, the same every time."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

T = TypeVar("T")

EXAMPLES = 5
"""The first ones are the simplest ones; of so many the last is taken."""


def drawn(strategy: SearchStrategy[T], number: int) -> T:
    """The example of a seed."""
    found: list[T] = []

    @seed(number)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def take(example: T) -> None:
        found.append(example)

    take()
    return found[-1]
