"""The address where a client gets its tokens: one place that sends, through Authlib, and distinguishes the refusals.

Authlib writes the requests and knows the ways a client proves itself. It does not send them: its own client would keep
them from the hook that sees every request, and comes on another HTTP library than ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import isnan
from typing import Any
from urllib.parse import urlsplit

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_token_request

from sync_pipeline.clock import unix_time
from sync_pipeline.connectors.answers import ErrorFormat, Reading, as_text, excerpt, read_answer
from sync_pipeline.connectors.limiter import Clock
from sync_pipeline.connectors.policy import FAILURES, Action, AttemptResult, SecretPlace, decide
from sync_pipeline.connectors.transport import (
    USUAL,
    HttpClient,
    HttpResponse,
    Limits,
    NoAnswer,
    OnRequest,
    redact,
    unseen,
)
from sync_pipeline.errors import ApiError, FatalApiError, NotAuthorized, Request, RetryableApiError
from sync_pipeline.store.tokens import Tokens

SECRET_FIELDS = ("code", "code_verifier", "refresh_token")
LOST = ("invalid_grant",)
FORMAT = ErrorFormat(code="error", message="error_description")
DEFAULT_LIFE_SECONDS = 3600.0
LONGEST_TOKEN = 16_000
"""Characters: a server that takes a longer header is not known."""
LONGEST_LIFE_SECONDS = 366 * 86_400.0
HEADERS = {
    "Accept": "application/json",
    "Content-Type": "application/x-www-form-urlencoded",
    "User-Agent": "sync_pipeline",
}


class TokenLost(NotAuthorized):
    """What was to be traded for a token - a code, a refresh token - is worth nothing: only a person can help."""

    def __init__(self, reason: str, request: Request, *, fix: str = "Authorize again.") -> None:
        super().__init__(reason, request, fix=fix)
        self.reason = reason


class CutOff(RetryableApiError):
    """The connection was cut after the request for a token may have arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEndpoint:
    """One client at one token address. ``place`` is where its secret came from."""

    url: str
    client_id: str
    client_secret: str = field(default="", repr=False)
    place: SecretPlace = SecretPlace("the client id and the client secret")
    lost: tuple[str, ...] = LOST
    """The error codes that say that a code or refresh token is worth nothing."""
    account: str = ""
    """The field that names the account of the tokens."""
    errors: ErrorFormat = FORMAT
    system: str = "Snapshots"
    fields: Mapping[str, str] = field(default_factory=dict)
    """Sent with every request."""
    base_setting: str = "SNAPSHOTS_BASE_URL"
    limits: Limits = USUAL
    now: Clock = unix_time

    async def ask(
        self, grant: str, *, on_request: OnRequest = unseen, hidden: Iterable[str] = (), **fields: str
    ) -> Tokens:
        """Trade what ``fields`` hold for tokens; TokenLost, FatalApiError or RetryableApiError when there are none.

        ``hidden`` are more secrets that no message may show.
        """
        secrets = (self.client_secret, *hidden, *(fields.get(name, "") for name in SECRET_FIELDS))
        response = await self._send(grant, fields, on_request, secrets)
        reading = read_answer(response, "POST", self.errors, partial(redact, secrets=secrets))
        data = in_snake_case(reading.data) if isinstance(reading.data, dict) else {}
        if response.status_code == 200 and data.get("access_token"):
            return self.tokens_in(data, fields)
        raise self._refusal(grant, reading, fields)

    async def _send(
        self, grant: str, fields: Mapping[str, str], on_request: OnRequest, secrets: tuple[str, ...]
    ) -> HttpResponse:
        body = prepare_token_request(grant, **{**self.fields, **fields})
        method = "client_secret_post" if self.client_secret else "none"
        proof = ClientAuth(self.client_id, self.client_secret, method)
        # Its stubs leave this method untyped.
        url, headers, body = proof.prepare("POST", self.url, dict(HEADERS), body)  # type: ignore[no-untyped-call]
        client = HttpClient(self.url, self.base_setting, self.limits, on_request=on_request)
        try:
            # Getting a token changes no data at the vendor.
            return await client.exchange("POST", url, writes=False, headers=headers, content=body)
        except NoAnswer as error:
            failure = error.failure
            rule = decide(FAILURES, AttemptResult("POST", failure=failure))
            detail = excerpt(redact(error.detail, secrets))
            words = {"base": self.url, "base_setting": self.base_setting, "detail": detail}
            kind = FatalApiError if rule.action is Action.FATAL else RetryableApiError
            if not failure.before_sending:
                kind = CutOff
            about = Request(self.system, "POST", urlsplit(self.url).path)
            message = f"no access token could be had: {rule.message.format_map(words)}."
            raise kind(message, about, fix=rule.fix.format_map(words)) from None
        finally:
            await client.aclose()

    def tokens_in(self, data: Mapping[str, Any], fields: Mapping[str, str]) -> Tokens:
        """The tokens of an answer; FatalApiError for what cannot be sent."""
        lasts, scope, refresh = data.get("expires_in"), data.get("scope"), data.get("refresh_token")
        token = data["access_token"]
        is_usable = isinstance(token, str) and token.isascii() and token.isprintable() and " " not in token
        if not is_usable or max(len(as_text(each)) for each in (token, refresh, scope)) > LONGEST_TOKEN:
            # The HTTP library would show the header it refuses.
            about = Request(self.system, "POST", urlsplit(self.url).path, 200)
            raise FatalApiError("the returned access token does not fit in a header.", about, fix="Tell the vendor.")
        return Tokens(
            access_token=token,
            # A server that sends no new one lets the old one be used again.
            refresh_token=refresh if isinstance(refresh, str) and refresh else fields.get("refresh_token", ""),
            expires_at=self.now() + _seconds(lasts),
            # Left out means: what was asked for.
            scope=scope if isinstance(scope, str) and scope else fields.get("scope", ""),
            account=excerpt(as_text(data.get(self.account) or "")),
        )

    def _refusal(self, grant: str, reading: Reading, fields: Mapping[str, str]) -> ApiError:
        seen = reading.seen
        about = Request(self.system, "POST", urlsplit(self.url).path, seen.status, seen.code, reading.request_id)
        detail = reading.detail
        if seen.status is not None and (seen.status >= 500 or seen.status == 429):
            return RetryableApiError(f"no access token could be had ({detail}).", about, fix="Try again later.")
        if seen.code in self.lost:
            message, fix = _lost(grant, detail, fields.get("redirect_uri", ""))
            return TokenLost(message, about, fix=fix)
        message, fix = REFUSALS.get(seen.code or "", ("no access token was given ({detail}).", "{check_key}"))
        words = {"detail": detail, "url": self.url, **self.place.words}
        return NotAuthorized(message.format_map(words), about, fix=fix.format_map(words))


