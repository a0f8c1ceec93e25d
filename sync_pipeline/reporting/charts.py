"""The geometry of charts: numbers in, places of marks out. What they look like is the page's matter."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil, floor, log10
from typing import NamedTuple

TICKS = 4
"""At most so many lines above the ground line."""
GAP = 0.2
"""Of the width of a bar's place, what is left free."""


class Mark(NamedTuple):
    """One rectangle."""

    x: float
    y: float
    width: float
    height: float


class Tick(NamedTuple):
    """One line of the scale."""

    y: float
    value: float


class Chart(NamedTuple):
    """Stacked bars, one for each row, from left to right; the origin is the upper left corner."""

    width: float
    height: float
    bars: list[list[Mark]]
    """The parts of each bar from the ground up."""
    ticks: list[Tick]
    """From the ground up."""


def stacked_bars(rows: Sequence[Sequence[float]], width: float, height: float) -> Chart:
    """Bars made of these numbers, none of them below zero."""
    ticks = ticks_up_to(max((sum(row) for row in rows), default=0.0))
    scale, place = height / ticks[-1], width / max(1, len(rows))
    bars = []
    for nr, row in enumerate(rows):
        ends = [sum(row[: part + 1]) for part in range(len(row))]
        x, wide = place * (nr + GAP / 2), place * (1 - GAP)
        parts = [
            Mark(round(x, 2), round(height - end * scale, 2), round(wide, 2), round((end - start) * scale, 2))
            for start, end in pairwise([0.0, *ends])
        ]
        bars.append(parts)
    return Chart(width, height, bars, [Tick(round(height - tick * scale, 2), tick) for tick in ticks])


def ticks_up_to(top: float) -> list[float]:
    """Round numbers in equal steps, from 0 to the first that is not below ``top``."""
    if top <= 0:
        return [0.0, 1.0]
    rough = top / TICKS
    power = 10.0 ** floor(log10(rough))
    step = next(each * power for each in (1, 2, 2.5, 5, 10) if each * power >= rough * (1 - 1e-9))
    count = max(1, ceil(top / step - 1e-9))
    return [round(step * nr, 10) for nr in range(count + 1)]


class Gauge(NamedTuple):
    """A share as a bar of a width of 100, which ends where the largest does; and where the whole is."""

    filled: float
    """Up to the whole."""
    over: float
    """Beyond it."""
    whole: float


def gauges(shares: Sequence[float | None]) -> list[Gauge | None]:
    """A bar for each share on one scale; None where none is known. A negative one is empty."""
    longest = max([1.0, *(share for share in shares if share is not None)])
    return [None if share is None else _gauge(max(0.0, share), longest) for share in shares]


def _gauge(share: float, longest: float) -> Gauge:
    whole = 100 / longest
    filled = min(share, 1.0) * whole
    return Gauge(round(filled, 2), round(share * whole - filled, 2), round(whole, 2))


class Side(NamedTuple):
    """A number as a bar of a width of 100 at most, on one side of zero."""

    x: float
    width: float
    zero: float


def diverging(values: Sequence[float | None]) -> list[Side | None]:
    """A bar for each number on one scale, to the left of zero where it is negative; None where it is not known."""
    known = [each for each in values if each is not None]
    low, high = min([0.0, *known]), max([0.0, *known])
    scale = 100 / ((high - low) or 1.0)
    zero = round(-low * scale, 2)
    return [
        None if each is None else Side(round((min(each, 0.0) - low) * scale, 2), round(abs(each) * scale, 2), zero)
        for each in values
    ]
