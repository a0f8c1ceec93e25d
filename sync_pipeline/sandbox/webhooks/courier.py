"""Sends deliveries to their receivers in the background: a queue per receiver, retries, and their results.

Everything happens on the server's event loop, so nothing here needs a lock; a write only appends to a queue. What
waits is in memory: deliveries under way are lost when the sandbox stops, as they may be in the real service.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import sqlite3
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from heapq import heappop, heappush
from itertools import count
from typing import Any

import orjson

from sync_pipeline.sandbox.clockify.ids import new_id
from sync_pipeline.sandbox.webhooks.connection import Connection, Target, path_of
from sync_pipeline.sandbox.webhooks.journal import Journal
from sync_pipeline.sandbox.webhooks.settings import Counters, DeliverySettings

CONNECTIONS = 8  # in parallel to one receiver when the order is switched off
JSON = {"content-type": "application/json"}
FAR = "This sandbox delivers to this machine only; start it with webhooks_anywhere to let it reach others."


@dataclass(slots=True)
class Delivery:
    """One body on its way to one webhook; the same bytes in every attempt."""

    id: str
    hook: str
    event: str
    url: str
    body: bytes
    tries: int = 0
    copy: bool = False
    headers: dict[str, str] | None = None
    """What is sent besides, of a delivery that is none of Clockify's; those have the headers of their webhook."""


