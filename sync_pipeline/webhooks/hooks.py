"""What we know of each webhook of ours: its secret path and its token, kept encrypted in the store."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

from anyio.to_thread import run_sync

from sync_pipeline.connectors.clockify.webhooks import hook_path
from sync_pipeline.errors import SyncError
from sync_pipeline.mapping.load import load_specs, specs_of
from sync_pipeline.session.session import Session
from sync_pipeline.store import credentials
from sync_pipeline.store.credentials import SIGNED, WEBHOOK, Keyring, hook_names, open_keyring
from sync_pipeline.store.engine import Store
from sync_pipeline.webhooks.events import WebhookEvents

log = logging.getLogger(__name__)

ADDON = "ADDON"
"""The hook of an add-on: every event comes in there, signed with the vendor's key instead of a token."""
OVERLAP = timedelta(hours=1)
"""For how long the token before the last rotation is still good: what was signed with it may be under way or retried."""
REMEMBERED_SECONDS = 10.0
"""For how long the hooks are taken from memory."""
REREAD_SECONDS = 5.0
"""How long after a reading that a delivery caused which fits no hook the next such delivery may cause one."""


class HooksUnreadable(Exception):
    """It cannot be checked now whether a delivery is genuine."""


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook, named for its event. ``token`` is empty until the vendor has given it."""

    name: str
    secret: str
    token: str = ""
    previous: str = ""
    overlap_until: str = ""
    users: str = ""
    """Mark of the users who were known when it was last made to name them; see ``registration.follow_named``."""

    def __repr__(self) -> str:
        return f"Hook({self.name})"

    def path(self, workspace: str) -> str:
        """Where its deliveries come in; the end of it cannot be guessed."""
        return f"{hook_path(workspace)}/{self.name}/{self.secret}"

    def is_at(self, secret: str) -> bool:
        """Whether a delivery came in under the right path, in constant time."""
        return _same(self.secret, secret)

    def accepts(self, token: str, now: datetime) -> bool:
        """Whether a delivery shows the token, or the one before it shortly after a rotation; in constant time."""
        current = _same(self.token, token)
        previous = _same(self.previous, token)
        return current or (previous and now < datetime.fromisoformat(self.overlap_until))

    def with_token(self, token: str, now: datetime) -> Hook:
        """The hook after the vendor gave its token; another one than before starts the overlap."""
        if token == self.token:
            return self
        if not self.token:
            return replace(self, token=token)
        return replace(self, token=token, previous=self.token, overlap_until=(now + OVERLAP).isoformat())


def new_hook(name: str) -> Hook:
    """A hook with a path that cannot be guessed."""
    return Hook(name, secrets.token_urlsafe(24))


@dataclass(frozen=True, slots=True)
class HookStore:
    """The hooks of one connection."""

    store: Store
    keyring: Keyring
    pair: str
    events: WebhookEvents = field(default_factory=lambda: WebhookEvents.of(load_specs().values()))
    """Those that the entities' files name; without a session those of the shipped files."""

    def load(self, name: str) -> Hook | None:
        """One hook; None when there is none of that name."""
        found = credentials.get(self.store, self.keyring, self.pair, WEBHOOK + name)
        return None if found is None else Hook(**found)

    def all(self) -> dict[str, Hook]:
        """Every hook by its name."""
        return {name: hook for name in self.names() if (hook := self.load(name)) is not None}

    def readable(self) -> dict[str, Hook | SyncError]:
        """Every hook by its name, in one read of the database; the error for one that cannot be decrypted."""
        found = credentials.get_all(self.store, self.keyring, self.pair, WEBHOOK)
        named = ((name.removeprefix(WEBHOOK), one) for name, one in found.items())
        return {name: one if isinstance(one, SyncError) else Hook(**one) for name, one in named if self.knows(name)}

    def knows(self, name: str) -> bool:
        """Whether a webhook of ours can have this name."""
        return name in (ADDON, SIGNED) or name in self.events.hooks

    def names(self) -> list[str]:
        """The names of the registered webhooks; needs no key."""
        return hook_names(self.store, self.pair)

    def save(self, hook: Hook, at: datetime) -> None:
        """Remember a hook."""
        credentials.put(self.store, self.keyring, self.pair, WEBHOOK + hook.name, asdict(hook), at)

    def remove(self, name: str) -> None:
        """Forget a hook; needs no key."""
        credentials.remove(self.store, self.pair, WEBHOOK + name)


class KnownHooks:
    """The hooks in memory. They are read again after a while, and when a delivery fits none of them.

    The latter at most once in REREAD_SECONDS, whatever is sent: senders who guess cost no more than that. A hook that
    another process registers or rotates is known with the first delivery that needs it, or that much later while
    a sender guesses.
    """

    def __init__(self, hooks: HookStore, clock: Callable[[], float]) -> None:
        self._store, self._clock = hooks, clock
        self._known: dict[str, Hook | SyncError] | None = None
        self._until = self._reread_from = float("-inf")
        self._reading = asyncio.Lock()

    async def find(self, name: str, fits: Callable[[Hook | None], bool]) -> tuple[Hook | None, bool]:
        """The hook of that name, and whether it fits; HooksUnreadable when the database does not answer."""
        async with self._reading:
            now = self._clock()
            if is_due := now >= self._until:
                await self._read(now)
            is_fitting = fits(self._hook(name))
            if not is_fitting and now >= self._reread_from:
                self._reread_from = now + REREAD_SECONDS
                if not is_due:
                    await self._read(now)
                    is_fitting = fits(self._hook(name))
            return self._hook(name), is_fitting

    async def _read(self, now: float) -> None:
        try:
            self._known = await run_sync(self._store.readable)
            self._until = now + REMEMBERED_SECONDS
        except SyncError as error:
            log.warning("No delivery can be verified; their senders will send them again. %s", error)
            self._known, self._until = None, now + REREAD_SECONDS

    def _hook(self, name: str) -> Hook | None:
        if self._known is None:
            raise HooksUnreadable
        found = self._known.get(name)
        if isinstance(found, SyncError):
            raise HooksUnreadable
        return found


def has_hooks(session: Session) -> bool:
    """Whether any hook of this connection is known; needs no key."""
    return bool(hook_names(session.store, session.pair))


def open_hooks(session: Session) -> HookStore:
    """The hooks of a session's connection, readable with the key of its settings."""
    keyring = open_keyring(session.settings.encryption_key, session.settings.encryption_key_file)
    events = WebhookEvents.of(specs_of(session.settings).values())
    return HookStore(session.store, keyring, session.pair, events)


def _same(known: str, shown: str) -> bool:
    # An empty secret is none: compared all the same, so that nothing can be learned from the time it takes.
    return hmac.compare_digest(known.encode(), shown.encode()) and bool(known)
