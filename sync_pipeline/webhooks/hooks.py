"""What we know of each webhook of ours: its secret path and its token, kept encrypted in the store."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from sync_pipeline.connectors.webhooks import hook_path
from sync_pipeline.stages.session import Session
from sync_pipeline.store import credentials
from sync_pipeline.store.credentials import WEBHOOK, Keyring, open_keyring
from sync_pipeline.store.engine import Store
from sync_pipeline.webhooks.events import SUBJECTS

ADDON = "ADDON"
"""The hook of an add-on: every event comes in there, signed with Clockify's key instead of a token."""
NAMES = frozenset(SUBJECTS) | {ADDON}
OVERLAP = timedelta(hours=1)
"""For how long the token before the last rotation is still good: what was signed with it may be under way or retried."""


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook, named for its event. ``token`` is empty until Clockify has told it."""

    name: str
    secret: str
    token: str = ""
    previous: str = ""
    overlap_until: str = ""

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
        """The hook after Clockify told its token; another one than before starts the overlap."""
        if token == self.token:
            return self
        if not self.token:
            return replace(self, token=token)
        return replace(self, token=token, previous=self.token, overlap_until=(now + OVERLAP).isoformat())


def new_hook(name: str) -> Hook:
    """A hook with a path nobody can guess."""
    return Hook(name, secrets.token_urlsafe(24))


@dataclass(frozen=True, slots=True)
class HookStore:
    """The hooks of one connection."""

    store: Store
    keyring: Keyring
    connection: str

    def load(self, name: str) -> Hook | None:
        """One hook; None when there is none of that name."""
        found = credentials.get(self.store, self.keyring, self.connection, WEBHOOK + name)
        return None if found is None else Hook(**found)

    def all(self) -> dict[str, Hook]:
        """Every hook by its name."""
        return {name: hook for name in self.names() if (hook := self.load(name)) is not None}

    def names(self) -> list[str]:
        """The names of the hooks; needs no key."""
        found = credentials.names(self.store, self.connection, WEBHOOK)
        return [name.removeprefix(WEBHOOK) for name in found]

    def save(self, hook: Hook, at: datetime) -> None:
        """Remember a hook."""
        credentials.put(self.store, self.keyring, self.connection, WEBHOOK + hook.name, asdict(hook), at)

    def remove(self, name: str) -> None:
        """Forget a hook; needs no key."""
        credentials.remove(self.store, self.connection, WEBHOOK + name)


def open_hooks(session: Session) -> HookStore:
    """The hooks of a session's connection, readable with the key of its settings."""
    keyring = open_keyring(session.settings.encryption_key, session.settings.encryption_key_file)
    return HookStore(session.store, keyring, session.connection)


def _same(known: str, shown: str) -> bool:
    # An empty secret is none: compared all the same, so that nothing can be learned from the time it takes.
    return hmac.compare_digest(known.encode(), shown.encode()) and bool(known)
