"""Step 2: the Snapshots API - by key, by client credentials, or by a person's consent and the way back from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.responses import Response

from sync_pipeline.connectors.profile import BaseProfile, TokenFacts
from sync_pipeline.connectors.profile_files import built_in_profiles, load_profile
from sync_pipeline.console.clockify import stored_on
from sync_pipeline.console.forms import Form, place_named, shown_again
from sync_pipeline.console.prepare import HERE as PREPARE
from sync_pipeline.console.request_context import RequestContext
from sync_pipeline.console.sessions import AccountsLookedAt
from sync_pipeline.errors import ApiError, NotGranted, SyncError
from sync_pipeline.sandbox.snapshots.clients import DEFAULT_ID, DEFAULT_SECRET
from sync_pipeline.session.secrets import AGENCY_KEY
from sync_pipeline.settings import SANDBOX_SNAPSHOTS_KEY, SANDBOX_URL, Settings
from sync_pipeline.setup.connections import connections
from sync_pipeline.setup.consent import (
    app_scopes_at,
    begin_authorization,
    finish_authorization,
    read_callback,
    stored_form,
)
from sync_pipeline.setup.prepare import is_needed
from sync_pipeline.setup.snapshots import (
    SnapshotsForm,
    connect_snapshots,
    draft_of,
    look_at_accounts,
    needed_scopes,
    profile_tokens,
)

AUTHS = {
    "api_key": "API key or access token",
    "client_credentials": "OAuth client credentials",
    "authorization_code": "Authorize: a person consents",
}
REGIONS = {"sandbox": "Sandbox on this machine", "custom": "Your own account"}
GIVEN = (
    "SNAPSHOTS_PROFILE",
    "SNAPSHOTS_BASE_URL",
    "SNAPSHOTS_ACCOUNT",
    "SNAPSHOTS_AUTH",
    "SNAPSHOTS_API_KEY",
    "SNAPSHOTS_CLIENT_ID",
    "SNAPSHOTS_CLIENT_SECRET",
    "SNAPSHOTS_SCOPES",
    "HIGHLEVEL_AGENCY_KEY",
    "HIGHLEVEL_LOCATION_ID",
)
NAMED = {
    "The Snapshots API key": "api_key",
    "The OAuth client id": "client_id",
    "The OAuth client secret": "client_secret",
    "A scope": "scopes",
    "The list of scopes": "scopes",
    "The account's name": "account",
    "A profile": "profile",
    "The profile": "profile",
    "SNAPSHOTS_PROFILE": "profile",
}
CALLBACK, AUTHORIZED = "/snapshots/callback", "/snapshots/authorized"
"""The redirect address registered at the API, and where the session that asked redeems the answer."""
ANSWER = ("state", "code", "error", "error_description")
FOREIGN = (
    "This answer does not belong to an authorization of this session, or was used before. Nothing was connected: "
    "authorize again from step 2."
)


def show(context: RequestContext) -> Response:
    """GET /snapshots."""
    if context.query("again") and (before := context.browser.accounts) is not None:
        context.browser.accounts = None
        return _page(context, _typed(before.form))
    return _page(context, _as_it_is(context))


def connect(context: RequestContext) -> Response:
    """POST /snapshots: probe and store; where a person has to consent, ask for that next."""
    looked_at, chosen = context.browser.accounts, context.form.text("location")
    entered = _entered(context.form) if looked_at is None or not chosen else replace(looked_at.form, location=chosen)
    if entered.region == "sandbox":
        context.console.keep_sandbox(context.setup.settings())
    try:
        if _has_accounts(entered) and not entered.location:
            return (
                _look(context, entered) if entered.auth == "api_key" else _begin(context, _as_before(context, entered))
            )
        connect_snapshots(context.setup, entered, since=context.since)
    except SyncError as error:
        context.went_wrong(error, _place(error, entered))
        return _page(context, _typed(entered))
    context.browser.accounts = None
    context.changed()
    if entered.auth == "authorization_code" and not _has_accounts(entered):
        return _begin(context, entered)
    next_page = PREPARE if is_needed(context.settings()) else "/mapping"
    return context.go(next_page, f"{context.systems()['snapshots'].at_start} is connected.")


def _look(context: RequestContext, entered: SnapshotsForm) -> Response:
    """Ask which accounts the key is for; one of them is chosen next."""
    found = look_at_accounts(context.setup, draft_of(context.setup, entered))
    context.browser.accounts = AccountsLookedAt(entered, tuple(found))
    return context.go("/setup/snapshots")


def _as_before(context: RequestContext, entered: SnapshotsForm) -> SnapshotsForm:
    """With the account that is connected already: another one is chosen after the consent."""
    before = stored_form(context.settings())
    return replace(entered, location=before.location if before.profile == entered.profile else "")


def _has_accounts(entered: SnapshotsForm) -> bool:
    """Whether several accounts are below one address, so that one has to be chosen."""
    return profile_tokens(entered.profile) is not None


def authorize(context: RequestContext) -> Response:
    """POST /snapshots/authorize: ask for consent again, with what is stored."""
    return _begin(context, stored_form(context.settings()))


def consent(context: RequestContext) -> Response:
    """GET /snapshots/authorize: what will be asked, and the link that leads there."""
    asked = next(reversed(context.browser.asked.values()), None)
    if asked is None:
        return context.go("/setup/snapshots", "No authorization is under way: begin it here.")
    parts = urlsplit(asked.url)
    return context.page(
        "consent.html",
        "Step 2: Authorize",
        step="snapshots",
        url=asked.url,
        host=parts.netloc,
        scopes=" ".join(parse_qs(parts.query).get("scope", [])).split(),
        redirect_uri=asked.redirect_uri,
        scopes_at=app_scopes_at(context.settings()),
    )


def authorized(context: RequestContext) -> Response:
    """GET /snapshots/authorized: a person is back from the consent page; what the browser brought is redeemed once."""
    found = context.console.sign_in.sessions.answered(context.browser, context.query("state"))
    if found is None:
        return context.page("problem.html", "Not authorized", status=400, sentence=FOREIGN, back="/setup/snapshots")
    asked, answer = found
    try:
        code = read_callback(asked, answer)
        finish_authorization(context.setup, asked, asked.redirect_uri, code)
        context.changed()
        if _has_accounts(form := stored_form(context.settings())):
            return _look(context, replace(form, location=""))
    except SyncError as error:
        context.went_wrong(error, _place_of_consent(error, stored_form(context.settings())))
        return _page(context, _as_it_is(context))
    return context.go("/mapping", f"{context.systems()['snapshots'].at_start} is connected: access was allowed.")


def _begin(context: RequestContext, entered: SnapshotsForm) -> Response:
    redirect_uri = _redirect_uri(context)
    try:
        found = begin_authorization(context.setup, entered, redirect_uri, since=context.setup.revision())
    except SyncError as error:
        context.went_wrong(error, _place_of_consent(error, entered))
        return _page(context, _typed(entered))
    context.console.sign_in.sessions.ask(context.browser, found)
    return context.go("/setup/snapshots/authorize")


def _redirect_uri(context: RequestContext) -> str:
    """The public address, or loopback's, which consent pages know; the port is the one this browser reaches us at."""
    if public := context.console.site.origin:
        return public + CALLBACK
    return f"http://127.0.0.1:{context.request.url.port or 80}{CALLBACK}"


