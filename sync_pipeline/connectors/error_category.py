"""What an error says about the connection: which of a probe's questions it answers, and what it means for people."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from sync_pipeline.connectors.policy import Body, Failure
from sync_pipeline.errors import ApiError, RetryableApiError, SyncError


class ErrorCategory(StrEnum):
    """The first question that is answered with no."""

    AWAY = "away"
    """Nothing answers there, or only with errors."""
    BUSY = "busy"
    """It answers, but refuses our requests for now."""
    OTHER_API = "other_api"
    """Something else answers than what was expected."""
    NOT_ACCEPTED = "not_accepted"
    """It does not accept the credentials."""
    FORBIDDEN = "forbidden"
    """It accepts the credentials, but not for this."""
    REFUSED = "refused"
    """It refused this one request."""


OAUTH_MEANINGS: Mapping[str, str] = {
    "invalid_grant": "The consent was revoked, or its refresh token was used up: no token is given until someone"
    " authorizes again.",
    "invalid_client": "This client id is not known with this secret.",
    "invalid_scope": "The client may not have all the scopes that are asked for.",
    "unauthorized_client": "This client may not get its tokens in this way.",
    "access_denied": "The consent was refused.",
}
"""Error of a token endpoint (RFC 6749) -> what it means."""

KEY_MEANINGS: Mapping[str, str] = {
    "1000": "A proxy may drop the header, or two kinds of credentials were sent together.",
    "4003": "The key was deleted or replaced in Clockify, was copied incompletely, or belongs to a subdomain of its own.",
    "4017": "The add-on was uninstalled, or the token is one of a user and has ended.",
    "not_installed": "An app reads and writes only in the accounts in which it is installed.",
    "token_expired": "An access token lives for hours only; it was right once.",
    "other_location": "The token is right, and belongs to another account than the one that is set up.",
    "bad_version": "It is not about the token: the API no longer takes the version of it that is asked for.",
    "missing_credentials": "A proxy may drop the header, or the profile names another one than the API reads.",
}
"""Code of a 401 -> what it means."""

KNOWS_US = frozenset({"no_scope", "no_route"})
"""Codes of a 401 by which a system refuses this request, not the credentials."""

CAUSE_MEANINGS: Mapping[str, str] = {
    Failure.REFUSED: "No program listens there, or a firewall turns connections away.",
    Failure.UNKNOWN_HOST: "The name does not exist, or this machine has no network.",
    Failure.TLS: "A third party may be in between, so no key was sent.",
    Failure.BAD_URL: "Nothing was sent.",
    Failure.CONNECT_TIMEOUT: "A firewall or a proxy may swallow the packets.",
    Failure.READ_TIMEOUT: "The server took the request and never answered: it is overloaded, or a proxy is stuck.",
    Failure.CUT: "The server or a proxy hung up.",
    Failure.DEADLINE: "The server sends its answer slower than can be waited for.",
    Failure.TOO_LARGE: "No answer of this API is that large: something else answers there, or it misbehaves.",
    Body.HTML: "A web page, a login form or a proxy answers there, not an API.",
}
"""Why there was no answer, or what was in it -> what it means."""

BUSY_MEANS = "The request budget is used up: all keys of this account share it."
TROUBLE_MEANS = "A server exists at this address, but it does not work just now: nothing more is known."


def categorize(error: SyncError) -> ErrorCategory:
    """Which question the error answers."""
    if not isinstance(error, ApiError):
        return ErrorCategory.REFUSED
    status, cause = error.request.status, error.request.cause
    if cause in set(Failure) or (status is not None and (status >= 500 or status in (408, 425))):
        return ErrorCategory.AWAY
    if status == 429 or (status is None and isinstance(error, RetryableApiError)):
        return ErrorCategory.BUSY
    if (error.request.code or "") in OAUTH_MEANINGS:
        return ErrorCategory.NOT_ACCEPTED
    if status is None or status < 400 or status in (404, 405) or cause == Body.HTML:
        return ErrorCategory.OTHER_API
    of_401 = ErrorCategory.FORBIDDEN if error.request.code in KNOWS_US else ErrorCategory.NOT_ACCEPTED
    return {401: of_401, 403: ErrorCategory.FORBIDDEN}.get(status, ErrorCategory.REFUSED)


def category_of(error: SyncError) -> str:
    """The category of an API error, for the row of the sync that it ended; empty for any other error."""
    return categorize(error).value if isinstance(error, ApiError) else ""


def meaning(error: SyncError) -> str:
    """What the error means, if more is known than its own text."""
    if not isinstance(error, ApiError):
        return ""
    if categorize(error) is ErrorCategory.BUSY:
        return BUSY_MEANS
    code, cause = error.request.code or "", error.request.cause
    if (error.request.status or 0) >= 500:
        return TROUBLE_MEANS
    return OAUTH_MEANINGS.get(code) or KEY_MEANINGS.get(code) or CAUSE_MEANINGS.get(cause, "")
