"""A person's consent to the Snapshots API: asked for on its own page, redeemed once, kept encrypted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sync_pipeline.connectors.consent import Consent, begin_consent, finish_consent, prove_redirect, read_callback
from sync_pipeline.connectors.guard import Guard
from sync_pipeline.connectors.profile import OAuthFacts, load_profile
from sync_pipeline.connectors.snapshots import Credentials
from sync_pipeline.errors import ChangedMeanwhile, ConfigError
from sync_pipeline.settings import Settings
from sync_pipeline.setup.desk import Desk
from sync_pipeline.setup.draft import ask, looking, sandbox_if
from sync_pipeline.setup.regions import CUSTOM, SANDBOX
from sync_pipeline.setup.snapshots import (
    SnapshotsForm,
    draft_of,
    keep,
    look_at_snapshots,
    needed_scopes,
)
from sync_pipeline.stages.probes.finding import Finding
from sync_pipeline.stages.vault import CONSENT

__all__ = ["Consent", "begin_authorization", "finish_authorization", "read_callback"]


def begin_authorization(desk: Desk, form: SnapshotsForm, redirect_uri: str, *, since: str | None) -> Consent:
    """Keep the client and ask a person: returns where to send the browser. All of it belongs to one browser session.

    SyncError when the other system does not know client or return address; nothing is stored then.
    """
    draft = draft_of(desk, replace(form, auth="authorization_code"))
    settings = draft.settings
    scopes = settings.snapshots_scopes or needed_scopes(settings)
    consent = begin_consent(
        _facts(settings), settings.snapshots_base_url, settings.snapshots_client_id, scopes, redirect_uri
    )
    guard = _Checked(looking(on_sandbox=draft.on_sandbox))

    async def prove() -> None:
        await prove_redirect(consent, on_request=guard)

    with sandbox_if(draft.on_sandbox, settings):
        ask(prove)
    keep(desk, draft, since=since)
    return consent


def finish_authorization(desk: Desk, consent: Consent, redirect_uri: str, code: str) -> list[Finding]:
    """Redeem the code the browser came back with, keep the tokens, and try them; SyncError says what is wrong."""
    form = stored_form(desk.settings())
    draft = draft_of(desk, form)
    settings = draft.settings
    facts = _facts(settings)
    page = facts.authorize_url(settings.snapshots_base_url) or ""
    if form.auth != "authorization_code" or not consent.url.startswith(page) or redirect_uri != consent.redirect_uri:
        raise ChangedMeanwhile("The set-up was changed while somebody consented.", fix="Authorize again.")
    client = Credentials(client_id=settings.snapshots_client_id, client_secret=settings.snapshots_client_secret)
    endpoint = client.endpoint(facts, settings.snapshots_base_url)
    guard = _Checked(looking(on_sandbox=draft.on_sandbox))

    async def redeem() -> Any:
        return await finish_consent(endpoint, consent, code, on_request=guard)

    with sandbox_if(draft.on_sandbox, settings):
        tokens = ask(redeem)
    with desk.vault(settings) as vault:
        vault.tokens.keep(tokens)
        vault.enter(CONSENT, "", desk.now())
    desk.note(
        "snapshots authorized", f"{settings.snapshots_client_id} at {settings.snapshots_base_url}: {tokens.scope}"
    )
    return look_at_snapshots(desk, draft)


def stored_form(settings: Settings) -> SnapshotsForm:
    """The form that would make these settings again; secrets are those that are stored."""
    on_sandbox = settings.snapshots_base_url == settings.sandbox_urls[2]
    return SnapshotsForm(
        region=SANDBOX.name if on_sandbox else CUSTOM,
        profile=settings.snapshots_profile,
        base_url=settings.snapshots_base_url,
        account=settings.snapshots_account,
        auth=settings.auth,
        client_id=settings.snapshots_client_id,
        scopes=settings.snapshots_scopes,
    )


def _facts(settings: Settings) -> OAuthFacts:
    facts = load_profile(settings.snapshots_profile).auth.oauth
    if facts is None:
        raise ConfigError(f"The profile {settings.snapshots_profile} does not offer OAuth.", fix="Use an API key.")
    return facts


class _Checked:
    """A guard as the connectors ask it: before each request."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def __call__(self, request: Any) -> None:
        self._guard.check(request)
