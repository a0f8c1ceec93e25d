"""Collect events from concurrent requests into few transactions; a request is answered after the commit. Each webhook has limited room."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self

from sync_pipeline.errors import SyncError
from sync_pipeline.store import events
from sync_pipeline.store.engine import Store
from sync_pipeline.store.events import ROW_BYTES, Received

log = logging.getLogger(__name__)

Write = Callable[[Sequence[Received]], Sequence[bool | None]]
"""Commits a batch; for each event whether it was news, None when there is no room for it."""
HOOK_BYTES = 512 * 1024 * 1024
FREED_SHARE = 10
"""One tenth of the limit is freed in one go."""
PAUSE_SECONDS = 60.0
"""How long a full webhook waits before the database is asked for room again."""


class Busy(Exception):
    """The event was not accepted: the sender is to try again later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxLimits:
    """How much may wait, and for how long."""

    events: int = 5_000
    bytes: int = 64 * 1024 * 1024
    batch: int = 500
    """Events in one transaction: a larger one would keep the loader from its database for too long."""
    gather_seconds: float = 0.003
    """How long the first event of a batch waits for others."""
    patience_seconds: float = 10.0
    """After this long a sender is asked to come back; its event may be kept all the same, then the repeat is dropped."""


@dataclass(slots=True)
class _Waiting:
    event: Received
    done: asyncio.Future[bool | None]
    """Whether it was news; None when it could not be kept."""


class Inbox:
    """The queue before the store. Use as ``async with``; what waits at the end is still written."""

    def __init__(self, write: Write, limits: InboxLimits | None = None) -> None:
        self._write = write
        self._limits = limits or InboxLimits()
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._ending = False
        self._thread = ThreadPoolExecutor(1, "webhook-inbox")
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="webhook-inbox")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending = True
        self._wake.set()
        if self._task is not None:
            await self._task
        self._thread.shutdown()

    async def put(self, event: Received) -> bool:
        """Keep an event; returns, once it is committed, whether it was news. Busy when it could not be kept."""
        size = len(event.payload)
        if len(self._queue) >= self._limits.events or self._bytes + size > self._limits.bytes:
            raise Busy
        waiting = _Waiting(event, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._bytes += size
        self._wake.set()
        try:
            async with asyncio.timeout(self._limits.patience_seconds):
                news = await waiting.done
        except TimeoutError:
            raise Busy from None
        if news is None:
            raise Busy
        return news

    async def _run(self) -> None:
        while not (self._ending and not self._queue):
            await self._wake.wait()
            if not self._ending and len(self._queue) < self._limits.batch:
                await asyncio.sleep(self._limits.gather_seconds)
            if batch := [self._queue.popleft() for _ in range(min(len(self._queue), self._limits.batch))]:
                await self._commit(batch)
            if not self._queue and not self._ending:
                self._wake.clear()

    async def _commit(self, batch: list[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        news = await loop.run_in_executor(self._thread, self._try, [waiting.event for waiting in batch])
        self._bytes -= sum(len(waiting.event.payload) for waiting in batch)
        for waiting, is_news in zip(batch, news, strict=True):
            if not waiting.done.done():  # the sender may have disconnected
                waiting.done.set_result(is_news)

    def _try(self, batch: Sequence[Received]) -> Sequence[bool | None]:
        try:
            return self._write(batch)
        except SyncError as error:
            log.warning("%d events could not be kept; their senders will send them again. %s", len(batch), error)
        except Exception:  # a writer that dies would leave every later sender waiting
            log.exception("%d events could not be kept; their senders will send them again.", len(batch))
        return [None] * len(batch)


@dataclass(slots=True)
class HookStorage:
    """What each webhook of a connection has in the inbox, closed events included. Used by one thread."""

    store: Store
    pair: str
    clock: Callable[[], float]
    limit: int = HOOK_BYTES
    _used: dict[str, int] | None = None
    _own_bytes: int = 0
    """What was written here since the database was asked."""
    _full_until: dict[str, float] = field(default_factory=dict)

    def has_room(self, one: Received) -> bool:
        """Whether an event may be kept. The oldest closed ones of its webhook make room for it."""
        if one.hook is None:
            return True
        if self._used is None or self._own_bytes > self.limit // FREED_SHARE:  # other receivers write, too
            self._used, self._own_bytes = events.kept_bytes(self.store, self.pair), 0
        size = len(one.payload.encode()) + ROW_BYTES
        if self._used.get(one.hook, 0) + size > self.limit and not self._makes_room(one.hook, size):
            return False
        self._used[one.hook] = self._used.get(one.hook, 0) + size
        self._own_bytes += size
        return True

    def _makes_room(self, hook: str, size: int) -> bool:
        if self.clock() < self._full_until.get(hook, float("-inf")):
            return False
        self._used = events.kept_bytes(self.store, self.pair)  # events are also deleted by age
        used = self._used.get(hook, 0)
        if used + size > self.limit:
            used -= events.drop_closed(self.store, self.pair, hook, max(size, self.limit // FREED_SHARE))
            self._used[hook] = used
        if used + size <= self.limit:
            return True
        self._full_until[hook] = self.clock() + PAUSE_SECONDS
        log.warning(
            "The webhook %s has %d MB of events in the inbox that no run has processed: more are refused with 503. "
            "Is syncing on? If they are not from the vendor, run `sync-pipeline webhooks register --rotate`.",
            hook,
            used // 1_000_000,
        )
        return False