REFUSALS = {
    "invalid_client": ("this client is not known, or its secret is wrong ({detail}).", "{check_key}"),
    "unauthorized_client": (
        "this client may not get tokens in this way ({detail}).",
        "Allow it where the client is registered, or use another kind of credentials.",
    ),
    "invalid_scope": (
        "the client may not have one of the scopes ({detail}).",
        "Ask for fewer scopes, or allow them where the client is registered.",
    ),
    "redirect_uri_mismatch": ("the return address is not a registered one ({detail}).", "Register it with the client."),
}


def _lost(grant: str, detail: str, redirect_uri: str) -> tuple[str, str]:
    """Why a code or refresh token is no longer valid, and what to do."""
    if grant != "authorization_code":
        return f"the authorization has ended or was withdrawn ({detail}).", "Authorize again."
    if "redirect" in detail.lower():
        return (
            f"the return address is not the one the code was given for ({detail}).",
            f"Register {redirect_uri} with the client, exactly as written here, and authorize again.",
        )
    if "verifier" in detail.lower():
        return f"the code was asked for by another sign-in ({detail}).", "Authorize again, in one browser window."
    return (
        f"the code was not accepted: it is too old or was used before ({detail}).",
        "Authorize again, and complete the consent without a pause.",
    )


def in_snake_case(data: Mapping[str, Any]) -> dict[str, Any]:
    """An answer with its fields as RFC 6749 writes them: some servers say ``accessToken``."""
    return {re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower(): value for name, value in data.items()}


def _seconds(value: object) -> float:
    """How long a token lasts; some servers write the number as text. What no clock can hold is a year."""
    try:
        lasts = float(value) if isinstance(value, int | float | str) else DEFAULT_LIFE_SECONDS
    except (ValueError, OverflowError):
        return DEFAULT_LIFE_SECONDS
    return DEFAULT_LIFE_SECONDS if isnan(lasts) else min(max(lasts, 0.0), LONGEST_LIFE_SECONDS)
