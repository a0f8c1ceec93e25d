"""One-time links: signed with a key of this run that lies in a private file, so that another process can make one, too.

``sync-pipeline console link`` reads the file of the console that runs and signs a fresh link; nothing listens for it.
Behind a proxy there may be several consoles: there links are in the database.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Protocol

from filelock import FileLock, Timeout

from sync_pipeline.console.roles import Role, role_named
from sync_pipeline.errors import ConfigError
from sync_pipeline.private_files import naming, private_directory
from sync_pipeline.store import browser_sessions
from sync_pipeline.store.engine import Store

LINK_SECONDS = 3600
"""How long a link is good for."""
LOOK_SECONDS = 2.0
"""Who looks whether a console runs holds its lock for a moment: one that starts waits for that."""
SIGN_IN = "/sign-in"
TOKEN = "token"  # noqa: S105 - the name of a parameter
PURPOSE = "sign-in"
CONSOLE, DAGSTER = "console", "dagster"
"""Which server signs in: the console, or the Dagster UI of a `dev` without one."""


class Links(Protocol):
    """Makes links and redeems each of them once."""

    def issue(self, role: Role = "admin") -> str:
        """A fresh token for a role."""

    def redeem(self, token: str) -> Role | None:
        """The role of a token that is one of ours, fresh, and comes for the first time; None for any other."""


@dataclass(frozen=True, slots=True)
class StoredLinks:
    """Those that any instance redeems: they are in the database."""

    store: Callable[[], AbstractContextManager[Store]]
    clock: Callable[[], float]

    def issue(self, role: Role = "admin") -> str:
        """A fresh token for a role."""
        token, now = secrets.token_urlsafe(32), self._now()
        with self.store() as store:
            browser_sessions.issue(store, PURPOSE, token, now, now + timedelta(seconds=LINK_SECONDS), role.encode())
        return token

    def redeem(self, token: str) -> Role | None:
        """The role of a token, once."""
        if not token:
            return None
        with self.store() as store:
            found = browser_sessions.redeem(store, PURPOSE, token, self._now())
        return None if found is None else role_named(found.decode())

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)


@dataclass
class SignInLinks:
    """Those of one process, and of who can read its key."""

    key: str = field(repr=False)
    clock: Callable[[], float]
    """Seconds since the epoch: both processes must read the same clock."""
    _spent: dict[str, float] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def issue(self, role: Role = "admin") -> str:
        """A fresh token for a role."""
        body = f"{secrets.token_urlsafe(18)}.{role}.{int(self.clock()) + LINK_SECONDS}"
        return f"{body}.{self._sign(body)}"

    def redeem(self, token: str) -> Role | None:
        """The role of a token that is one of ours, fresh, and comes for the first time; None for any other."""
        body, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._sign(body).encode(), signature.encode("utf-8", "replace")):
            return None
        _, role, until_text = body.rsplit(".", 2)
        until = int(until_text)
        now = self.clock()
        with self._lock:
            self._spent = {spent: end for spent, end in self._spent.items() if end > now}
            if until <= now or token in self._spent:
                return None
            self._spent[token] = until
        return role_named(role)

    def _sign(self, body: str) -> str:
        return hmac.new(self.key.encode(), body.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def link(url: str, token: str) -> str:
    """The address that signs in."""
    return f"{url}{SIGN_IN}?{TOKEN}={token}"


@contextmanager
def announced(home: Path, url: str, key: str, name: str = CONSOLE) -> Iterator[None]:
    """Let other processes of the same user make links to this server, as long as it runs.

    Raises ConfigError when one of this name runs on this home already. The lock ends with its process.
    """
    private_directory(home)
    lock = _lock(home, name)
    try:
        lock.acquire(timeout=LOOK_SECONDS)
    except Timeout:
        raise ConfigError(
            f"A console is running on SYNC_HOME {home} already.",
            fix="`sync-pipeline console link` prints a link to it; or give this one a SYNC_HOME of its own.",
        ) from None
    try:
        _write(_file(home, name), {"url": url, "key": key})
        yield
    finally:
        _file(home, name).unlink(missing_ok=True)
        lock.release()


def running_url(home: Path) -> str:
    """The address of the console that runs on this home; "" without one."""
    try:
        return "" if _is_free(home, CONSOLE) else str(json.loads(_file(home, CONSOLE).read_text("utf-8"))["url"])
    except (OSError, ValueError, KeyError):  # it is just starting or ending
        return ""


def fresh_link(
    home: Path, clock: Callable[[], float], names: Sequence[str] = (CONSOLE, DAGSTER), role: Role = "admin"
) -> str:
    """A link to the console that runs on this home, else to a Dagster UI that signs in itself; ConfigError without one."""
    name = next((name for name in names if not _is_free(home, name)), None)
    if name is None:
        raise ConfigError(
            f"No console is running on SYNC_HOME {home}.",
            fix="Start it with `sync-pipeline console` or `sync-pipeline dev`, which print a link.",
        )
    try:
        found = json.loads(_file(home, name).read_text("utf-8"))
    except (OSError, ValueError):
        raise ConfigError(f"The console on SYNC_HOME {home} is just starting or ending.", fix="Try again.") from None
    return link(found["url"], SignInLinks(found["key"], clock).issue(role))


def _is_free(home: Path, name: str) -> bool:
    if not home.exists():
        return True
    try:
        with _lock(home, name):
            return True
    except Timeout:
        return False


def _lock(home: Path, name: str) -> FileLock:
    return FileLock(home / f"{name}.lock", timeout=0, mode=0o600, fallback_to_soft=False)


def _file(home: Path, name: str) -> Path:
    return home / f"{name}.json"


def _write(file: Path, value: dict[str, str]) -> None:
    file.unlink(missing_ok=True)
    with (
        naming(file),
        os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as out,
    ):
        json.dump(value, out)
