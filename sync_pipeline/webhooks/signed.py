"""Deliveries that a vendor has signed, the whole body or a token sent with it: which are genuine, and what each is about."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from sync_pipeline.connectors.clockify.webhooks import is_for_addon
from sync_pipeline.connectors.profile import WebhookFacts
from sync_pipeline.errors import ConfigError
from sync_pipeline.session.secrets import Vault
from sync_pipeline.session.session import Session
from sync_pipeline.stages.inbox import ABOUT_SOURCE, ABOUT_TARGET
from sync_pipeline.store.credentials import SIGNED
from sync_pipeline.store.tokens import Lost, StoredVault
from sync_pipeline.webhooks.events import SENDABLE_ID
from sync_pipeline.webhooks.hooks import HookStore, new_hook
from sync_pipeline.webhooks.registration import public_url

SETTING = "SNAPSHOTS_WEBHOOK_KEY"
PATH = "/hooks/signed"
"""Names no vendor: some refuse addresses that do."""
ADDON_SETTING = "CLOCKIFY_ADDON_PUBLIC_KEY"
ADDON_SKEW = timedelta(minutes=2)
"""How far Clockify's clock and ours may be apart."""


@dataclass(frozen=True, slots=True)
class Signed:
    """How one account's deliveries are recognized."""

    facts: WebhookFacts
    key: Ed25519PublicKey
    company: str = ""
    account: str = ""
    """The account in use, of those in which the app can be installed."""
    minted: StoredVault | None = None
    """Where the token for that account is kept; None without an app."""
    readers: Mapping[str, str] = field(default_factory=dict)
    """The entity that reads each list; it wakes the automations that read the same one."""

    def accepts(self, raw: bytes, signature: str) -> bool:
        """Whether the signature is the vendor's, over exactly these bytes."""
        try:
            self.key.verify(base64.b64decode(signature, validate=True), raw)
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True

    def is_stale(self, body: Mapping[str, Any], now: datetime) -> bool:
        """Whether it was sent too long ago; a body may contain no time.

        A repeated delivery contains the time when it was first sent: it is recognized by its id.
        """
        valid = self.facts.valid_seconds
        return not self._is_of_last(max(valid, self.facts.repeated_seconds) if self.id_of(body) else valid, body, now)

    def is_late(self, body: Mapping[str, Any], now: datetime) -> bool:
        """Whether it may have been overtaken: it was sent again, long after the first time."""
        return not self._is_of_last(self.facts.valid_seconds, body, now)

    def _is_of_last(self, seconds: float, body: Mapping[str, Any], now: datetime) -> bool:
        sent = body.get(self.facts.sent_at)
        if sent is None:
            return True
        with suppress(ValueError, TypeError, OverflowError):
            at = datetime.fromisoformat(sent)
            age = (now - (at if at.tzinfo else at.replace(tzinfo=UTC))).total_seconds()
            return -self.facts.valid_seconds <= age <= seconds
        return False

    def about(self, event: str, body: Mapping[str, Any]) -> tuple[str, str | None, str | None]:
        """The kind to store it as, the entity and the id: of a record of the source, or (without entity) of one at the target."""
        found = body.get("id")
        record = found if isinstance(found, str) and SENDABLE_ID.fullmatch(found) else None
        if entity := self.facts.about.get(event):
            return ABOUT_SOURCE + event, entity, record
        is_ours = body.get("locationId") in (None, self.account)
        if is_ours and (entity := self.readers.get(self.facts.list_of(event, body))):
            return ABOUT_SOURCE + event, entity, record
        return (ABOUT_TARGET + event, None, record) if event in self.facts.changed else (event, None, None)

    def follow_app(self, event: str, body: Mapping[str, Any]) -> None:
        """Drop the token of the account when the app was removed there, and keep why; an installation ends that."""
        where = body.get("locationId")
        is_ours = where == self.account if where else self.company in ("", body.get("companyId"))
        if self.minted is None or not is_ours:
            return
        if event in self.facts.uninstalled:
            self.minted.drop(f"the app is no longer installed in {self.account}")
        elif isinstance(self.minted.read(), Lost):
            self.minted.remove()

    def id_of(self, body: Mapping[str, Any]) -> str:
        """The id of a delivery; "" when it has none."""
        found = next((body[name] for name in self.facts.ids if isinstance(body.get(name), str)), "")
        return str(found)[:255]


