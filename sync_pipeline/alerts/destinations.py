"""Where alerts are sent: each destination has a name, and an address that is kept as an encrypted secret."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from sync_pipeline.alerts.messenger import Message, MessageResult, send
from sync_pipeline.errors import ConfigError, SyncError
from sync_pipeline.session.secrets import Vault
from sync_pipeline.store import credentials
from sync_pipeline.store.alert_notices import drop_notices
from sync_pipeline.store.audit import note
from sync_pipeline.store.digests import drop_digests

PLACE = "alerts"
"""Where the addresses are kept among the secrets: they are for all pairs of this store."""
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
LONGEST, MOST = 2000, 20
TEST = Message("Test of sync_pipeline", "Alerts of sync_pipeline arrive here.")


@dataclass(frozen=True, slots=True)
class Destination:
    """One destination, without its address."""

    name: str
    service: str
    """What its address leads to, such as Slack; empty when the key that encrypted it is missing."""
    since: datetime


def destinations(vault: Vault) -> list[Destination]:
    """Every destination, by name."""
    rows = [row for row in credentials.listed(vault.store) if row.connection == PLACE]
    return [Destination(row.name, _service(vault, row.name), row.updated_at) for row in rows]


def names(vault: Vault) -> list[str]:
    """The names of the destinations; no key is needed for that."""
    return credentials.names(vault.store, PLACE)


def add(vault: Vault, name: str, address: str, by: str, at: datetime) -> Destination:
    """Keep a destination, over one of that name. ConfigError when the name or the address is none."""
    if not NAME.fullmatch(name):
        raise ConfigError(
            "A destination needs a short name.",
            fix="Use up to 32 lowercase letters, digits, - and _, such as `ops-mail`.",
        )
    known = names(vault)
    if name not in known and len(known) >= MOST:
        raise ConfigError(f"There are {MOST} destinations already.", fix="Remove one first.")
    answer = (
        send(address.strip(), None)
        if 0 < len(address.strip()) <= LONGEST
        else MessageResult(problem="it is not an address")
    )
    if answer.problem:
        raise ConfigError(
            f"The address of {name} cannot be used: {answer.problem}.",
            fix="docs/get-notified.md has examples: mailtos://..., slack://..., jsons://...",
        )
    value = {"address": address.strip(), "service": answer.service}
    credentials.put(vault.store, vault.keyring, PLACE, name, value, at)
    note(vault.store, by, "alert destination added", f"{name} ({answer.service})", at)
    return Destination(name, answer.service, at)


def remove(vault: Vault, name: str, by: str, at: datetime) -> None:
    """Remove a destination, and the notices that wait for it."""
    require(vault, name)
    credentials.remove(vault.store, PLACE, name)
    drop_notices(vault.store, name)
    drop_digests(vault.store, name)
    note(vault.store, by, "alert destination removed", name, at)


def send_test(vault: Vault, name: str, by: str, at: datetime) -> MessageResult:
    """Send a test message; returns how that went."""
    require(vault, name)
    answer = send_to(vault, name, TEST)
    note(vault.store, by, "alert destination tested", f"{name}: {answer.problem or 'the message was taken'}", at)
    return answer


def send_to(vault: Vault, name: str, message: Message) -> MessageResult:
    """Send a message to a destination; the answer contains any problem, never the address."""
    try:
        kept = credentials.get(vault.store, vault.keyring, PLACE, name)
    except SyncError:
        return MessageResult(problem="its address cannot be decrypted: the key is missing")
    return MessageResult(problem="it was removed") if kept is None else send(kept["address"], message)


def require(vault: Vault, name: str) -> None:
    """Raise ConfigError when there is no destination of that name."""
    known = names(vault)
    if name not in known:
        there = (
            f"There are: {', '.join(known)}." if known else "There is none: `sync-pipeline alerts add NAME` adds one."
        )
        raise ConfigError(f"There is no destination {name!r}.", fix=there)


def _service(vault: Vault, name: str) -> str:
    try:
        kept = credentials.get(vault.store, vault.keyring, PLACE, name)
    except SyncError:
        return ""
    return str(kept["service"]) if kept else ""
