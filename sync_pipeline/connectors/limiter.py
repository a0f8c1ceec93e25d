"""Waiting for our turn, so that a 429 is the exception: one budget for every process that shares a bucket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from sync_pipeline.clock import unix_time

if TYPE_CHECKING:
    from sync_pipeline.store.engine import Store

RateWindow = tuple[int, float]  # so many requests in so many seconds
A_MINUTE, AN_HOUR = 60.0, 3600.0
WORTH_SAYING_SECONDS = 5.0
MARGIN, MOST_MARGIN = 0.1, 5.0
"""The part by which a shared window is made longer, and the most seconds of it.

A vendor counts requests when they arrive. One that took longer on its way than a later one would make a full window too full
there; with several processes on busy machines that happens often, and each 429 holds all of them back.
"""

Sleep = Callable[[float], Awaitable[None]]
OnTurn = Callable[[], Awaitable[None]]
Clock = Callable[[], float]
Announce = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How many requests an account may be sent; all that count against them are counted in one bucket."""

    bucket: str
    windows: Sequence[RateWindow]

    @property
    def hourly(self) -> RateWindow | None:
        """The window that is long enough to be noticed, an hour at most; None when none is longer than a minute."""
        return next((window for window in self.windows if A_MINUTE < window[1] <= AN_HOUR), None)


class Limiter(Protocol):
    """What an ApiClient asks before each attempt."""

    async def acquire(self) -> None:
        """Return when one request may be sent."""

    async def penalise(self, until: float) -> None:
        """Send nothing on this budget, from any process that shares it, before the epoch second ``until``."""

    async def end_day(self) -> None:
        """Note that the requests of this day are used up."""

    async def is_day_over(self) -> bool:
        """Whether the end of the day was noted a short while ago."""


def silent(_message: str) -> None:
    """Announce nothing."""


def clock_time(moment: float) -> str:
    """The local time of an epoch second."""
    return datetime.fromtimestamp(moment, UTC).astimezone().strftime("%H:%M:%S")


@dataclass(slots=True, kw_only=True)
class _Turns:
    """What both limiters share: the wait and its announcement."""

    label: str = ""
    on_wait: Announce = silent
    now: Clock = unix_time
    sleep: Sleep = asyncio.sleep

    async def wait_until(self, turn: float) -> None:
        seconds = turn - self.now()
        if seconds <= 0:
            return
        if seconds >= WORTH_SAYING_SECONDS:
            self.on_wait(f"{self.label or 'Rate limit'}: next request at {clock_time(turn)}.")
        await self.sleep(seconds)


@dataclass(slots=True)
class StoreLimiter:
    """A budget kept in the store, shared by all processes on the same database."""

    store: Store
    bucket: str
    windows: Sequence[RateWindow]
    turns: _Turns

    async def acquire(self) -> None:
        """Reserve the next free moment in the store and wait for it."""
        if self.windows:
            # In a thread: another process may hold the database's write lock for a moment.
            await self.turns.wait_until(await asyncio.to_thread(self._reserve))

    def _reserve(self) -> float:
        from sync_pipeline.store.rate import reserve  # the store is only loaded when it is used

        windows = [(limit, seconds + min(MARGIN * seconds, MOST_MARGIN)) for limit, seconds in self.windows]
        ahead = self.store.ahead
        return reserve(self.store, self.bucket, windows, self.turns.now() + ahead) - ahead

    def _shared(self, at: float) -> float:
        """The same instant by the clock of the store: hosts whose own clocks differ would wait for each other, or not at all."""
        return at + self.store.ahead

    async def penalise(self, until: float) -> None:
        """Move the next turn of all processes behind ``until``."""
        from sync_pipeline.store.rate import penalise

        now = self._shared(self.turns.now())
        await asyncio.to_thread(lambda: penalise(self.store, self.bucket, self._shared(until), now))

    async def end_day(self) -> None:
        """Note it for all processes."""
        from sync_pipeline.store.rate import end_day

        await asyncio.to_thread(lambda: end_day(self.store, self.bucket, self._shared(self.turns.now())))

    async def is_day_over(self) -> bool:
        """Whether any process has noted it."""
        from sync_pipeline.store.rate import is_day_over

        return await asyncio.to_thread(lambda: is_day_over(self.store, self.bucket, self._shared(self.turns.now())))


@dataclass(slots=True)
class MemoryLimiter:
    """The same budget for this process alone, for when there is no store: `check` before anything is set up."""

    windows: Sequence[RateWindow]
    turns: _Turns
    _sent: deque[float] = field(default_factory=deque)
    _blocked_until: float = 0.0

    async def acquire(self) -> None:
        """Reserve the next free moment and wait for it."""
        if not self.windows:
            return
        last = self._sent[-1] if self._sent else 0.0
        turn = max(self.turns.now(), self._blocked_until, last, *(self._free_at(*window) for window in self.windows))
        self._sent.append(turn)
        if len(self._sent) > max(limit for limit, _ in self.windows):
            self._sent.popleft()
        await self.turns.wait_until(turn)

    def _free_at(self, limit: int, seconds: float) -> float:
        return self._sent[-limit] + seconds if len(self._sent) >= limit else 0.0

    async def penalise(self, until: float) -> None:
        """Send nothing before ``until``."""
        self._blocked_until = max(self._blocked_until, until)

    async def end_day(self) -> None:
        """Do nothing: this process learns it from each answer."""

    async def is_day_over(self) -> bool:
        """Always False: no other process shares this budget."""
        return False


def store_limiter(
    store: Store,
    bucket: str,
    windows: Sequence[RateWindow],
    *,
    label: str = "",
    on_wait: Announce = silent,
    now: Clock = unix_time,
    sleep: Sleep = asyncio.sleep,
) -> StoreLimiter:
    """A limiter on the store; ``label`` names the owner of the limit when a wait is announced."""
    return StoreLimiter(store, bucket, windows, _Turns(label=label, on_wait=on_wait, now=now, sleep=sleep))


def memory_limiter(
    windows: Sequence[RateWindow] = (),
    *,
    label: str = "",
    on_wait: Announce = silent,
    now: Clock = unix_time,
    sleep: Sleep = asyncio.sleep,
) -> MemoryLimiter:
    """A limiter of this process; without windows it never waits."""
    return MemoryLimiter(windows, _Turns(label=label, on_wait=on_wait, now=now, sleep=sleep))
