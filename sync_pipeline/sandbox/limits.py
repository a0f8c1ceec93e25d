"""Clockify's request budget: so many a second and an hour for the whole workspace."""

from __future__ import annotations

from collections import deque
from email.utils import formatdate
from math import ceil

from sync_pipeline.sandbox.world import Options


class RequestBudget:
    """Remembers when requests were let through and returns how long the next one has to wait."""

    def __init__(self) -> None:
        self._passed: deque[float] = deque()

    def take(self, now: float, options: Options) -> float:
        """Seconds the caller has to wait: 0 lets the request through and counts it."""
        windows = [(options.per_second(), 1.0), (options.per_hour(), 3600.0)]
        active = [(limit, span) for limit, span in windows if limit > 0]
        if not active:
            return 0.0
        self._forget(now, max(span for _, span in active))
        wait = max(self._wait(now, limit, span) for limit, span in active)
        if wait <= 0:
            self._passed.append(now)
        return max(0.0, wait)

    def _forget(self, now: float, span: float) -> None:
        while self._passed and not now - span < self._passed[0] <= now:
            # Outside the window - or ahead of a clock that was set back.
            self._passed.popleft()

    def _wait(self, now: float, limit: int, span: float) -> float:
        if len(self._passed) < limit:
            return 0.0
        return self._passed[-limit] + span - now


def retry_after(wait: float, now: float, options: Options) -> dict[str, str]:
    """The header that states when to try again, in the configured form."""
    if options.limit_headers == "seconds":
        return {"Retry-After": str(max(1, ceil(wait)))}
    if options.limit_headers == "date":
        return {"Retry-After": formatdate(ceil(now + wait), usegmt=True)}
    return {}
