"""How much of the database each webhook may fill: a stranger who knows the secret of one fills no disk with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from sync_pipeline.store import events
from sync_pipeline.store.engine import Store
from sync_pipeline.store.events import ROW_BYTES, Received

log = logging.getLogger(__name__)

HOOK_BYTES = 512 * 1024 * 1024
FREED_SHARE = 10
"""One tenth of the limit is freed in one go."""
PAUSE_SECONDS = 60.0
"""How long a full webhook waits before the database is asked for room again."""


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
            "Is syncing on? If these are not Clockify's, run `sync-pipeline webhooks register --rotate`.",
            hook,
            used // 1_000_000,
        )
        return False
