"""The last door before a request leaves: in the sandbox nothing reaches another machine, in a dry run nothing writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from sync_pipeline.connectors.transport import USUAL, WRITES, HttpRequest, Limits
from sync_pipeline.errors import ConfigError
from sync_pipeline.setting_types import is_loopback

READING = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class RequestGuard:
    """Which requests may be sent, and how large answers may be. The default allows everything."""

    only_loopback: bool = False
    writes: bool = True
    why: str = ""
    """Why nothing may be written, in words."""
    check_locks: Callable[..., None] | None = None
    """Raises when a lock of this process was lost; with ``ask`` it asks the database, which takes a moment."""

    limits: Limits = USUAL

    def check(self, request: HttpRequest) -> None:
        """Raise ConfigError for a request that must not leave."""
        if self.only_loopback and not is_loopback(request.url.host):
            raise ConfigError(
                f"In sandbox mode no request leaves this machine, so {request.url.host} was not asked.",
                fix="Set up real accounts, or unset SYNC_MODE.",
            )
        if not self.writes and _writes(request):
            raise ConfigError(
                f"Nothing may be written now, so {request.method} {request.url.path} was not sent: {self.why}."
            )

    async def see(self, request: HttpRequest) -> None:
        """The same, as a hook that sees every request."""
        self.check(request)

    async def keep_locked(self, request: HttpRequest) -> None:
        """Just before a request is sent: raise when a lock is known to be lost; for a write the database is asked."""
        if self.check_locks is None:
            return
        if _writes(request):
            await asyncio.to_thread(self.check_locks, ask=True)
        else:
            self.check_locks(ask=False)


def _writes(request: HttpRequest) -> bool:
    return bool(request.extensions.get(WRITES, request.method not in READING))


ANYTHING = RequestGuard()
