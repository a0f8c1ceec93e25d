"""A person's consent to the Snapshots API: asked for on its own page, redeemed once, kept encrypted. A terminal waits for it on loopback."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sync_pipeline.connectors.consent import (
    AT_CLIENT,
    Consent,
    begin_consent,
    finish_consent,
    prove_redirect,
    read_callback,
)
from sync_pipeline.connectors.profile import OAuthFacts
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.connectors.snapshots.api import Credentials
from sync_pipeline.diagnose.finding import Finding
from sync_pipeline.errors import ChangedMeanwhile, ConfigError
from sync_pipeline.serving import ServerLimits, bounded_server, in_thread, listen, url_of
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
HOST = "127.0.0.1"
PATH = "/snapshots/callback"
DONE = "You can close this window and go back to the terminal."
STRANGE = "This answer belongs to another sign-in. The terminal still waits for its own."
LIMITS = ServerLimits(connections=32, body_bytes=64 * 1024)
"""A browser may open connections on which it sends nothing."""
HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


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


class Callback:
    """A listening address."""

    def __init__(self, redirect_uri: str) -> None:
        self.redirect_uri = redirect_uri
        self._state = ""
        self._answer: dict[str, str] = {}
        self._arrived = threading.Event()

    def wait(self, consent: Consent, show: Callable[[str], None]) -> str:
        """Show the address where to consent; returns the code that the browser returns with.

        Strangers are sent away. Raises FatalApiError when consent was refused.
        """
        self._state = consent.state  # before an answer can arrive
        show(consent.url)
        self._arrived.wait()
        return read_callback(consent, self._answer)

    async def receive(self, request: Request) -> Response:
        """Accept the one answer with our state."""
        if request.method != "GET":  # who checks a link follows it afterwards
            return PlainTextResponse("Only GET is answered here.", 405, HEADERS)
        shown = request.query_params.get("state", "")
        if not self._state or not hmac.compare_digest(shown.encode(), self._state.encode()):
            return PlainTextResponse(STRANGE, 400, HEADERS)
        self._answer = dict(request.query_params)
        self._arrived.set()
        return PlainTextResponse(DONE, headers=HEADERS)


def redirect_uri(port: int) -> str:
    """The redirect address for the browser."""
    return f"http://{HOST}:{port}{PATH}"


@contextmanager
def listening(port: int = 0) -> Iterator[Callback]:
    """Listen on loopback, on any free port unless one is named; ConfigError when it is taken."""
    listener = listen(HOST, port, "The browser's answer cannot be waited for", "Choose another port.")
    callback = Callback(url_of(HOST, listener) + PATH)
    app = Starlette(routes=[Route(PATH, callback.receive)])
    server = bounded_server("sign-in", app, LIMITS, proxy_headers=False, timeout_graceful_shutdown=5)
    with in_thread(server, listener, "sign-in"):
        yield callback