class Courier:
    """All deliveries of one sandbox."""

    def __init__(self, db: sqlite3.Connection, epoch: Callable[[], float], anywhere: bool) -> None:
        self._db = db
        self._epoch = epoch
        self._anywhere = anywhere
        self.settings = DeliverySettings()
        self.counters = Counters()
        self.journal = Journal()
        # Numbers the rounds of all floods, so that no two of their bodies are equal.
        self.rounds = count(1)
        self._dice = random.Random(0)
        self._lanes: dict[Target, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._flood: asyncio.Task[None] | None = None

    @property
    def queued(self) -> int:
        """Deliveries that wait or are under way, duplicates and retries included."""
        return sum(lane.queued for lane in self._lanes.values())

    def figures(self) -> dict[str, Any]:
        """Settings and counters as the control shows them."""
        return asdict(self.settings) | {"queued": self.queued} | asdict(self.counters)

    def configure(self, sent: Any) -> None:
        """Take other settings; a named seed starts the dice anew."""
        self.settings = self.settings.with_changes(sent)
        if "seed" in sent:
            self._dice = random.Random(self.settings.seed)
        for lane in self._lanes.values():
            lane.wake.set()

    def delivery(self, hook: dict[str, Any], body: bytes) -> Delivery:
        """A delivery to one webhook, not on its way yet."""
        return Delivery(new_id(self._epoch()), hook["id"], hook["webhookEvent"], hook["url"], body)

    def put(self, delivery: Delivery) -> None:
        """Queue a delivery - or lose it, when the dice decide so."""
        if self.loses():
            return
        target = self._reachable(delivery)
        if target is None:
            return
        if self.queued >= self.settings.queue:
            self._give_up(delivery, "Too many deliveries wait already.", blame=False)
            return
        delay = self._dice.random() * self.settings.spread if self.settings.shuffle else 0.0
        self._lane(target).push(delivery, delay)

    def loses(self) -> bool:
        """Throw the dice for one delivery; True counts it as lost."""
        lost = self.settings.lost > 0 and self._dice.random() < self.settings.lost
        self.counters.lost += lost
        return lost

    def _reachable(self, delivery: Delivery) -> Target | None:
        try:
            target = Target.of(delivery.url)
        except ValueError as error:
            self._give_up(delivery, str(error))
            return None
        if not (target.local or self._anywhere):
            self._give_up(delivery, FAR)
            return None
        return target

    def _lane(self, target: Target) -> _Lane:
        if target not in self._lanes:
            lane = self._lanes[target] = _Lane(self, target)
            self.start(lane.run())
        return self._lanes[target]

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something in the background until it is done or the server ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def flood(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this until it is done, or everything is cleared."""
        self._flood = self.start(work)

    async def attempt(self, delivery: Delivery, connection: Connection) -> None:
        """Send it once; what comes next follows from the answer."""
        headers = delivery.headers or self._of_clockify(delivery)
        if headers is None:
            # Deleted or disabled while this waited: no one is notified.
            self.counters.failed += not delivery.copy
            return
        counters, limit = self.counters, self.settings.timeout
        status, answered = None, f"No answer within {limit} seconds."
        try:
            async with asyncio.timeout(limit):
                status, answered = await connection.post(path_of(delivery.url), JSON | headers, delivery.body)
        except TimeoutError:
            pass
        except OSError as error:
            answered = str(error)
        if counters is self.counters:
            # Otherwise everything was cleared meanwhile, and this belongs to the cleared state.
            self._settle(delivery, status, answered)

    def _of_clockify(self, delivery: Delivery) -> dict[str, str] | None:
        hook = self._hook(delivery.hook)
        if hook is None or not hook["deliveryEnabled"]:
            return None
        return {
            "user-agent": "Clockify sandbox",
            # Read from the hook at every attempt: a rotated token is used immediately.
            "clockify-signature": hook["authToken"],
            "clockify-webhook-event-type": delivery.event,
            "idempotency-key": secrets.token_hex(16),
        }

    def _settle(self, delivery: Delivery, status: int | None, answered: str) -> None:
        self._note(delivery, status, answered)
        if status is not None and 200 <= status < 300:
            self._accepted(delivery)
        elif delivery.copy:
            return
        elif delivery.tries < len(self.settings.retry_delays):
            delay = self.settings.retry_delays[delivery.tries]
            delivery.tries += 1
            self.counters.retried += 1
            self._lane(Target.of(delivery.url)).push(delivery, delay)
        else:
            self.counters.failed += 1
            self._blame(delivery)

    def _accepted(self, delivery: Delivery) -> None:
        self._db.execute("UPDATE webhooks SET failures = 0 WHERE id = ? AND failures > 0", (delivery.hook,))
        if delivery.copy:
            self.counters.duplicated += 1
            return
        self.counters.delivered += 1
        if self.settings.duplicates > 0 and self._dice.random() < self.settings.duplicates:
            again = replace(delivery, tries=0, copy=True)
            delay = self._dice.random() * self.settings.spread if self.settings.shuffle else 0.0
            self._lane(Target.of(delivery.url)).push(again, delay)

    def _give_up(self, delivery: Delivery, why: str, *, blame: bool = True) -> None:
        """Fail without an attempt."""
        self._note(delivery, None, why)
        self.counters.failed += 1
        if blame:
            self._blame(delivery)

    def _note(self, delivery: Delivery, status: int | None, answered: str) -> None:
        self.journal.note(
            delivery.hook, delivery.id, status, delivery.body, answered, datetime.fromtimestamp(self._epoch(), UTC)
        )

    def _blame(self, delivery: Delivery) -> None:
        """One more failure of this hook in a row; too many clear ``deliveryEnabled``."""
        row = self._db.execute(
            "UPDATE webhooks SET failures = failures + 1 WHERE id = ? RETURNING failures", (delivery.hook,)
        ).fetchone()
        if row is not None and 0 < self.settings.disable_after <= row["failures"]:
            self._db.execute(
                "UPDATE webhooks SET body = json_set(body, '$.deliveryEnabled', json('false')) WHERE id = ?",
                (delivery.hook,),
            )

    def _hook(self, hook_id: str) -> dict[str, Any] | None:
        row = self._db.execute("SELECT body FROM webhooks WHERE id = ?", (hook_id,)).fetchone()
        return None if row is None else orjson.loads(row["body"])

    def clear(self) -> None:
        """As at the start: nothing queued, nothing counted, everything switched to its default."""
        if self._flood is not None:
            self._flood.cancel()
        for lane in self._lanes.values():
            lane.clear()
        self.journal.forget()
        self.counters = Counters()
        self.configure(asdict(DeliverySettings()) | {"retry_delays": list(DeliverySettings().retry_delays)})

    async def close(self) -> None:
        """Stop everything, hang up, and write the logs down."""
        running = list(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for lane in self._lanes.values():
            await lane.close()
        self.journal.write(self._db, self._epoch())


class _Lane:
    """The queue to one receiver: one delivery after the other, or several in parallel when the order is off."""

    def __init__(self, courier: Courier, target: Target) -> None:
        self.heap: list[tuple[float, int, Delivery]] = []
        self.wake = asyncio.Event()
        self._courier = courier
        self._target = target
        self._numbers = count()
        self._flying: set[asyncio.Task[None]] = set()
        self._idle: list[Connection] = []

    @property
    def queued(self) -> int:
        return len(self.heap) + len(self._flying)

    def push(self, delivery: Delivery, delay: float) -> None:
        due = asyncio.get_running_loop().time() + delay
        heappush(self.heap, (due, next(self._numbers), delivery))
        self.wake.set()

    def clear(self) -> None:
        self.heap.clear()
        for task in self._flying:
            task.cancel()

    async def run(self) -> None:
        while True:
            if (wait := self._wait()) == 0:
                self._launch(heappop(self.heap)[2])
                continue
            self.wake.clear()
            try:
                async with asyncio.timeout(wait):
                    await self.wake.wait()
            except TimeoutError:
                pass

    def _wait(self) -> float | None:
        """Seconds until something may be sent: 0 now, None when only a change can decide."""
        settings = self._courier.settings
        if not self.heap or settings.paused or len(self._flying) >= (CONNECTIONS if settings.shuffle else 1):
            return None
        return max(0.0, self.heap[0][0] - asyncio.get_running_loop().time())

    def _launch(self, delivery: Delivery) -> None:
        task = self._courier.start(self._send(delivery))
        self._flying.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._flying.discard(task)
        self.wake.set()

    async def _send(self, delivery: Delivery) -> None:
        connection = self._idle.pop() if self._idle else Connection(self._target)
        try:
            await self._courier.attempt(delivery, connection)
        finally:
            self._idle.append(connection)

    async def close(self) -> None:
        for connection in self._idle:
            await connection.closed()
