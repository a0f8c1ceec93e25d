"""Secrets in use: which there are, replacing one without a gap, and encrypting them all with a new key."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sync_pipeline.errors import ConfigError
from sync_pipeline.session.secrets import (
    AGENCY_KEY,
    CLOCKIFY_KEY,
    CLOCKIFY_TOKEN,
    SLOTS,
    SNAPSHOTS_CLIENT,
    SNAPSHOTS_KEY,
    Slot,
    place,
)
from sync_pipeline.setup.clockify import ClockifyForm, Kind, look_at_clockify, region_of
from sync_pipeline.setup.consent import stored_form
from sync_pipeline.setup.draft import clean_secret
from sync_pipeline.setup.service import SetupService
from sync_pipeline.setup.snapshots import draft_of, look_at_snapshots
from sync_pipeline.store import credentials

NAMES: dict[str, Slot] = {f"{slot.system}.{slot.name}": slot for slot in SLOTS}
"""What a person calls them."""


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """One stored secret, without the secret."""

    name: str
    where: str
    key_id: str
    """Of the key that encrypts it."""
    updated_at: datetime
    in_use: bool
    """It is for an address of the present set-up."""
    fallback: bool
    """The secret before it is still there, too."""


def held(setup: SetupService) -> list[StoredSecret]:
    """Every stored secret, those for other addresses and of webhooks included."""
    settings = setup.settings()
    with setup.vault(settings) as vault:
        ours = {(vault.where(slot.system, slot.name), slot.name): slot for slot in SLOTS}
        rows = []
        for row in sorted(credentials.listed(vault.store), key=lambda row: (row.connection, row.name) not in ours):
            slot = ours.get((row.connection, row.name))
            secret = vault.get(slot) if slot else None
            name = f"{row.connection.split(' ', 1)[0]}.{row.name}" if slot else row.name
            fallback = bool(secret and secret.previous)
            rows.append(StoredSecret(name, row.connection, row.key_id, row.updated_at, slot is not None, fallback))
    return rows


def rotate(setup: SetupService, slot: Slot, secret: str) -> None:
    """Try a new value where the old one is used, and use it then; the old one stays as a fallback.

    Not the secret of an OAuth client: there the old one is forgotten, since nothing ever falls back on it.
    """
    secret = clean_secret(secret, f"The new {slot.system} {slot.name.replace('_', ' ')}")
    settings = setup.settings()
    if setup.is_given(slot.variable):
        raise ConfigError(f"{slot.variable} is set in the environment, which takes precedence.", fix="Change it there.")
    with setup.vault(settings) as vault:
        if not vault.has(slot):
            raise ConfigError(f"There is no {slot.system}.{slot.name} to rotate.", fix="Run `sync-pipeline init`.")
    _try(setup, slot, secret)
    with setup.vault(settings) as vault:
        vault.rotate(slot, secret, setup.now())
        falls_back = slot is not SNAPSHOTS_CLIENT or not vault.retire(slot, setup.now())
    old = "the old one is a fallback" if falls_back else "the old one is forgotten"
    setup.note("secret rotated", f"{slot.system}.{slot.name} at {place(settings, slot.system)}; {old}")


def _try(setup: SetupService, slot: Slot, secret: str) -> None:
    settings = setup.settings()
    if slot in (CLOCKIFY_KEY, CLOCKIFY_TOKEN):
        kind: Kind = "api_key" if slot is CLOCKIFY_KEY else "addon_token"
        form = ClockifyForm(
            region=region_of(settings),
            base_url=settings.clockify_base_url,
            reports_url=settings.clockify_reports_url,
            kind=kind,
            secret=secret,
        )
        account = look_at_clockify(setup, form)
        if settings.clockify_workspace_id not in {each.id for each in account.workspaces}:
            raise ConfigError("The new key does not see the workspace that is synced.", fix="Use another key.")
    elif settings.auth == "authorization_code":
        return  # only a refresh would show it, and that uses up the refresh token: it is tried with the next one
    else:
        names = {SNAPSHOTS_KEY: "api_key", SNAPSHOTS_CLIENT: "client_secret", AGENCY_KEY: "agency_key"}
        typed = {names[slot]: secret}
        look_at_snapshots(setup, draft_of(setup, replace(stored_form(settings), **typed)))  # type: ignore[arg-type]


def retire(setup: SetupService, slot: Slot) -> bool:
    """Forget the fallback of a secret; returns whether there was one."""
    settings = setup.settings()
    with setup.vault(settings) as vault:
        had = vault.retire(slot, setup.now())
    if had:
        setup.note("secret retired", f"the old {slot.system}.{slot.name} at {place(settings, slot.system)}")
    return had


def remove(setup: SetupService, slot: Slot) -> bool:
    """Forget a secret of the present set-up; returns whether there was one."""
    settings = setup.settings()
    with setup.vault(settings) as vault:
        had = vault.has(slot)
        vault.remove(slot)
    if had:
        setup.note("secret removed", f"{slot.system}.{slot.name} at {place(settings, slot.system)}")
    return had


def encrypt_again(setup: SetupService) -> int:
    """Encrypt every secret there is with the newest key, so that the others can be taken out; returns how many changed.

    Raises ConfigError when some cannot be decrypted; all others have the newest key then.
    """
    settings = setup.settings()
    # Not the vault's: this is how the database gets another key.
    keyring = credentials.open_keyring(settings.encryption_key, settings.encryption_key_file)
    with setup.store() as store:
        changed, left = credentials.encrypt_again(store, keyring, None, setup.now())
    if changed:
        setup.note("secrets encrypted again", f"{changed} of them")
    if left:
        raise ConfigError(
            f"{changed} secrets were encrypted again; {len(left)} could not be decrypted and were left unchanged: "
            f"{', '.join(left)}.",
            fix=f"Add their keys to {credentials.SETTING}, after the new one and a comma, and run it again; or remove them "
            "(`sync-pipeline credentials remove`, `webhooks remove`) and enter them again.",
        )
    return changed
