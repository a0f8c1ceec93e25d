"""Both connections as the home page shows them, what is synced over them, and cutting one off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, cast

from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.load import specs_of
from sync_pipeline.sandbox.embedded import workspace_in
from sync_pipeline.session.secrets import (
    AGENCY_KEY,
    CLOCKIFY_KEY,
    CLOCKIFY_TOKEN,
    CONSENT,
    SNAPSHOTS_CLIENT,
    SNAPSHOTS_KEY,
    Slot,
    Vault,
    address,
    is_of_another,
    place,
)
from sync_pipeline.session.systems import all_facts_places, other_setups, pair_of, pairs_of_others
from sync_pipeline.settings import SYSTEMS, Settings, read_setup
from sync_pipeline.setup.service import SetupService
from sync_pipeline.setup.snapshots import needed_scopes
from sync_pipeline.store import credentials
from sync_pipeline.store.engine import Store
from sync_pipeline.store.health import Health, forget_facts, read_health
from sync_pipeline.store.scope import pair_key
from sync_pipeline.store.switches import turn_all_off
from sync_pipeline.store.tokens import Lost, Tokens

State = Literal[
    "connected",
    "not set up",
    "authorize again",
    "app not installed",
    "from the environment",
    "key refused",
    "not reachable",
    "wrong address",
]
WELL: tuple[State, ...] = ("connected", "from the environment")
"""Set up, and not known to fail."""
TO_CONNECT: tuple[State, ...] = ("not set up", "authorize again")
"""Not set up, or not to the end."""


@dataclass(frozen=True, slots=True)
class SystemConnection:
    """One side: where it is, by what we sign in, and since when; never a secret."""

    system: str
    state: State
    where: str = ""
    who: str = ""
    workspace: str = ""
    since: str = ""
    detail: str = ""
    """Why it does not work, and since when."""

    @property
    def can_change(self) -> bool:
        """Whether its account is in the set-up, to be changed or disconnected there; the sandbox used without one is not."""
        return self.state not in ("not set up", "from the environment") and bool(self.where)


def connections(setup: SetupService) -> tuple[SystemConnection, SystemConnection]:
    """Clockify and the Snapshots API, from the set-up; no request is sent."""
    settings = setup.settings()
    with setup.vault(settings) as vault:
        facts = read_health(vault.store, current_pair(settings, vault.store))
        clockify, snapshots = _clockify(setup, settings, vault), _snapshots(setup, settings, vault)
    is_sample = settings.sandbox and not settings.stored
    return _as_it_answers(clockify, facts, is_sample), _as_it_answers(snapshots, facts, is_sample)


def current_workspace(settings: Settings) -> str:
    """The Clockify workspace of a session: where nothing is set up the sandbox's, once that has one."""
    if settings.clockify_workspace_id or not settings.sandbox or not settings.sandbox_file.exists():
        return settings.clockify_workspace_id
    return workspace_in(settings.sandbox_file)


def current_pair(settings: Settings, store: Store) -> str:
    """The key under which everything about the accounts in use is stored."""
    accounts = pair_of(settings, load_profile(settings.snapshots_profile), current_workspace(settings))
    return pair_key(store, accounts)


def switch_entities(setup: SetupService, names: Sequence[str], *, since: str | None) -> None:
    """Sync these entities; ConfigError when one of them needs another that is not chosen."""
    if setup.is_given("SYNC_ENTITIES"):
        raise ConfigError("SYNC_ENTITIES is set in the environment, which takes precedence.", fix="Unset it there.")
    known = [name for name, spec in specs_of(setup.settings()).items() if not spec.target.once]
    if not names:
        raise ConfigError("At least one entity is synced.", fix=f"Choose among {', '.join(known)}.")
    everything = set(names) == set(known)
    chosen = [*(name for name in known if name in names), *(name for name in names if name not in known)]
    setup.change({"entities": None if everything else chosen}, "entities", ", ".join(chosen), since=since)


def disconnect(setup: SetupService, system: str, *, since: str | None) -> None:
    """Forget a system: its part of the set-up and every secret of it, at whatever address. Live syncing is turned off.

    What other set-ups of the same database use is left to them.
    """
    if system not in SYSTEMS:
        raise ConfigError(f"There is no system {system!r}.", fix=f"There are {' and '.join(SYSTEMS)}.")

    before = setup.settings()

    def remove_secrets() -> None:
        with setup.store() as store:
            turn_all_off(store, besides=pairs_of_others(store, before), by=setup.by, at=setup.now())
            for where in all_facts_places(before, system):
                forget_facts(store, where)
            others = [other for other in other_setups(store, before) if _names(other, system)]
            theirs = {where for other in others for where in (place(other, system), address(other, system))}
            for where in credentials.places(store):
                if where.startswith(f"{system} ") and where not in theirs and not is_of_another(where, before):
                    for name in credentials.names(store, where):
                        credentials.remove(store, where, name)

    setup.change({system: None}, f"{system} disconnected", "its secrets were removed", since=since, then=remove_secrets)


