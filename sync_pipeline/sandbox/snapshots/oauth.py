"""The token endpoint: client credentials, authorization code with PKCE, refresh with rotation (RFC 6749)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sync_pipeline.sandbox.snapshots import grants
from sync_pipeline.sandbox.snapshots.clients import Client, find_client
from sync_pipeline.sandbox.snapshots.consent import consent_endpoint
from sync_pipeline.sandbox.snapshots.grants import REFRESH_SECONDS, Grant
from sync_pipeline.sandbox.snapshots.settings import read_settings
from sync_pipeline.sandbox.world import World

_SPOKEN: dict[grants.GrantKind, str] = {"code": "authorization code", "refresh": "refresh token"}
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class OAuthError(Exception):
    """An error of the token endpoint, by its RFC 6749 name."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.status = status

    def response(self) -> Response:
        """The error as the RFC wants it."""
        headers = NO_STORE | ({"WWW-Authenticate": 'Basic realm="snapshots"'} if self.status == 401 else {})
        return _json({"error": self.error, "error_description": str(self)}, self.status, headers)


def oauth_routes(world: World) -> list[BaseRoute]:
    """``/oauth/token`` and ``/oauth/authorize``."""

    async def token(request: Request) -> Response:
        try:
            form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
            answer = _TokenRequest(world, form, request.headers.get("authorization", "")).answer()
        except OAuthError as error:
            return error.response()
        return _json(answer, 200, NO_STORE)

    return [
        Route("/oauth/token", token, methods=["POST"]),
        Route("/oauth/authorize", consent_endpoint(world), methods=["GET", "POST"]),
    ]


class _TokenRequest:
    """One POST to the token endpoint."""

    def __init__(self, world: World, form: Mapping[str, str], authorization: str) -> None:
        self.world = world
        self.form = form
        self.authorization = authorization

    def answer(self) -> dict[str, Any]:
        client = self._client()
        kind = self._field("grant_type")
        if kind == "client_credentials":
            return self._client_credentials(client)
        if kind == "authorization_code":
            return self._authorization_code(client)
        if kind == "refresh_token":
            return self._refresh(client)
        raise OAuthError("unsupported_grant_type", f"grant_type {kind[:40]!r} is not offered")

    def _client(self) -> Client:
        client_id, secret = self.form.get("client_id", ""), self.form.get("client_secret", "")
        scheme, _, encoded = self.authorization.partition(" ")
        if scheme.lower() == "basic":
            client_id, secret = _basic(encoded)
        client = find_client(self.world.db, client_id)
        if client is None or not client.knows(secret):
            raise OAuthError("invalid_client", "the client or its secret is not known", 401)
        return client

    def _field(self, name: str) -> str:
        value = self.form.get(name)
        if not value:
            raise OAuthError("invalid_request", f"{name} is missing")
        return value

    def _client_credentials(self, client: Client) -> dict[str, Any]:
        scope = client.grantable(self.form.get("scope"))
        if scope is None:
            raise OAuthError("invalid_scope", "the client may not have all of these scopes")
        return self._access(client, scope, secrets.token_hex(16))

    def _authorization_code(self, client: Client) -> dict[str, Any]:
        code, verifier = self._field("code"), self._field("code_verifier")
        grant = self._spendable("code", code, client)
        if grant.detail["redirect_uri"] != self.form.get("redirect_uri"):
            raise OAuthError("invalid_grant", "redirect_uri is not the one the code was issued for")
        if not secrets.compare_digest(grant.detail["challenge"], challenge_of(verifier)):
            raise OAuthError("invalid_grant", "code_verifier does not fit the challenge")
        return self._pair(client, grant.scope, grant.family)

    def _refresh(self, client: Client) -> dict[str, Any]:
        grant = self._spendable("refresh", self._field("refresh_token"), client)
        wanted = self.form.get("scope", "").split()
        if not set(wanted) <= set(grant.scope.split()):
            raise OAuthError("invalid_scope", "a refresh cannot widen the scope")
        return self._pair(client, " ".join(wanted) or grant.scope, grant.family)

    def _spendable(self, kind: grants.GrantKind, secret: str, client: Client) -> Grant:
        """A code or refresh token, spent by this call whatever comes of it: no transaction undoes it."""
        db = self.world.db
        grant = grants.find(db, kind, secret)
        if grant is None or grant.client_id != client.id:
            raise OAuthError("invalid_grant", f"the {_SPOKEN[kind]} is not known")
        if grant.revoked:
            raise OAuthError("invalid_grant", f"the consent behind the {_SPOKEN[kind]} was withdrawn")
        if grant.expires_at <= self.world.clock.epoch():
            raise OAuthError("invalid_grant", f"the {_SPOKEN[kind]} has expired")
        if grant.used:
            # Someone has a copy: nothing issued from this consent can be trusted any more.
            grants.revoke_family(db, grant.family)
            raise OAuthError("invalid_grant", f"the {_SPOKEN[kind]} was used before")
        grants.use(db, secret)
        return grant

    def _access(self, client: Client, scope: str, family: str) -> dict[str, Any]:
        seconds = read_settings(self.world.db).token_seconds
        expires_at = self.world.clock.epoch() + seconds
        token = grants.issue(self.world.db, Grant("access", client.id, scope, family, expires_at))
        return {"access_token": token, "token_type": "Bearer", "expires_in": seconds, "scope": scope}

    def _pair(self, client: Client, scope: str, family: str) -> dict[str, Any]:
        expires_at = self.world.clock.epoch() + REFRESH_SECONDS
        refresh = grants.issue(self.world.db, Grant("refresh", client.id, scope, family, expires_at))
        return self._access(client, scope, family) | {"refresh_token": refresh}


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a PKCE verifier."""
    digest = hashlib.sha256(verifier.encode("utf-8", "replace")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _basic(encoded: str) -> tuple[str, str]:
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return unquote_plus(client_id), unquote_plus(secret)


def _json(body: Mapping[str, Any], status: int, headers: Mapping[str, str]) -> Response:
    return Response(orjson.dumps(body), status, dict(headers), media_type="application/json")