def _entered(form: Form) -> SnapshotsForm:
    custom, auth, profile = form.text("region") != "sandbox", form.text("auth"), form.text("profile") or "generic"
    if profile_tokens(profile) is not None:
        return SnapshotsForm(
            region="custom" if custom else "sandbox",
            profile=profile,
            auth="authorization_code" if form.text("way") == "app" else "api_key",
            api_key=form.text("token"),
            agency_key=form.text("agency_key"),
            client_id=form.text("app_id"),
            client_secret=form.text("app_secret"),
            scopes=tuple(form.text("app_scopes").split()),
        )
    return SnapshotsForm(
        region="custom" if custom else "sandbox",
        profile=profile,
        base_url=form.text("base_url") if custom else "",
        account=form.text("account") if custom else "",
        auth=auth if auth in AUTHS else "api_key",
        api_key=form.text("api_key"),
        client_id=form.text("client_id"),
        client_secret=form.text("client_secret"),
        scopes=tuple(form.text("scopes").replace(",", " ").split()),
    )


def _place(error: SyncError, entered: SnapshotsForm) -> str:
    """The field that a refusal is about."""
    if (tokens := profile_tokens(entered.profile)) is not None:
        return "location" if entered.location else _place_of_token(error, entered, tokens)
    if isinstance(error, NotGranted):
        return "api_key" if entered.auth == "api_key" else "scopes"
    if isinstance(error, ApiError) and error.request.status in {400, 401, 403}:
        return "api_key" if entered.auth == "api_key" else "client_secret"
    if named := place_named(error, NAMED):
        return named
    return "base_url" if entered.region == "custom" else "region"


