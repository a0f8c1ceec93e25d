"""Who is calling and what they may do: API keys and bearer tokens, scopes, requests a second."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from starlette.requests import Request

from sync_pipeline.sandbox.snapshots import grants
from sync_pipeline.sandbox.snapshots.keys import key_scopes
from sync_pipeline.sandbox.snapshots.problems import Problem
from sync_pipeline.sandbox.snapshots.settings import read_settings
from sync_pipeline.sandbox.world import World

REALM = 'Bearer realm="snapshots"'


@dataclass(frozen=True, slots=True)
class Caller:
    """A credential that was recognised."""

    id: str
    scopes: frozenset[str]

    def require(self, scope: str) -> None:
        """403, naming the scope, unless the caller has it."""
        if scope not in self.scopes:
            raise Problem(
                403,
                "insufficient_scope",
                f"This request takes the scope {scope}, which the credential does not have.",
                headers={"WWW-Authenticate": f'{REALM}, error="insufficient_scope", scope="{scope}"'},
                required_scope=scope,
            )


def _credential(request: Request) -> str:
    key = request.headers.get("x-api-key")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    credential = key or (token.strip() if scheme.lower() == "bearer" else "")
    if not credential:
        raise Problem(
            401,
            "missing_credentials",
            "Send an API key in X-Api-Key or a token in Authorization: Bearer.",
            headers={"WWW-Authenticate": REALM},
        )
    return credential


def authenticate(world: World, request: Request) -> Caller:
    """The caller behind a request's credential, or a 401."""
    credential = _credential(request)
    scopes = key_scopes(world.db).get(credential)
    if scopes is not None:
        state = read_settings(world.db).keys.get(credential, "valid")
        if state != "valid":
            raise _unauthorized(f"key_{state}", f"The API key is {state}.")
        return Caller(credential, frozenset(scopes))
    grant = grants.find(world.db, "access", credential)
    if grant is None:
        raise _unauthorized("invalid_credentials", "The API key or token is not known.")
    if grant.revoked:
        raise _unauthorized("token_revoked", "The consent behind the token was withdrawn; ask for it again.")
    if grant.expires_at <= world.clock.epoch():
        raise _unauthorized("token_expired", "The access token expired; get a new one.")
    return Caller(grants.hashed(credential), frozenset(grant.scope.split()))


def _unauthorized(code: str, detail: str) -> Problem:
    header = f'{REALM}, error="invalid_token", error_description="{detail}"'
    return Problem(401, code, detail, headers={"WWW-Authenticate": header})


@dataclass(slots=True)
class RateLimiter:
    """At most so many requests in any second, for each caller on its own."""

    _sent: dict[str, deque[float]] = field(default_factory=dict)

    def admit(self, caller: Caller, limit: int | None, now: float | None = None) -> None:
        """Let the request pass, or 429 with the whole seconds to wait."""
        if limit is None:
            return
        now = time.monotonic() if now is None else now
        sent = self._sent.setdefault(caller.id, deque())
        while sent and sent[0] <= now - 1.0:
            sent.popleft()
        if len(sent) >= limit:
            raise Problem(
                429, "rate_limited", f"More than {limit} requests in one second.", headers={"Retry-After": "1"}
            )
        sent.append(now)
