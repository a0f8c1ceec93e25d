"""Months as they are written, and periods of them that can be asked for."""

from __future__ import annotations

import re
from datetime import date

MONTHS = 3
"""Shown where no period is named, the current month included."""
MOST_MONTHS = 24
_MONTH = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])")


class BadPeriod(ValueError):
    """A period that cannot be shown; its text says why."""


def period_of(first: str, last: str, today: date) -> tuple[str, str]:
    """The months that are asked for; BadPeriod where they are none, out of order, or too many."""
    latest = last or max(first, f"{today:%Y-%m}")
    earliest = first or month_before(latest, MONTHS - 1) if not last or _MONTH.fullmatch(last) else first or latest
    for named in (earliest, latest):
        if not _MONTH.fullmatch(named):
            raise BadPeriod(f"{named[:20]} is no month. Write it like 2026-03.")
    if earliest > latest:
        raise BadPeriod(f"The period begins in {earliest}, after its end in {latest}.")
    if earliest < month_before(latest, MOST_MONTHS - 1):
        raise BadPeriod(f"A period is at most {MOST_MONTHS} months long.")
    return earliest, latest


def month_before(month: str, count: int) -> str:
    """The month so many before another."""
    number = int(month[:4]) * 12 + int(month[5:]) - 1 - count
    return f"{number // 12}-{number % 12 + 1:02d}"