@dataclass(frozen=True, slots=True)
class Addresses:
    """What to enter in the vendor's portal, and how changes are found without that."""

    rows: list[dict[str, str]]
    polling: str


def addresses(session: Session, hooks: HookStore, url: str, *, rotate: bool = False) -> Addresses:
    """The address of each event; none where the vendor has no webhooks, or sends none without an app."""
    settings, profile = session.settings, session.snapshots.profile
    every = f"Changes are found by polling, every {settings.snapshots_poll_seconds} seconds"
    if profile.webhooks is None:
        return Addresses([], f"The profile {profile.profile} has no webhooks. {every}.")
    if settings.auth == "api_key":
        return Addresses([], f"{profile.system} sends webhooks to an app only (OAuth), not with a key. {every}.")
    base = public_url(url, settings.snapshots_base_url)
    hook = None if rotate else hooks.load(SIGNED)
    if hook is None:
        hook = new_hook(SIGNED)
        hooks.save(hook, session.now())
    rows = [{"event": event, "address": f"{base}{PATH}/{hook.secret}/{event}"} for event in profile.webhooks.events]
    return Addresses(rows, "")


def signed_deliveries(session: Session) -> Signed | None:
    """How the other system's deliveries are recognized; None where its profile names no webhooks."""
    facts = session.snapshots.profile.webhooks
    if facts is None:
        return None
    try:
        key = load_der_public_key(base64.b64decode(session.settings.snapshots_webhook_key or facts.public_key))
    except (binascii.Error, ValueError):
        key = None  # reported below, together with keys of another kind
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(
            f"{SETTING} is no Ed25519 public key.", fix="Copy it as the vendor's documents print it, in base64."
        )
    settings = session.settings
    minted = None if settings.auth == "api_key" else Vault(session.store, settings).account_tokens
    return Signed(facts, key, settings.snapshots_company, settings.snapshots_location, minted, _readers(session))


def _readers(session: Session) -> dict[str, str]:
    """The entity that reads each list of the other system: an automation only where no other entity does."""
    found: dict[str, str] = {}
    for spec in sorted(session.read_from(session.snapshots), key=lambda spec: spec.target.once):
        found.setdefault(spec.listed_at[1], spec.entity)
    return found


@dataclass(frozen=True, slots=True)
class AddonKey:
    """Clockify's public key."""

    key: RSAKey

    def accepts(self, token: str, workspace: str, now: datetime) -> bool:
        """Whether Clockify signed the token, for an add-on in this workspace, and it has not expired."""
        try:
            claims = jwt.decode(token, self.key, algorithms=["RS256"]).claims  # the signature; claims are checked below
        except (JoseError, ValueError):
            return False
        return is_for_addon(claims, workspace) and _is_current(claims, now.timestamp())


def load_addon_key(file: Path | None) -> AddonKey | None:
    """The key in a PEM file; None when there is no such setting."""
    if file is None:
        return None
    try:
        pem = file.read_bytes()
        key = load_pem_public_key(pem)
    except OSError as error:
        raise ConfigError(f"{ADDON_SETTING}: {file} cannot be read: {error.strerror}.") from error
    except ValueError:
        key = None  # reported below, together with keys of another kind
    if not isinstance(key, RSAPublicKey):
        raise ConfigError(
            f"{ADDON_SETTING}: {file} holds no RSA public key.",
            fix="Save the PEM text from Clockify's add-on documentation.",
        )
    return AddonKey(RSAKey.import_key(pem))


def _is_current(claims: Mapping[str, Any], now: float) -> bool:
    """A token without times never expires, as those of an installation's webhooks are."""
    begins, ends = claims.get("nbf"), claims.get("exp")
    if not all(at is None or isinstance(at, int | float) for at in (begins, ends)):
        return False
    skew = ADDON_SKEW.total_seconds()
    return (begins is None or now >= begins - skew) and (ends is None or now < ends + skew)