def _names(settings: Settings, system: str) -> bool:
    """Whether a set-up says anything of a system."""
    return any(name.startswith(f"{system}_") for name in read_setup(settings.setup_document))


def _as_it_answers(side: SystemConnection, facts: Mapping[str, Health], is_sample: bool) -> SystemConnection:
    """The connection with the state of its last answer; a failure from before its secret was entered does not count.

    ``is_sample``: nothing is set up and the sandbox is used, which may fail like any other system.
    """
    fact = facts.get(side.system)
    if (side.state not in WELL and not is_sample) or fact is None or fact.failed_at is None:
        return side
    if side.since and datetime.fromisoformat(side.since) > fact.failed_at:
        return side
    detail = f"since {fact.failed_at:%Y-%m-%d %H:%M} UTC: {fact.reason}"
    return replace(side, state=cast("State", fact.code), detail=detail)


def _clockify(setup: SetupService, settings: Settings, vault: Vault) -> SystemConnection:
    slot = CLOCKIFY_KEY if setup.is_given(CLOCKIFY_KEY.variable) or vault.has(CLOCKIFY_KEY) else CLOCKIFY_TOKEN
    who = "API key" if slot is CLOCKIFY_KEY else "add-on token"
    if not settings.clockify_workspace_id:
        return SystemConnection("clockify", "not set up")
    return _one(setup, settings, vault, slot, settings.clockify_base_url, who, settings.clockify_workspace_id)


def _snapshots(setup: SetupService, settings: Settings, vault: Vault) -> SystemConnection:
    where = f"{settings.snapshots_base_url} {settings.snapshots_account}".strip()
    if (not settings.stored and not setup.is_given("SNAPSHOTS_BASE_URL")) or not where:
        return SystemConnection("snapshots", "not set up")
    if settings.auth == "authorization_code":
        return _consented(settings, vault, where)
    if settings.auth == "api_key":
        return _one(setup, settings, vault, SNAPSHOTS_KEY, where, _keys(setup, settings, vault), "")
    return _one(setup, settings, vault, SNAPSHOTS_CLIENT, where, _client(settings), "")


def _keys(setup: SetupService, settings: Settings, vault: Vault) -> str:
    """What the keys are called: a vendor may take two tokens, and the second is not needed."""
    if (tokens := load_profile(settings.snapshots_profile).tokens) is None:
        return "API key"
    is_agency = setup.is_given(AGENCY_KEY.variable) or vault.has(AGENCY_KEY)
    named = f"{tokens.key} of {settings.snapshots_location}" if settings.snapshots_location else tokens.key
    return f"{named}, {tokens.agency_key.lower()}" if is_agency else named


def _one(
    setup: SetupService, settings: Settings, vault: Vault, slot: Slot, where: str, who: str, workspace: str
) -> SystemConnection:
    if setup.is_given(slot.variable):
        return SystemConnection(slot.system, "from the environment", where, who, workspace)
    held = vault.get(slot) if settings.stored else None
    if held is None:
        return SystemConnection(slot.system, "not set up", where, workspace=workspace)
    return SystemConnection(slot.system, "connected", where, who, workspace, held.entered_at)


def _consented(settings: Settings, vault: Vault, where: str) -> SystemConnection:
    profile, consent, tokens = load_profile(settings.snapshots_profile), vault.get(CONSENT), vault.tokens.read()
    if consent is None and tokens is None:
        return SystemConnection("snapshots", "not set up", where, _client(settings), detail="no one has consented yet")
    since = consent.entered_at if consent else ""
    if not isinstance(tokens, Tokens):
        reason = "no one has consented yet" if tokens is None else tokens.reason
        return SystemConnection("snapshots", "authorize again", where, _client(settings), since=since, detail=reason)
    if unchosen := [what for name, what in profile.required.items() if not getattr(settings, name)]:
        detail = f"access was allowed; not chosen yet: {', '.join(unchosen)}"
        return SystemConnection("snapshots", "not set up", where, _client(settings), since=since, detail=detail)
    if isinstance(account := vault.account_tokens.read(), Lost):
        detail = f"{account.reason}: install it there again"
        return SystemConnection("snapshots", "app not installed", where, _client(settings), since=since, detail=detail)
    lacking = [scope for scope in needed_scopes(settings) if tokens.scope and scope not in tokens.scope.split()]
    if lacking and not settings.snapshots_scopes:
        detail = f"the consent does not cover {', '.join(lacking)}"
        return SystemConnection("snapshots", "authorize again", where, _client(settings), since=since, detail=detail)
    return SystemConnection("snapshots", "connected", where, _client(settings), since=since)


def _client(settings: Settings) -> str:
    of = f" of {settings.snapshots_company}" if settings.snapshots_company else ""
    token = f", with a token for {settings.snapshots_location}" if settings.snapshots_location else ""
    return f"OAuth client {settings.snapshots_client_id}{of}{token}"