def _place_of_consent(error: SyncError, entered: SnapshotsForm) -> str:
    return _place(error, replace(entered, location="")) if _has_accounts(entered) else "auth"


def _place_of_token(error: SyncError, entered: SnapshotsForm, tokens: TokenFacts) -> str:
    if entered.auth != "api_key":
        return "app_secret" if "secret" in str(error) else "app_scopes" if "scope" in str(error) else "app_id"
    is_agency = "agency" in str(error) or AGENCY_KEY.variable in str(error)
    return "agency_key" if is_agency else place_named(error, {tokens.key: "token"}) or "token"


def _on_sandbox(settings: Settings) -> bool:
    return settings.snapshots_base_url in {SANDBOX_URL, settings.sandbox_urls[2]}


def _as_it_is(context: RequestContext) -> dict[str, Any]:
    settings = context.settings()
    sandbox = _on_sandbox(settings)
    return {
        "region": "custom" if settings.snapshots_base_url and not sandbox else "sandbox",
        "profile": settings.snapshots_profile,
        "base_url": "" if sandbox else settings.snapshots_base_url,
        "account": settings.snapshots_account,
        "auth": settings.auth,
        "client_id": settings.snapshots_client_id,
        "scopes": " ".join(settings.snapshots_scopes),
    }


def _typed(form: SnapshotsForm) -> dict[str, Any]:
    return {
        "region": form.region,
        "profile": form.profile,
        "base_url": shown_again(form.base_url),
        "account": form.account,
        "auth": form.auth,
        "client_id": form.client_id,
        "scopes": " ".join(form.scopes),
    }


def _profiles(present: str) -> list[tuple[str, str]]:
    """Those that can be chosen, and the present one, which may be a file."""
    found = {name: f"{_called(name)}: {text}" for name, text in built_in_profiles().items()}
    return list(({present: present} | found).items())


def _called(name: str) -> str:
    """The title of a profile: a vendor's own, else the profile's name."""
    return load_profile(name).title if profile_tokens(name) is not None else name.capitalize()


def _system(profile: str, context: RequestContext) -> str:
    """The vendor's name; that of the present profile where there is none of this name."""
    return (
        load_profile(profile).system if profile in built_in_profiles() else context.systems()["snapshots"].short_title
    )


def _token_profiles(profiles: Sequence[tuple[str, str]]) -> dict[str, BaseProfile]:
    """Those that are connected by two tokens, with what their forms say."""
    loaded = {name: load_profile(name) for name, _ in profiles if profile_tokens(name) is not None}
    return dict(loaded)


def _page(context: RequestContext, values: dict[str, Any]) -> Response:
    settings, connection = context.settings(), connections(context.setup)[1]
    looked_at, profiles = context.browser.accounts, _profiles(values["profile"])
    return context.page(
        "snapshots.html",
        f"Step 2: {_system(values['profile'], context)}",
        step="snapshots",
        would_pause=context.would_pause(),
        values=values,
        regions=REGIONS,
        profiles=profiles,
        with_tokens=_token_profiles(profiles),
        looked_at=looked_at,
        chosen=load_profile(looked_at.form.profile) if looked_at else None,
        accounts=[(one.id, str(one)) for one in looked_at.accounts] if looked_at else [],
        location=settings.snapshots_location,
        prepares=is_needed(settings),
        called=load_profile(settings.snapshots_profile).title,
        auths=AUTHS,
        needed=needed_scopes(settings),
        connection=connection,
        stored=stored_on(connection),
        can_authorize=context.systems()["snapshots"].can_authorize,
        redirect_uri=_redirect_uri(context),
        given=context.given(*GIVEN),
        sandbox_key=SANDBOX_SNAPSHOTS_KEY,
        sandbox_client=f"{DEFAULT_ID} with the secret {DEFAULT_SECRET}",
    )
