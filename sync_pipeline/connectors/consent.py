"""A person's consent: where to send the browser, what it returns with, and the tokens to get for it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, urlencode, urlsplit

from authlib.common.security import generate_token
from authlib.oauth2.client import OAuth2Client

from sync_pipeline.connectors.answers import excerpt
from sync_pipeline.connectors.policy import FAILURES, AttemptResult, decide
from sync_pipeline.connectors.profile import OAuthFacts
from sync_pipeline.connectors.token_endpoint import TokenEndpoint
from sync_pipeline.connectors.transport import USUAL, HttpClient, Limits, NoAnswer, OnRequest, unseen
from sync_pipeline.errors import ConfigError, FatalApiError, Request, RetryableApiError
from sync_pipeline.store.tokens import Tokens

SYSTEM = "Snapshots"
BASE_SETTING = "SNAPSHOTS_BASE_URL"
VERIFIER_LENGTH = 64
SHOWN = 120
REFUSES = (400, 401)
AT_CLIENT = "the settings of the client"


@dataclass(frozen=True, slots=True)
class Consent:
    """One question to a person. All of it belongs to the browser session that asks; keep ``verifier`` here."""

    url: str = field(repr=False)
    """Where to send the browser."""
    state: str = field(repr=False)
    """Comes back with the answer: another one is not ours."""
    verifier: str = field(repr=False)
    """Proves, when the code is traded, that it was us who asked (PKCE); "" where the system refuses that."""
    redirect_uri: str
    scope: str = ""


def begin_consent(
    facts: OAuthFacts, base_url: str, client_id: str, scopes: Iterable[str], redirect_uri: str
) -> Consent:
    """A new question: authorization code, with PKCE (S256) where the system takes it. ConfigError when the system has no page for that."""
    page = facts.authorize_url(base_url)
    if page is None:
        raise ConfigError(
            "This profile has no page on which a person gives consent (auth.oauth.authorize_path).",
            fix="Use an API key or client credentials.",
        )
    verifier, scope = generate_token(VERIFIER_LENGTH) if facts.pkce else "", " ".join(scopes)
    client = OAuth2Client(None, client_id, redirect_uri=redirect_uri, code_challenge_method="S256")
    url, state = client.create_authorization_url(
        page,
        state=secrets.token_urlsafe(32),
        code_verifier=verifier or None,
        scope=scope or None,
    )
    url = url.replace("+", "%20")  # a plus means a space in forms only, and some servers do not decode it in an address
    return Consent(url, state, verifier, redirect_uri, scope)


async def prove_redirect(
    consent: Consent,
    *,
    system: str = SYSTEM,
    scopes_at: str = AT_CLIENT,
    on_request: OnRequest = unseen,
    limits: Limits = USUAL,
) -> None:
    """Ask for the consent page without a browser: FatalApiError when it refuses client, return address or a scope.

    Such a refusal is never sent back to us: the person would be left on the other system's error page.
    ``scopes_at`` is where a person ticks the scopes that the client may ask for.
    """
    page = urlsplit(consent.url)
    about = Request(system, "GET", page.path)
    client = HttpClient(consent.url, BASE_SETTING, limits, on_request=on_request)
    try:
        status = await _status(client, consent.url)
        refused = await _refused_scopes(client, consent) if status in REFUSES else []
    except NoAnswer as error:
        rule = decide(FAILURES, AttemptResult("GET", failure=error.failure))
        words = {"base": page.hostname, "base_setting": BASE_SETTING, "detail": excerpt(error.detail)}
        message = f"the consent page cannot be reached: {rule.message.format_map(words)}."
        raise RetryableApiError(message, about, fix=rule.fix.format_map(words)) from None
    finally:
        await client.aclose()
    if status == 404:
        raise FatalApiError("there is no consent page at this address.", about, fix=f"Check {BASE_SETTING}.")
    if refused:
        what = f"the scope {refused[0]}" if len(refused) == 1 else f"the scopes {', '.join(refused)}"
        fix = f"Tick {' and '.join(refused)} in {scopes_at}. Or ask for fewer scopes."
        raise FatalApiError(f"this client may not ask for {what} (it answered {status}).", about, fix=fix)
    if status in REFUSES:
        raise FatalApiError(
            "the consent page does not know this client id, or not its return address "
            f"{consent.redirect_uri} (it answered {status}).",
            about,
            fix=f"Check the client id, and register {consent.redirect_uri} as its return address, "
            "exactly as written here.",
        )


async def _refused_scopes(client: HttpClient, consent: Consent) -> list[str]:
    """The scopes that the page refuses one by one; none when it refuses all of them: then it is not about scopes."""
    page, scopes = urlsplit(consent.url), consent.scope.split()
    query = dict(parse_qsl(page.query))
    asked = {scope: page._replace(query=urlencode({**query, "scope": scope})).geturl() for scope in scopes}
    refused = [scope for scope, url in asked.items() if await _status(client, url) in REFUSES]
    return refused if len(refused) < len(scopes) else []


async def _status(client: HttpClient, url: str) -> int:
    return (await client.exchange("GET", url, writes=False)).status_code


def read_callback(consent: Consent, query: Mapping[str, str]) -> str:
    """The code the browser came back with; FatalApiError when there is none, or when it answers another question."""
    about = Request(SYSTEM, "GET", urlsplit(consent.redirect_uri).path)
    if not secrets.compare_digest(query.get("state", "").encode(), consent.state.encode()):
        raise FatalApiError("this answer belongs to another sign-in.", about, fix="Authorize again, in one window.")
    if error := query.get("error"):
        said = excerpt(query.get("error_description", "no reason given"), SHOWN)
        message, fix = CALLBACK_ERRORS.get(error, ("consent could not be asked for ({said}).", "Authorize again."))
        raise FatalApiError(message.format(said=said), about, fix=fix)
    if not query.get("code"):
        raise FatalApiError("the browser came back without an answer.", about, fix="Authorize again.")
    return query["code"]


async def finish_consent(
    endpoint: TokenEndpoint, consent: Consent, code: str, *, on_request: OnRequest = unseen
) -> Tokens:
    """Trade the code for tokens, once; FatalApiError says what was wrong with code, client or return address."""
    proof = {"code_verifier": consent.verifier} if consent.verifier else {}
    tokens = await endpoint.ask(
        "authorization_code", on_request=on_request, code=code, redirect_uri=consent.redirect_uri, **proof
    )
    return tokens if tokens.scope else replace(tokens, scope=consent.scope)  # left out means: what was asked for


CALLBACK_ERRORS = {
    "access_denied": ("consent was refused ({said}).", "Authorize again and allow access, or use an API key."),
    "invalid_scope": (
        "the client may not ask for one of the scopes ({said}).",
        "Ask for fewer scopes, or allow them where the client is registered.",
    ),
    "unauthorized_client": (
        "this client may not ask for consent ({said}).",
        "Allow it where the client is registered, or use another client.",
    ),
    "temporarily_unavailable": ("the consent page is busy ({said}).", "Try again later."),
    "server_error": ("the consent page reports a server error ({said}).", "Try again later."),
}
