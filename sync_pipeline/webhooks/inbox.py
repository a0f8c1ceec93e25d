"""From many requests at once into few transactions: an event is answered when it is committed, not before."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from sync_pipeline.errors import SyncError
from sync_pipeline.store.events import Received

log = logging.getLogger(__name__)

Write = Callable[[Sequence[Received]], Sequence[bool | None]]
"""Commits a batch; for each event whether it was news, None when there is no room for it."""


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
            log.warning("%d events could not be kept; Clockify will send them again. %s", len(batch), error)
        except Exception:  # a writer that dies would leave every later sender waiting
            log.exception("%d events could not be kept; Clockify will send them again.", len(batch))
        return [None] * len(batch)
