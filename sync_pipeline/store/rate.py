"""Request budgets shared by all processes: who may send next, and when.

Each bucket has a log of the send times it has given out, one row in the database. A new time is the
earliest that no window forbids and that is not before one already given out, so the order of asking is the
order of sending. All arithmetic is in whole microseconds: a float's rounding could put one request too many
into a window. The times that callers give and get are of the clock that they share, which is the store's (``Store.ahead``).

A time in the future is waited for only if the clock that gave it out is no longer ahead: a place in the queue of a
full window. With each such place the log keeps when it was asked for. A time that was asked for in the future came from a
clock that has been set back since; that request was sent by now, and counts as sent now.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select, update

from sync_pipeline.store.engine import Store, insert_into
from sync_pipeline.store.schema import rate_windows

MICRO = 1_000_000
WINDOWS_AHEAD = 4
"""No one waits longer for a turn than this many windows: a time further ahead came from a clock that was wrong."""
LEAST_AHEAD, LONGEST_BLOCK = 60.0, 7200.0
"""Seconds: the shortest such span, and the longest that a 429 blocks all processes (its Retry-After is capped)."""
DAY, DAY_REMEMBERED = " day", 900.0
"""What is noted beside a bucket when the requests of its day are used up, and for how many seconds that counts."""
CLOCKS_APART = 60.0
"""Seconds by which the clocks of hosts may differ; what was asked for further ahead was asked for by a wrong clock."""

RateWindow = tuple[int, float]
"""At most so many requests in any stretch of so many seconds."""

Place = tuple[int, int]
"""When a request may be sent, and when that was asked for."""


def reserve(store: Store, bucket: str, windows: Sequence[RateWindow], now: float) -> float:
    """The epoch second at which the caller may send; the place is taken when this returns."""
    with store.writing() as tx:
        row = _locked_row(store, tx, bucket)
        asked = microseconds(now)
        places, blocked_until = _believable(row, windows, asked)
        at = next_free(_times(places), blocked_until, windows, asked)
        _write(tx, bucket, windows, [*places, (at, asked)])
    return at / MICRO


def penalise(store: Store, bucket: str, until: float, now: float) -> None:
    """The API asked to wait until then (a 429): no earlier time is given out any more.

    A longer wait than ``LONGEST_BLOCK`` is stored as that: a block further ahead is taken for one of a wrong clock.
    """
    with store.writing() as tx:
        row = _locked_row(store, tx, bucket)
        blocked = max(_block(row, microseconds(now)), microseconds(min(until, now + LONGEST_BLOCK)))
        tx.execute(update(rate_windows).where(rate_windows.c.bucket == bucket).values(blocked_until=blocked))


def end_day(store: Store, bucket: str, now: float) -> None:
    """The API says that the requests of this day are used up; when its day is over it does not say."""
    with store.writing() as tx:
        day = _locked_row(store, tx, bucket + DAY).bucket
        until = microseconds(now + DAY_REMEMBERED)
        tx.execute(update(rate_windows).where(rate_windows.c.bucket == day).values(blocked_until=until))


def is_day_over(store: Store, bucket: str, now: float) -> bool:
    """Whether the vendor has reported to any process that the limit of the day is used up."""
    with store.reading() as tx:
        until = tx.scalar(select(rate_windows.c.blocked_until).where(rate_windows.c.bucket == bucket + DAY)) or 0
    return microseconds(now) < until <= microseconds(now + DAY_REMEMBERED)


@dataclass(frozen=True, slots=True)
class Budget:
    """What is left of the requests of one window, by our own count."""

    limit: int
    seconds: float
    sent: tuple[int, ...] = field(repr=False)
    """When those that still count were sent, or will be: microseconds, rising."""
    blocked_until: int
    at: int

    @property
    def used(self) -> int:
        """How many requests count against the window now."""
        return len(self.sent)

    @property
    def left(self) -> int:
        """How many may be sent now."""
        return 0 if max(self.blocked_until, *self.sent[-1:], 0) > self.at else self.limit - self.used

    @property
    def full_at(self) -> datetime:
        """When all of them may be sent again."""
        return datetime.fromtimestamp(self.free_at(self.limit), UTC)

    def by_clock(self, ahead: float) -> Budget:
        """The same with times of another clock, which is ``ahead`` seconds behind the clock of these."""
        by = microseconds(ahead)
        sent = tuple(one - by for one in self.sent)
        return replace(self, sent=sent, blocked_until=max(self.blocked_until - by, 0), at=self.at - by)

    def free_at(self, count: int) -> float:
        """The epoch second from which ``count`` requests may be sent without waiting."""
        older = self.sent[: max(count - (self.limit - self.used), 0)][-1:]
        floors = [self.at, self.blocked_until, *(sent + microseconds(self.seconds) for sent in older)]
        return max(floors) / MICRO


def budget(store: Store, bucket: str, window: RateWindow, now: float) -> Budget:
    """What is left of one window; nothing is reserved."""
    limit, seconds = window
    with store.reading() as tx:
        row = tx.execute(select(rate_windows).where(rate_windows.c.bucket == bucket)).one_or_none()
    at = microseconds(now)
    places, blocked_until = ([], 0) if row is None else _believable(row, [window], at)
    counted = tuple(one for one in _times(places) if one > at - microseconds(seconds))[-limit:]
    return Budget(limit, seconds, counted, blocked_until, at)


def note_sent(store: Store, bucket: str, windows: Sequence[RateWindow], now: float, count: int) -> None:
    """Count requests that were sent without the limiter: the set-up's own look-ups, for which a person waits."""
    with store.writing() as tx:
        row = _locked_row(store, tx, bucket)
        asked = microseconds(now)
        places, _ = _believable(row, windows, asked)
        at = max([asked, *_times(places)[-1:]])
        _write(tx, bucket, windows, [*places, *[(at, asked)] * count])


