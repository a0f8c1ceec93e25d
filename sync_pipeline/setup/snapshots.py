"""Connecting the Snapshots API: profile, address, and an API key or an OAuth client of its own."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TypeVar

from sync_pipeline.connectors.error_category import ErrorCategory, categorize
from sync_pipeline.connectors.http import ClientOptions
from sync_pipeline.connectors.limiter import memory_limiter
from sync_pipeline.connectors.policy import Origin
from sync_pipeline.connectors.ports import SnapshotsSystem
from sync_pipeline.connectors.preparation import SubAccount
from sync_pipeline.connectors.profile import BaseProfile, TokenFacts
from sync_pipeline.connectors.profile_files import built_in_profiles, load_profile
from sync_pipeline.connectors.registry import open_snapshots
from sync_pipeline.connectors.snapshots import api
from sync_pipeline.diagnose.finding import Finding, Status
from sync_pipeline.errors import ConfigError, FatalApiError, NotGranted, SyncError
from sync_pipeline.mapping.load import specs_of, switched_on
from sync_pipeline.session.secrets import (
    AGENCY_KEY,
    CONSENT,
    SNAPSHOTS_CLIENT,
    SNAPSHOTS_KEY,
    Slot,
    Unlocked,
    Vault,
)
from sync_pipeline.session.systems import snapshots_credentials
from sync_pipeline.settings import AUTH_KINDS, SANDBOX_SNAPSHOTS_KEY, SANDBOX_URL, Settings
from sync_pipeline.setup import draft as drafts
from sync_pipeline.setup.clockify import CUSTOM, SANDBOX
from sync_pipeline.setup.service import SetupService

T = TypeVar("T")
KEY, CLIENT_SECRET = "The Snapshots API key", "The OAuth client secret"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotsForm:
    """What was entered; an empty secret means the stored one, no scopes those that are needed."""

    region: str = CUSTOM
    profile: str = "generic"
    base_url: str = ""
    account: str = ""
    auth: str = "api_key"
    api_key: str = field(default="", repr=False)
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    scopes: tuple[str, ...] = ()
    agency_key: str = field(default="", repr=False)
    """For a profile with two keys: the one that reads every account."""
    location: str = ""
    """For a profile with several accounts below one address: which of them; "" for the one that the key is for."""


@dataclass(frozen=True, slots=True)
class SnapshotsDraft:
    """The settings a form would make, with its secret in them, and what of it is stored where."""

    settings: Settings
    slot: Slot
    secret: str = field(repr=False)
    on_sandbox: bool
    origin: Origin

    @property
    def values(self) -> dict[str, object]:
        """What the set-up file then contains."""
        there = self.settings
        is_oauth = there.snapshots_auth != "api_key"
        return {
            "snapshots.profile": there.snapshots_profile,
            "snapshots.base_url": SANDBOX_URL if self.on_sandbox else there.snapshots_base_url,
            "snapshots.account": there.snapshots_account or None,
            "snapshots.auth": there.snapshots_auth,
            "snapshots.client_id": there.snapshots_client_id if is_oauth else None,
            "snapshots.scopes": list(there.snapshots_scopes) if is_oauth and there.snapshots_scopes else None,
            "snapshots.location": there.snapshots_location or None,
            "snapshots.company": there.snapshots_company or None,
        }

    @property
    def audit_detail(self) -> str:
        """The text for the audit trail."""
        there = self.settings
        who = f" ({there.snapshots_client_id})" if there.snapshots_client_id else ""
        where = " ".join(filter(None, (there.snapshots_base_url, there.snapshots_location)))
        return f"{there.snapshots_profile} at {where}, {there.snapshots_auth}{who}"


def connect_snapshots(setup: SetupService, form: SnapshotsForm, *, since: str | None) -> list[Finding]:
    """Try what was entered, and keep it when it works; SyncError says what does not, ChangedMeanwhile that it is stale.

    Of an authorization code only the client is kept: a person has still to consent. Of several accounts one is chosen after that.
    """
    draft = draft_of(setup, form)
    has_accounts = load_profile(draft.settings.snapshots_profile).tokens is not None
    if has_accounts:
        draft = _for_account(draft, look_at_accounts(setup, draft))
    awaits_consent = form.auth == "authorization_code" and not has_accounts
    found = [] if awaits_consent else look_at_snapshots(setup, draft)
    keep(setup, draft, since=since)
    return found


def look_at_accounts(setup: SetupService, draft: SnapshotsDraft) -> list[SubAccount]:
    """The accounts that a key is for, where several are below one address. Nothing is written."""

    async def look(there: SnapshotsSystem) -> list[SubAccount]:
        return [] if there.preparation is None else await there.preparation.accounts()

    unnamed = replace(draft.settings, snapshots_location=draft.settings.snapshots_location or "unknown")
    return _ask(setup, replace(draft, settings=unnamed), look)


def _for_account(draft: SnapshotsDraft, accounts: Sequence[SubAccount]) -> SnapshotsDraft:
    """The draft for the account that was chosen, or for the only one."""
    wanted = draft.settings.snapshots_location
    found = [one for one in accounts if not wanted or one.id == wanted]
    if len(found) == 1:
        one = found[0]
        return replace(
            draft, settings=replace(draft.settings, snapshots_location=one.id, snapshots_company=one.company)
        )
    words = _words(load_profile(draft.settings.snapshots_profile))
    owners = _listed(list(map(str, accounts))) or "none"
    problem = f"is for {owners}" if wanted or not accounts else f"is for several: {owners}"
    what = words.key if draft.settings.snapshots_auth == "api_key" else "The app"
    raise ConfigError(f"{what} {problem}.", fix=f"Choose the {words.account.lower()}, or use another token.")


def keep(setup: SetupService, draft: SnapshotsDraft, *, since: str | None) -> None:
    """Store a draft: the file first, since that may be refused. A consent that was given to another client is forgotten."""
    client = setup.settings().snapshots_client_id
    with setup.vault(draft.settings) as vault:
        vault.prove()

        def keep() -> None:
            if draft.secret and not setup.is_given(draft.slot.variable):
                _enter(vault, draft, setup)
            if draft.settings.snapshots_agency_key and not setup.is_given(AGENCY_KEY.variable):
                _enter_anew(vault, AGENCY_KEY, draft.settings.snapshots_agency_key, setup)
            if draft.settings.snapshots_auth != "authorization_code" or draft.settings.snapshots_client_id != client:
                vault.remove(CONSENT)
                vault.tokens.remove()
                vault.forget_account_tokens()

        setup.change(draft.values, "snapshots connected", draft.audit_detail, since=since, then=keep)


def _enter(vault: Vault, draft: SnapshotsDraft, setup: SetupService) -> None:
    """The same secret again is no new one; of key and client secret only one is kept."""
    _enter_anew(vault, draft.slot, draft.secret, setup)
    vault.remove(SNAPSHOTS_CLIENT if draft.slot is SNAPSHOTS_KEY else SNAPSHOTS_KEY)


def _enter_anew(vault: Vault, slot: Slot, secret: str, setup: SetupService) -> None:
    held = vault.get(slot)
    if held is None or held.value != secret:
        vault.enter(slot, secret, setup.now())


def needed_scopes(settings: Settings) -> tuple[str, ...]:
    """What the entities that are switched on need: reading locations, and more only for what is on."""
    specs = switched_on(specs_of(settings), settings.entities)
    return api.needed_scopes(specs, load_profile(settings.snapshots_profile))


def draft_of(setup: SetupService, form: SnapshotsForm) -> SnapshotsDraft:
    """The form as settings; ConfigError for what cannot be."""
    now, on_sandbox = setup.settings(), form.region == SANDBOX.name
    profile = _profile(form.profile, now)
    if form.region not in (SANDBOX.name, CUSTOM):
        raise ConfigError(f"There is no {form.region!r} Snapshots API.", fix=f"Choose {SANDBOX.name} or {CUSTOM}.")
    if form.auth not in AUTH_KINDS:
        raise ConfigError(f"There is no way to sign in like {form.auth!r}.", fix=f"There are {', '.join(AUTH_KINDS)}.")
    _refuse_unoffered(profile, form.auth)
    values = {
        "snapshots_profile": form.profile,
        "snapshots_base_url": replace(now, snapshots_profile=form.profile).sandbox_urls[2]
        if on_sandbox
        else drafts.base_url(form.base_url or profile.base_url, f"The base URL of {profile.named}"),
        "snapshots_account": drafts.plain(form.account, "The account's name"),
        "snapshots_auth": form.auth,
        "snapshots_client_id": "" if form.auth == "api_key" else drafts.plain(form.client_id, "The OAuth client id"),
        "snapshots_scopes": () if form.auth == "api_key" else _scopes(form),
        "snapshots_location": drafts.plain(form.location, "The account's id"),
    }
    drafts.refuse_given(setup, values)
    blank = {"snapshots_api_key": "", "snapshots_client_secret": "", "snapshots_company": "", "stored": True}
    settings = replace(now, **values, **blank)  # type: ignore[arg-type]  # the names are those of Settings
    return _with_secret(setup, settings, form, on_sandbox)


def _with_secret(setup: SetupService, settings: Settings, form: SnapshotsForm, on_sandbox: bool) -> SnapshotsDraft:
    is_key = form.auth == "api_key"
    profile = load_profile(settings.snapshots_profile)
    in_sandbox = dict(profile.sandbox.settings) if profile.sandbox and on_sandbox else {}
    slot, what, typed = (
        (SNAPSHOTS_KEY, _words(profile).key, form.api_key)
        if is_key
        else (SNAPSHOTS_CLIENT, CLIENT_SECRET, form.client_secret)
    )
    if not is_key and not settings.snapshots_client_id:
        raise ConfigError("The OAuth client id is missing.", fix="Enter it; it is where the client is registered.")
    is_known = setup.is_given("SNAPSHOTS_BASE_URL")
    secret = drafts.secret_for(setup, settings, slot, typed, what, is_known=is_known)
    if not secret and is_key and on_sandbox:
        secret = in_sandbox.get(slot.setting, SANDBOX_SNAPSHOTS_KEY)
    proves = form.auth == "authorization_code" and profile.auth.oauth is not None and profile.auth.oauth.pkce
    if not secret and not proves:  # PKCE replaces a secret
        raise ConfigError(f"{what} is missing: none is stored for {settings.snapshots_base_url}.", fix="Enter it.")
    agency = ""
    if profile.tokens is not None and is_key:
        agency = drafts.secret_for(
            setup, settings, AGENCY_KEY, form.agency_key, profile.tokens.agency_key, is_known=is_known
        ) or in_sandbox.get(AGENCY_KEY.setting, "")
    origin = drafts.origin_of(setup, slot, typed)
    secrets = {AGENCY_KEY.setting: agency, slot.setting: secret}
    return SnapshotsDraft(replace(settings, **secrets), slot, secret, on_sandbox, origin)  # type: ignore[arg-type]  # all are text


def profile_tokens(name: str) -> TokenFacts | None:
    """What a built-in profile says about its two tokens; None of any other profile."""
    return load_profile(name).tokens if name in built_in_profiles() else None


def _words(profile: BaseProfile) -> TokenFacts:
    """What the keys and accounts of a profile are called."""
    return profile.tokens or TokenFacts(key=KEY, agency_key="", account="Account")


def _scopes(form: SnapshotsForm) -> tuple[str, ...]:
    drafts.plain(" ".join(form.scopes), "The list of scopes", drafts.LONGEST_URL)
    return tuple(dict.fromkeys(drafts.plain(scope, "A scope") for scope in form.scopes))


def _profile(name: str, now: Settings) -> BaseProfile:
    if name.endswith((".yaml", ".yml")) and name != now.snapshots_profile:  # it says where secrets are sent
        raise ConfigError("A profile of your own is not chosen here.", fix="Set SNAPSHOTS_PROFILE in the environment.")
    return load_profile(name)


def _refuse_unoffered(profile: BaseProfile, auth: str) -> None:
    oauth = profile.auth.oauth
    offered = {
        "api_key": profile.auth.api_key is not None,
        "client_credentials": oauth is not None and oauth.client_credentials,
        "authorization_code": oauth is not None and oauth.authorize_path is not None,
    }
    if not offered[auth]:
        ways = ", ".join(way for way, there in offered.items() if there)
        raise ConfigError(f"The profile {profile.profile} does not offer {auth}.", fix=f"It offers {ways}.")


def look_at_snapshots(setup: SetupService, draft: SnapshotsDraft) -> list[Finding]:
    """Ask whether everything that a sync does is allowed; SyncError names all that is not. Nothing is written."""
    found = _probe(setup, draft)
    if refused := [finding for finding in found if not finding.ok]:
        fix = _joined(list(dict.fromkeys(finding.fix for finding in refused)))
        raise NotGranted(_not_granted([finding.what for finding in refused]), fix=fix)
    return found


def _not_granted(whats: list[str]) -> str:
    """What a key may not do, in one sentence: ``Write projects`` and ``Write users`` are one kind of thing."""
    verbs: dict[str, list[str]] = {}
    for verb, _, entity in (what.partition(" ") for what in whats):
        verbs.setdefault(verb.lower(), []).append(entity.replace("_", " "))
    return f"This key or token may not {' or '.join(f'{verb} {_listed(names)}' for verb, names in verbs.items())}."


def _joined(fixes: list[str]) -> str:
    """The fixes; those that name a scope to grant to the same key as one sentence."""
    parts = [re.fullmatch(r"Grant (\S+) to (.+)", fix) for fix in fixes]
    to = {part[2] for part in parts if part}
    if None in parts or len(to) != 1:
        return " ".join(fixes)
    return f"Grant {_listed([part[1] for part in parts if part])} to {to.pop()}"


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _probe(setup: SetupService, draft: SnapshotsDraft) -> list[Finding]:
    """A finding for each entity; what is no matter of scopes ends it immediately."""
    every = switched_on(specs_of(draft.settings), draft.settings.entities)
    specs = {name: spec for name, spec in every.items() if not spec.target.once}
    work = [("probe", name, f"Read {name}") for name in specs]
    written = [name for name, spec in specs.items() if spec.target.system == draft.slot.system]
    work += [("may_write", name, f"Write {name}") for name in written]

    async def look(there: SnapshotsSystem) -> list[Finding]:
        found = []
        for method, entity, what in work:
            try:
                await getattr(there, method)(entity)
                found.append(Finding(Status.OK, "allowed", what=what))
            except SyncError as error:
                if not is_matter_of_scope(error):
                    raise
                found.append(Finding(Status.FAILED, error.message, fix=error.fix, what=what))
        return found

    return _ask(setup, draft, look)


def _ask(setup: SetupService, draft: SnapshotsDraft, look: Callable[[SnapshotsSystem], Awaitable[T]]) -> T:
    """The result of a request to the system of a draft, in a session that cannot write."""
    settings = draft.settings
    specs = switched_on(specs_of(settings), settings.entities)
    profile = load_profile(settings.snapshots_profile)

    async def run() -> T:
        async with aclosing(open_snapshots(profile, settings.snapshots_base_url, credentials, options)) as there:
            return await look(there)

    with setup.store() as store, drafts.sandbox_if(draft.on_sandbox, settings):
        options = ClientOptions(
            limiter=memory_limiter(profile.windows),
            guard=drafts.looking(settings, on_sandbox=draft.on_sandbox),
            retry_policy=drafts.ONE_ATTEMPT,
            on_result=drafts.counting(profile.system),
        )
        unlocked = Unlocked(settings, origins={draft.slot.setting: draft.origin})
        credentials = snapshots_credentials(unlocked, specs, profile, store, options)
        return drafts.ask(run)


def is_matter_of_scope(error: SyncError) -> bool:
    """Whether something is only not allowed: the address and the key are right."""
    return isinstance(error, FatalApiError) and categorize(error) is ErrorCategory.FORBIDDEN
