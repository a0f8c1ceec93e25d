"""Request budgets shared by all processes: who may send next, and when.

Each bucket has a log of the send times it has given out, one row in the database. A new time is the
earliest that no window forbids and that is not before one already given out, so the order of asking is the
order of sending. All arithmetic is in whole microseconds: a float's rounding could put one request too many
into a window.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select, update

from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import rate_windows
from sync_pipeline.store.upsert import insert_into

MICRO = 1_000_000
WINDOWS_AHEAD = 4
"""Nobody waits longer for a turn than this many windows: a time further ahead came from a clock that was wrong."""
LEAST_AHEAD, LONGEST_BLOCK = 60.0, 7200.0
"""Seconds: the shortest such span, and the longest that a 429 keeps everybody away (its Retry-After is capped)."""

RateWindow = tuple[int, float]
"""At most so many requests in any stretch of so many seconds."""


def reserve(store: Store, bucket: str, windows: Sequence[RateWindow], now: float) -> float:
    """The epoch second at which the caller may send; the place is taken when this returns."""
    with store.writing() as own:
        row = _locked_row(store, own, bucket)
        sent, blocked_until = _believable(json.loads(row.sent), row.blocked_until, windows, microseconds(now))
        at = next_free(sent, blocked_until, windows, microseconds(now))
        kept = max((limit for limit, _ in windows), default=1)
        log = json.dumps([*sent, at][-kept:], separators=(",", ":"))
        own.execute(update(rate_windows).where(rate_windows.c.bucket == bucket).values(sent=log))
    return at / MICRO


def penalise(store: Store, bucket: str, until: float) -> None:
    """The other side said to stay away until then (a 429): nobody gets an earlier time any more."""
    with store.writing() as own:
        row = _locked_row(store, own, bucket)
        blocked = max(row.blocked_until, microseconds(until))
        own.execute(update(rate_windows).where(rate_windows.c.bucket == bucket).values(blocked_until=blocked))


def room(store: Store, bucket: str, windows: Sequence[RateWindow], now: float) -> int:
    """How many requests may be sent at once from ``now`` on without waiting; no place is taken."""
    with store.reading() as own:
        row = own.execute(select(rate_windows).where(rate_windows.c.bucket == bucket)).one_or_none()
    if row is None:
        return min(limit for limit, _ in windows)
    at = microseconds(now)
    sent, blocked_until = _believable(json.loads(row.sent), row.blocked_until, windows, at)
    if max(blocked_until, *sent[-1:], 0) > at:
        return 0
    return min(limit - sum(one > at - microseconds(seconds) for one in sent) for limit, seconds in windows)


def next_free(sent: Sequence[int], blocked_until: int, windows: Sequence[RateWindow], now: int) -> int:
    """The earliest allowed time, in microseconds, given the rising log of times already given out."""
    floors = [now, blocked_until, *sent[-1:]]
    for limit, seconds in windows:
        if len(sent) >= limit:
            floors.append(sent[-limit] + microseconds(seconds))
    return max(floors)


def _believable(
    sent: Sequence[int], blocked_until: int, windows: Sequence[RateWindow], now: int
) -> tuple[list[int], int]:
    """The log without times that a clock running ahead has left there; nobody would ever send again before them."""
    longest = max((seconds for _, seconds in windows), default=0.0)
    latest = now + microseconds(max(WINDOWS_AHEAD * longest, LEAST_AHEAD))
    blocked = blocked_until if blocked_until <= now + microseconds(LONGEST_BLOCK) else 0
    return [at for at in sent if at <= latest], blocked


def microseconds(seconds: float) -> int:
    """Rounded up, so that neither a wait nor a window ever comes out shorter."""
    return math.ceil(seconds * MICRO)


def _locked_row(store: Store, own: Connection, bucket: str) -> Row[Any]:
    """The bucket's row, locked until the transaction ends (SQLite has locked everything already)."""
    find: Select[Any] = select(rate_windows).where(rate_windows.c.bucket == bucket).with_for_update()
    if store.dialect == "postgresql":
        # Answer before the disk does, in this transaction only: if the server itself crashes within half a second,
        # places are forgotten of requests that were sent - at worst the other side says 429, and we wait.
        find = find.add_columns(func.set_config("synchronous_commit", "off", True))
    row = own.execute(find).one_or_none()
    if row is None:
        fresh = {"bucket": bucket, "sent": "[]", "blocked_until": 0}
        own.execute(insert_into(store, rate_windows).values(**fresh).on_conflict_do_nothing())
        row = own.execute(find).one()
    return row
