"""The geometry of charts: marks stay within their area, on one scale, and are as large as their numbers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipeline.reporting.charts import diverging, gauges, stacked_bars, ticks_up_to

hours = st.floats(0, 1e6).map(lambda value: round(value, 2))


@given(rows=st.lists(st.lists(hours, min_size=2, max_size=3), max_size=30))
def test_bars_are_as_high_as_their_numbers(rows: list[list[float]]) -> None:
    """From left to right without overlap, each part on the one below it, and none beyond the last tick."""
    chart = stacked_bars(rows, 600, 200)
    top = chart.ticks[-1].value
    assert (chart.ticks[0].y, chart.ticks[-1].y) == (200, 0)
    edge = 0.0
    for row, bar in zip(rows, chart.bars, strict=True):
        ground = 200.0
        for value, mark in zip(row, bar, strict=True):
            assert mark.height == pytest.approx(value / top * 200, abs=0.02)
            assert mark.y + mark.height == pytest.approx(ground, abs=0.02)
            assert mark.x >= edge
            ground = mark.y
        assert ground >= -0.01
        edge = bar[0].x + bar[0].width
    assert edge <= 600


@given(top=st.floats(0.01, 1e7))
def test_ticks_are_round_and_reach_the_top(top: float) -> None:
    """From 0 in equal steps, no more than the highest bar needs."""
    ticks = ticks_up_to(top)
    steps = {round(after - before, 6) for before, after in pairwise(ticks)}
    assert ticks[0] == 0
    assert len(steps) == 1
    assert ticks[-2] < top <= ticks[-1] * (1 + 1e-9)
    assert 2 <= len(ticks) <= 6


def test_shares_beyond_the_whole_are_marked() -> None:
    """All on one scale: the longest ends at the right, and the rest shows where the whole is; what is unknown has no bar."""
    half, whole, double, unknown, negative = gauges([0.5, 1.0, 2.0, None, -0.5])
    assert half is not None
    assert (half.filled, half.over, half.whole) == (25, 0, 50)
    assert whole is not None
    assert (whole.filled, whole.over) == (50, 0)
    assert double is not None
    assert (double.filled, double.over) == (50, 50)
    assert unknown is None
    assert negative is not None
    assert (negative.filled, negative.over) == (0, 0)


def test_losses_are_left_of_zero() -> None:
    """On one scale with the gains."""
    assert diverging([-50.0, 150.0, None, 0.0]) == [(0, 25, 25), (25, 75, 25), None, (25, 0, 25)]
    assert diverging([]) == []
    assert diverging([None]) == [None]
