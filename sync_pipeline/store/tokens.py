"""The tokens of an authorized account, encrypted: both are replaced together, by one process at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from sync_pipeline.clock import unix_time
from sync_pipeline.store import credentials
from sync_pipeline.store.credentials import Keyring
from sync_pipeline.store.engine import Store
from sync_pipeline.store.locks import lock

NAME = "oauth:snapshots"


@dataclass(frozen=True, slots=True)
class Tokens:
    """An access token and what renews it. The secrets are left out of ``repr``."""

    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    expires_at: float = 0.0
    """Epoch seconds."""
    scope: str = ""
    """The granted scopes, with spaces between; empty when the server did not say."""
    account: str = ""
    """The account's name; empty when the server did not return it."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not appear anywhere."""
        return (self.access_token, self.refresh_token)

    def as_json(self) -> dict[str, Any]:
        """To be stored, encrypted."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Tokens:
        """What ``as_json`` gave."""
        return cls(**stored)


@dataclass(frozen=True, slots=True)
class Lost:
    """There is no pair any more, and why: only a person can authorize again."""

    reason: str


class StoredVault:
    """A pair in the table of credentials, under ``name`` of the connection ``place``.

    A writer holds ``lock()``, which is one for all processes. Nothing here blocks the event loop.
    """

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        place: str,
        name: str = NAME,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._place = place
        self._name = name
        self._key = f"{place}\n{name}"

    async def load(self) -> Tokens | Lost | None:
        """The pair, or why there is none any more; None when there never was one."""
        return await asyncio.to_thread(self.read)

    async def save(self, tokens: Tokens) -> None:
        """Replace the pair, whole: when this returns it is committed."""
        await asyncio.to_thread(self._put, tokens.as_json(), tokens.expires_at)

    async def lose(self, reason: str) -> None:
        """Forget the tokens permanently; every process learns the reason."""
        await asyncio.to_thread(self._put, {"lost": reason}, None)

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Be the only one who renews this pair; others wait, and a killed process frees it."""
        async with _in_one_thread(lock(self._store, self._key, credentials.TOKENS)):
            yield

    def read(self) -> Tokens | Lost | None:
        """What ``load`` gives, for those who have no event loop."""
        stored = credentials.get(self._store, self._keyring, self._place, self._name)
        if stored is None:
            return None
        return Lost(stored["lost"]) if "lost" in stored else Tokens.from_json(stored)

    def keep(self, tokens: Tokens) -> None:
        """Store the pair of a new consent, not while the one before it is being renewed."""
        with lock(self._store, self._key, credentials.TOKENS):
            self._put(tokens.as_json(), tokens.expires_at)

    def drop(self, reason: str) -> None:
        """Forget the pair and keep the reason, as ``lose`` does, for those who have no event loop."""
        with lock(self._store, self._key, credentials.TOKENS):
            self._put({"lost": reason}, None)

    def remove(self) -> None:
        """Forget pair and reason: as if there never had been a consent."""
        with lock(self._store, self._key, credentials.TOKENS):
            credentials.remove(self._store, self._place, self._name)

    def _put(self, value: dict[str, Any], expires_at: float | None) -> None:
        ends = None if expires_at is None else datetime.fromtimestamp(expires_at, UTC)
        at = datetime.fromtimestamp(unix_time(), UTC)
        credentials.put(self._store, self._keyring, self._place, self._name, value, at, expires_at=ends)


@asynccontextmanager
async def _in_one_thread(held: AbstractContextManager[object]) -> AsyncIterator[None]:
    """Hold something that blocks while it is waited for: one thread enters and leaves, as locks want it."""
    thread = ThreadPoolExecutor(1)
    entering = thread.submit(held.__enter__)

    def leave() -> None:
        if not entering.cancelled() and entering.exception() is None:
            held.__exit__(None, None, None)

    try:
        await asyncio.wrap_future(entering)
        yield
    finally:  # also when the wait was cancelled: the thread leaves as soon as it has got in
        leaving = asyncio.wrap_future(thread.submit(leave))
        thread.shutdown(wait=False)
        await leaving
