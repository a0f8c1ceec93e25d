"""The last door before a request leaves: in the sandbox nothing reaches another machine, in a dry run nothing writes."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from sync_pipeline.errors import ConfigError
from sync_pipeline.setting_types import is_loopback

WRITES = "writes"
"""The extension by which a request says whether it changes anything; without it, everything but a read does."""
READING = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Guard:
    """What may leave. The default lets everything through."""

    only_loopback: bool = False
    writes: bool = True
    why: str = ""
    """Why nothing may be written, in words."""

    def check(self, request: httpx.Request) -> None:
        """Raise ConfigError for a request that must not leave."""
        if self.only_loopback and not is_loopback(request.url.host):
            raise ConfigError(
                f"In sandbox mode no request leaves this machine, so {request.url.host} was not asked.",
                fix="Set up real accounts, or unset SYNC_MODE.",
            )
        if not self.writes and request.extensions.get(WRITES, request.method not in READING):
            raise ConfigError(
                f"Nothing may be written now, so {request.method} {request.url.path} was not sent: {self.why}."
            )


ANYTHING = Guard()
