"""A person's consent to the Snapshots API: asked for on its own page, redeemed once, kept encrypted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sync_pipeline.connectors.consent import (
    AT_CLIENT,
    Consent,
    begin_consent,
    finish_consent,
    prove_redirect,
    read_callback,
)
from sync_pipeline.connectors.profile import OAuthFacts, load_profile
from sync_pipeline.connectors.snapshots.api import Credentials
from sync_pipeline.diagnose.finding import Finding
from sync_pipeline.errors import ChangedMeanwhile, ConfigError
from sync_pipeline.session.secrets import CONSENT
from sync_pipeline.settings import Settings
from sync_pipeline.setup.clockify import CUSTOM, SANDBOX, is_named_sandbox
from sync_pipeline.setup.draft import ask, looking, sandbox_if
from sync_pipeline.setup.service import SetupService
from sync_pipeline.setup.snapshots import (
    SnapshotsForm,
    draft_of,
    keep,
    look_at_snapshots,
    needed_scopes,
)

__all__ = ["Consent", "begin_authorization", "finish_authorization", "read_callback"]


def begin_authorization(setup: SetupService, form: SnapshotsForm, redirect_uri: str, *, since: str | None) -> Consent:
    """Keep the client and ask a person: returns where to send the browser. All of it belongs to one browser session.

    SyncError when the other system does not know client or return address; nothing is stored then.
    """
    draft = draft_of(setup, replace(form, auth="authorization_code"))
    settings = draft.settings
    scopes = settings.snapshots_scopes or needed_scopes(settings)
    consent = begin_consent(
        _facts(settings), settings.snapshots_base_url, settings.snapshots_client_id, scopes, redirect_uri
    )
    guard = looking(settings, on_sandbox=draft.on_sandbox)
    scopes_at, system = app_scopes_at(settings) or AT_CLIENT, load_profile(settings.snapshots_profile).system

    async def prove() -> None:
        await prove_redirect(consent, system=system, scopes_at=scopes_at, on_request=guard.see, limits=guard.limits)

    with sandbox_if(draft.on_sandbox, settings):
        ask(prove)
    keep(setup, draft, since=since)
    return consent


def finish_authorization(setup: SetupService, consent: Consent, redirect_uri: str, code: str) -> list[Finding]:
    """Redeem the code the browser came back with, keep the tokens, and try them; SyncError says what is wrong.

    Where they are for several accounts, one is chosen before they are tried.
    """
    form = stored_form(setup.settings())
    draft = draft_of(setup, form)
    settings = draft.settings
    facts = _facts(settings)
    page = facts.authorize_url(settings.snapshots_base_url) or ""
    if form.auth != "authorization_code" or not consent.url.startswith(page) or redirect_uri != consent.redirect_uri:
        raise ChangedMeanwhile("The set-up was changed during the consent.", fix="Authorize again.")
    client = Credentials(client_id=settings.snapshots_client_id, client_secret=settings.snapshots_client_secret)
    guard = looking(settings, on_sandbox=draft.on_sandbox)
    profile = load_profile(settings.snapshots_profile)
    endpoint = client.endpoint(facts, settings.snapshots_base_url, system=profile.system, limits=guard.limits)

    async def redeem() -> Any:
        return await finish_consent(endpoint, consent, code, on_request=guard.see)

    with sandbox_if(draft.on_sandbox, settings):
        tokens = ask(redeem)
    with setup.vault(settings) as vault:
        vault.new_tokens.keep(tokens)
        vault.forget_account_tokens()
        vault.enter(CONSENT, "", setup.now())
    setup.note(
        "snapshots authorized", f"{settings.snapshots_client_id} at {settings.snapshots_base_url}: {tokens.scope}"
    )
    return [] if profile.tokens else look_at_snapshots(setup, draft)


def app_scopes_at(settings: Settings) -> str:
    """Where a person ticks the scopes of an app; "" where the profile does not say."""
    tokens = load_profile(settings.snapshots_profile).tokens
    return tokens.scopes_at.get("app", "") if tokens else ""


def stored_form(settings: Settings) -> SnapshotsForm:
    """The form that would make these settings again; secrets are those that are stored."""
    chosen = is_named_sandbox(settings, "snapshots_base_url")
    on_sandbox = chosen and settings.snapshots_base_url == settings.sandbox_urls[2]
    return SnapshotsForm(
        region=SANDBOX.name if on_sandbox else CUSTOM,
        profile=settings.snapshots_profile,
        base_url=settings.snapshots_base_url,
        account=settings.snapshots_account,
        auth=settings.auth,
        client_id=settings.snapshots_client_id,
        scopes=settings.snapshots_scopes,
        location=settings.snapshots_location,
    )


def _facts(settings: Settings) -> OAuthFacts:
    facts = load_profile(settings.snapshots_profile).auth.oauth
    if facts is None:
        raise ConfigError(f"The profile {settings.snapshots_profile} does not offer OAuth.", fix="Use an API key.")
    return facts
