"""The secrets people entered: each for one address, encrypted in the store; what the environment holds comes first.

A secret is never sent anywhere but to the address it was entered for: another base URL has no secrets yet.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from sync_pipeline.connectors.policy import Origin
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.connectors.registry import address_of
from sync_pipeline.errors import ConfigError, SyncError
from sync_pipeline.settings import SETTINGS, Settings
from sync_pipeline.store import credentials
from sync_pipeline.store.audit import note
from sync_pipeline.store.credentials import Keyring, keyring_of
from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.tokens import StoredVault

GO_ON = "Enter it in the console or with `sync-pipeline init`."


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret, and how to distinguish it from another one without revealing it.

    ``mark`` changes whenever a secret is entered; a rotation keeps it, and keeps the old one as ``previous``
    until that is retired or refused.
    """

    value: str = field(repr=False)
    mark: str
    entered_at: str
    previous: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one secret of the settings is kept: its system and its name."""

    setting: str
    system: str
    name: str

    @property
    def variable(self) -> str:
        """The environment variable that comes before it."""
        return next(str(f.metadata["env"]) for f in SETTINGS if f.name == self.setting)


CLOCKIFY_KEY = Slot("clockify_api_key", "clockify", "api_key")
CLOCKIFY_TOKEN = Slot("clockify_addon_token", "clockify", "addon_token")
SNAPSHOTS_KEY = Slot("snapshots_api_key", "snapshots", "api_key")
SNAPSHOTS_CLIENT = Slot("snapshots_client_secret", "snapshots", "client_secret")
AGENCY_KEY = Slot("snapshots_agency_key", "snapshots", "agency_key")
SLOTS = (CLOCKIFY_KEY, CLOCKIFY_TOKEN, SNAPSHOTS_KEY, SNAPSHOTS_CLIENT, AGENCY_KEY)
CONSENT = Slot("snapshots_auth", "snapshots", "consent")
"""Says that a person consented, and marks one consent from another; holds no secret."""
PROGRAM = "sync_pipeline"
"""Who did what no person did."""
TOKENS = "tokens"
"""The name under which OAuth tokens are kept, beside the secrets."""


def place(settings: Settings, system: str) -> str:
    """Where a system's secrets are kept: under their address; those of a set-up with a name also under that."""
    mark = f" [{settings.setup_name}]" if settings.setup_name else ""
    return address(settings, system) + mark


def is_of_another(where: str, settings: Settings) -> bool:
    """Whether a place is that of a set-up with another name."""
    mark = where.rpartition(" ")[2]
    return mark.startswith("[") and mark != f"[{settings.setup_name}]"


def address(settings: Settings, system: str) -> str:
    """The address a system's secrets are for: all that determines where they are sent."""
    return " ".join((system, *address_of(system, settings).parts)).strip()


@dataclass
class Vault:
    """The secrets of one set-up. The key that encrypts them is only asked for when one is read or written."""

    store: Store
    settings: Settings

    @cached_property
    def keyring(self) -> Keyring:
        """The keys that encrypt; ConfigError where they are not the database's."""
        return keyring_of(self.store, self.settings.encryption_key, self.settings.encryption_key_file)

    def prove(self) -> None:
        """Raise ConfigError when nothing can be encrypted: before anything else is stored."""
        self.keyring  # noqa: B018  # opened on first use

    @property
    def tokens(self) -> StoredVault:
        """The tokens of a person's consent for this address."""
        return self._tokens(self.where(CONSENT.system, TOKENS))

    @property
    def account_tokens(self) -> StoredVault:
        """Those that are made of a consent for the account in use, by vendors that do."""
        return self._tokens(self.where(CONSENT.system, TOKENS), f"{TOKENS}:{self.settings.snapshots_location}")

    def forget_account_tokens(self) -> None:
        """Forget those of every account: they came of a consent that there is no more."""
        where = self.where(CONSENT.system, TOKENS)
        for name in credentials.names(self.store, where, f"{TOKENS}:"):
            self._tokens(where, name).remove()

    @property
    def new_tokens(self) -> StoredVault:
        """Where those of a new consent are kept."""
        return self._tokens(place(self.settings, CONSENT.system))

    def get(self, slot: Slot) -> Secret | None:
        """The secret of a slot; None when there is none for this address."""
        found = credentials.get(self.store, self.keyring, self.where(slot.system, slot.name), slot.name)
        return None if found is None else Secret(**found)

    def has(self, slot: Slot) -> bool:
        """Whether there is one; needs no key."""
        return self._is_at(self.where(slot.system, slot.name), slot.name)

    def enter(self, slot: Slot, value: str, at: datetime) -> None:
        """Keep a secret that was entered, in place of any other."""
        self._put(slot, Secret(value, secrets.token_hex(8), at.isoformat()), at)

    def rotate(self, slot: Slot, value: str, at: datetime) -> None:
        """Keep a new value in the same role; the old one stays as a fallback."""
        old = self.get(slot)
        if old is None:
            self.enter(slot, value, at)
        elif old.value != value:
            self._put(slot, replace(old, value=value, entered_at=at.isoformat(), previous=old.value), at)

    def retire(self, slot: Slot, at: datetime, *, only: str = "") -> bool:
        """Forget the fallback - if it is ``only`` that one - and return whether there was one."""
        old = self.get(slot)
        if old is None or not old.previous or (only and old.previous != only):
            return False
        self._put(slot, replace(old, previous=""), at)
        return True

    def remove(self, slot: Slot) -> None:
        """Forget a secret."""
        credentials.remove(self.store, self.where(slot.system, slot.name), slot.name)

    def where(self, system: str, name: str) -> str:
        """Where a secret is: with a name and without a secret of its own, a set-up uses the one that belongs to no name."""
        own, shared = place(self.settings, system), address(self.settings, system)
        return shared if own != shared and not self._is_at(own, name) and self._is_at(shared, name) else own

    def _is_at(self, where: str, name: str) -> bool:
        return name in credentials.names(self.store, where, name)

    def _tokens(self, where: str, name: str = TOKENS) -> StoredVault:
        return StoredVault(self.store, self.keyring, where, name)

    def _put(self, slot: Slot, secret: Secret, at: datetime) -> None:
        value = {name: getattr(secret, name) for name in ("value", "mark", "entered_at", "previous")}
        credentials.put(self.store, self.keyring, place(self.settings, slot.system), slot.name, value, at)