def next_free(sent: Sequence[int], blocked_until: int, windows: Sequence[RateWindow], now: int) -> int:
    """The earliest allowed time, in microseconds, given the rising log of times already given out."""
    floors = [now, blocked_until, *sent[-1:]]
    for limit, seconds in windows:
        if len(sent) >= limit:
            floors.append(sent[-limit] + microseconds(seconds))
    return max(floors)


def _believable(row: Row[Any], windows: Sequence[RateWindow], now: int) -> tuple[list[Place], int]:
    """The log, rising, and the end of a block, without what a clock running ahead has left there."""
    longest = max((seconds for _, seconds in windows), default=0.0)
    latest = now + microseconds(max(WINDOWS_AHEAD * longest, LEAST_AHEAD))
    # A single number is a place that was free when it was asked for.
    noted = ((one, one) if isinstance(one, int) else (one[0], one[1]) for one in json.loads(row.sent))
    places = [(at, asked) for at, asked in noted if at <= latest]
    newest = now + microseconds(CLOCKS_APART)
    return sorted((at, asked) if asked <= newest else (now, now) for at, asked in places), _block(row, now)


def _block(row: Row[Any], now: int) -> int:
    return row.blocked_until if row.blocked_until <= now + microseconds(LONGEST_BLOCK) else 0


def _times(places: Sequence[Place]) -> list[int]:
    return [at for at, _ in places]


def _write(tx: Connection, bucket: str, windows: Sequence[RateWindow], places: Sequence[Place]) -> None:
    kept = max((limit for limit, _ in windows), default=1)
    log = json.dumps([at if at == asked else (at, asked) for at, asked in places[-kept:]], separators=(",", ":"))
    tx.execute(update(rate_windows).where(rate_windows.c.bucket == bucket).values(sent=log))


def microseconds(seconds: float) -> int:
    """Rounded up, so that neither a wait nor a window ever comes out shorter."""
    return math.ceil(seconds * MICRO)


def _locked_row(store: Store, tx: Connection, bucket: str) -> Row[Any]:
    """The bucket's row, locked until the transaction ends (SQLite has locked everything already)."""
    find: Select[Any] = select(rate_windows).where(rate_windows.c.bucket == bucket).with_for_update()
    if store.dialect == "postgresql":
        # Answer before the disk does, in this transaction only: if the server itself crashes within half a second,
        # places are forgotten of requests that were sent - at worst the API answers 429, and we wait.
        find = find.add_columns(func.set_config("synchronous_commit", "off", True))
    row = tx.execute(find).one_or_none()
    if row is None:
        fresh = {"bucket": bucket, "sent": "[]", "blocked_until": 0}
        tx.execute(insert_into(store, rate_windows).values(**fresh).on_conflict_do_nothing())
        row = tx.execute(find).one()
    return row