def require_key(settings: Settings) -> None:
    """Raise ConfigError unless this process has the key of the database that it shares with other machines.

    Servers call it when they start, so that they fail then and not at the first secret they cannot read.
    """
    if not settings.store_url.startswith("sqlite"):
        with closing(open_store(settings.store_url, timeout=settings.lock_seconds)) as store:
            Vault(store, settings).prove()


@dataclass(frozen=True, slots=True)
class Unlocked:
    """Settings with their secrets in them, the fallbacks by setting, and a mark of each secret in use."""

    settings: Settings
    previous: dict[str, str] = field(default_factory=dict, repr=False)
    marks: dict[str, str] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    """Where secrets came from that are not from the environment, by setting."""
    rejected: list[Slot] = field(default_factory=list)
    """The slots whose fallback was rejected as well."""

    def origin(self, slot: Slot) -> Origin:
        """Where the secret of a slot came from."""
        return self.origins.get(slot.setting, Origin.ENVIRONMENT)


def unlock(settings: Settings, vault: Vault) -> Unlocked:
    """Fill in the secrets that the environment does not hold.

    Raises ConfigError when one is missing that the way of signing in needs.
    """
    unlocked = Unlocked(settings)
    for slot in needed_slots(settings):
        given = getattr(settings, slot.setting)
        if given:
            unlocked.marks[slot.setting] = hashlib.sha256(given.encode()).hexdigest()[:16]
        elif settings.stored and (secret := vault.get(slot)) is not None:
            unlocked.marks[slot.setting] = secret.mark
            unlocked.previous[slot.setting] = secret.previous
            unlocked.origins[slot.setting] = Origin.STORED
            unlocked = replace(unlocked, settings=replace(unlocked.settings, **{slot.setting: secret.value}))  # type: ignore[arg-type]  # all are text
    if settings.auth == "authorization_code" and (consent := vault.get(CONSENT)) is not None:
        unlocked.marks[CONSENT.name] = consent.mark
    _refuse_missing(unlocked.settings)
    return unlocked


def forget_rejected(unlocked: Unlocked, vault: Vault, at: datetime) -> None:
    """Forget the fallbacks that were rejected; one that cannot be forgotten now is rejected again."""
    for slot in unlocked.rejected:
        with suppress(SyncError):
            if vault.retire(slot, at, only=unlocked.previous[slot.setting]):
                detail = f"the old {slot.system}.{slot.name} at {place(vault.settings, slot.system)} was rejected"
                note(vault.store, PROGRAM, "secret retired", detail, at)


def needed_slots(settings: Settings) -> Iterator[Slot]:
    """The secrets that the settings' way of signing in uses, the first of several that are there."""
    yield CLOCKIFY_TOKEN if settings.clockify_addon_token else CLOCKIFY_KEY
    if not (settings.clockify_addon_token or settings.clockify_api_key):
        yield CLOCKIFY_TOKEN
    yield SNAPSHOTS_KEY if settings.auth == "api_key" else SNAPSHOTS_CLIENT
    if settings.auth == "api_key" and settings.snapshots_location:
        yield AGENCY_KEY


def _refuse_missing(settings: Settings) -> None:
    if not settings.stored:
        return  # the environment has been validated already
    if not (settings.clockify_api_key or settings.clockify_addon_token):
        raise ConfigError(f"No key for Clockify at {settings.clockify_base_url} is stored.", fix=GO_ON)
    there = f"{load_profile(settings.snapshots_profile).named} at {settings.snapshots_base_url}"
    if settings.auth == "api_key" and not settings.snapshots_api_key:
        raise ConfigError(f"No key for {there} is stored.", fix=GO_ON)
    if settings.auth != "api_key" and not settings.snapshots_client_id:
        raise ConfigError(f"No OAuth client for {there} is set up.", fix=GO_ON)
    if settings.auth == "client_credentials" and not settings.snapshots_client_secret:
        raise ConfigError(
            f"No secret of the OAuth client {settings.snapshots_client_id} for {there} is stored.", fix=GO_ON
        )
