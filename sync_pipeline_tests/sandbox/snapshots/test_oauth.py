"""OAuth as the RFCs have it: three grants, PKCE, rotation, and nothing readable in the database."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from sync_pipeline.sandbox.snapshots.oauth import challenge_of
from sync_pipeline_tests.sandbox.snapshots.speaking import Sandbox

CLIENT = {"client_id": "sandbox-client", "client_secret": "sandbox-secret"}
REDIRECT = "http://localhost:3000/oauth/callback"
VERIFIER = secrets.token_urlsafe(48)
ASK = {
    "response_type": "code",
    "client_id": "sandbox-client",
    "redirect_uri": REDIRECT,
    "scope": "users.read projects.read",
    "state": "st&te",
    "code_challenge": challenge_of(VERIFIER),
    "code_challenge_method": "S256",
}


def _token(sandbox: Sandbox, **form: str) -> httpx.Response:
    return httpx.post(f"{sandbox.running.url}/oauth/token", data={**CLIENT, **form})


def _authorize(sandbox: Sandbox, params: Mapping[str, str], decision: str = "approve") -> dict[str, str]:
    """Press a button on the consent page; the parameters the browser is sent back with."""
    url = f"{sandbox.running.url}/oauth/authorize"
    answer = httpx.post(url, data={**params, "decision": decision})
    assert answer.status_code == 302
    assert answer.headers["location"].startswith(REDIRECT)
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


def _exchange(sandbox: Sandbox, code: str, **changes: str) -> httpx.Response:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "code_verifier": VERIFIER}
    return _token(sandbox, **{**form, **changes})


def _error(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json()["error"]


@pytest.mark.parametrize("base", ["", "/snapshots"])
def test_client_credentials(sandbox: Sandbox, base: str) -> None:
    """A client gets a token for the scopes it asks for, at both addresses, and the token works."""
    form = {**CLIENT, "grant_type": "client_credentials", "scope": "users.read"}
    answer = httpx.post(f"{sandbox.running.url}{base}/oauth/token", data=form)
    token = answer.json()
    assert (answer.headers["cache-control"], token["token_type"], token["scope"]) == (
        "no-store",
        "Bearer",
        "users.read",
    )
    client = sandbox.client(token["access_token"])
    assert (client.get("users").status_code, client.get("projects").status_code) == (200, 403)
    assert "refresh_token" not in token


def test_client_may_authenticate_with_http_basic(sandbox: Sandbox) -> None:
    """The other way RFC 6749 allows."""
    url, form = f"{sandbox.running.url}/oauth/token", {"grant_type": "client_credentials"}
    assert httpx.post(url, data=form, auth=("sandbox-client", "sandbox-secret")).status_code == 200
    refused = httpx.post(url, data=form, auth=("sandbox-client", "wrong"))
    assert _error(refused) == (401, "invalid_client")
    assert "www-authenticate" in refused.headers


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"grant_type": "client_credentials", "client_secret": "x"}, 401, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "x"}, 401, "invalid_client"),
        ({"grant_type": "client_credentials", "scope": "users.read everything"}, 400, "invalid_scope"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({}, 400, "invalid_request"),
        ({"grant_type": "refresh_token"}, 400, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, 400, "invalid_grant"),
        ({"grant_type": "authorization_code", "code": "x"}, 400, "invalid_request"),
    ],
)
def test_token_errors_have_their_rfc_names(sandbox: Sandbox, form: dict[str, str], status: int, error: str) -> None:
    """Every refusal of the token endpoint is one of RFC 6749's."""
    assert _error(_token(sandbox, **form)) == (status, error)


def test_expired_token_is_named(sandbox: Sandbox) -> None:
    """After its life a token is a 401 of its own code: the sign to refresh."""
    sandbox.control.post("snapshots", json={"token_seconds": 60})
    token = _token(sandbox, grant_type="client_credentials").json()
    assert token["expires_in"] == 60
    client = sandbox.client(token["access_token"])
    assert client.get("users").status_code == 200
    sandbox.control.post("clock", json={"advance": 61})
    assert (client.get("users").status_code, client.get("users").json()["code"]) == (401, "token_expired")


def test_consent_page_lists_scopes_and_escapes(sandbox: Sandbox) -> None:
    """The person sees what is asked for; what came in the address cannot become part of the page."""
    page = httpx.get(f"{sandbox.running.url}/oauth/authorize", params={**ASK, "state": '"><script>'})
    assert page.headers["content-type"].startswith("text/html")
    assert "users.read" in page.text
    assert "analytics.read" not in page.text
    assert "<script>" not in page.text


def test_authorization_code_with_pkce(sandbox: Sandbox) -> None:
    """Approve, come back with code and state, exchange once."""
    back = _authorize(sandbox, ASK)
    assert back["state"] == "st&te"
    pair = _exchange(sandbox, back["code"])
    assert pair.status_code == 200
    assert sandbox.client(pair.json()["access_token"]).get("users").status_code == 200
    assert pair.json()["refresh_token"]


def test_code_used_twice_kills_what_came_of_it(sandbox: Sandbox) -> None:
    """A second exchange is refused and the first one's tokens die: someone copied the code."""
    code = _authorize(sandbox, ASK)["code"]
    pair = _exchange(sandbox, code).json()
    assert _error(_exchange(sandbox, code)) == (400, "invalid_grant")
    assert sandbox.client(pair["access_token"]).get("users").status_code == 401


@pytest.mark.parametrize(
    "changes", [{"code_verifier": "x" * 43}, {"redirect_uri": REDIRECT + "/"}, {"code": "sbx_code_unknown"}]
)
def test_code_is_bound_to_verifier_and_address(sandbox: Sandbox, changes: dict[str, str]) -> None:
    """A stolen code is worth nothing without the verifier."""
    form = {"code": _authorize(sandbox, ASK)["code"], **changes}
    assert _error(_exchange(sandbox, **form)) == (400, "invalid_grant")


def test_code_expires_within_a_minute(sandbox: Sandbox) -> None:
    """An expired code is refused."""
    code = _authorize(sandbox, ASK)["code"]
    sandbox.control.post("clock", json={"advance": 61})
    assert _error(_exchange(sandbox, code)) == (400, "invalid_grant")


@pytest.mark.parametrize("changes", [{"client_id": "stranger"}, {"redirect_uri": "http://localhost:3000/elsewhere"}])
def test_never_redirects_to_an_unregistered_address(sandbox: Sandbox, changes: dict[str, str]) -> None:
    """An unknown client or return address ends on an error page, not in a redirect."""
    answer = httpx.get(f"{sandbox.running.url}/oauth/authorize", params={**ASK, **changes})
    assert (answer.status_code, "location" in answer.headers) == (400, False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("port", ["1", "8750", "54321"])
def test_a_program_may_listen_on_any_port_of_this_machine(sandbox: Sandbox, host: str, port: str) -> None:
    """RFC 8252: the port of a loopback address is free, the code is bound to the one that was used."""
    there = f"http://{host}:{port}/snapshots/callback"
    url = f"{sandbox.running.url}/oauth/authorize"
    answer = httpx.post(url, data={**ASK, "redirect_uri": there, "decision": "approve"})
    assert answer.headers["location"].startswith(f"{there}?code=")
    code = dict(parse_qsl(urlsplit(answer.headers["location"]).query))["code"]
    assert _error(_exchange(sandbox, code, redirect_uri=f"http://{host}:2/snapshots/callback")) == (
        400,
        "invalid_grant",
    )


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:80/snapshots/callback/more",
        "http://127.0.0.1:80@example.test/snapshots/callback",
        "http://127.0.0.1:123456/snapshots/callback",
        "http://127.0.0.2:80/snapshots/callback",
        "https://127.0.0.1:80/snapshots/callback",
        "http://localhost.example.test:80/snapshots/callback",
        "http://localhost:80/oauth/callback",
    ],
)
def test_only_the_port_is_free(sandbox: Sandbox, address: str) -> None:
    """Host, scheme and path must be those that were registered."""
    answer = httpx.get(f"{sandbox.running.url}/oauth/authorize", params={**ASK, "redirect_uri": address})
    assert (answer.status_code, "location" in answer.headers) == (400, False)


def test_withdrawn_consents_are_distinguished_from_expired_ones(sandbox: Sandbox) -> None:
    """All consents can be withdrawn: access and refresh tokens are refused with that reason, and later ones are not touched."""
    pair = _exchange(sandbox, _authorize(sandbox, ASK)["code"]).json()
    assert sandbox.control.post("snapshots", json={"revoke_consents": True}).json()["revoked"] >= 2
    sandbox.control.post("clock", json={"advance": 4000})
    answer = sandbox.client(pair["access_token"]).get("users")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_revoked")
    refused = _token(sandbox, grant_type="refresh_token", refresh_token=pair["refresh_token"])
    assert _error(refused) == (400, "invalid_grant")
    assert "withdrawn" in refused.json()["error_description"]
    again = _exchange(sandbox, _authorize(sandbox, ASK)["code"]).json()
    assert sandbox.client(again["access_token"]).get("users").status_code == 200


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"scope": "everything"}, "invalid_scope"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
    ],
)
def test_faults_of_the_request_go_back_to_the_client(sandbox: Sandbox, changes: dict[str, str], error: str) -> None:
    """A mistake of the client is returned to the client, with its state."""
    back = _authorize(sandbox, {**ASK, **changes})
    assert (back["error"], back["state"]) == (error, "st&te")


def test_person_may_refuse(sandbox: Sandbox) -> None:
    """No is an answer."""
    assert _authorize(sandbox, ASK, "deny")["error"] == "access_denied"


def test_refresh_rotates_and_reuse_revokes(sandbox: Sandbox) -> None:
    """A refresh token works once; when an old one comes again, the whole family is withdrawn."""
    first = _exchange(sandbox, _authorize(sandbox, ASK)["code"]).json()
    second = _token(sandbox, grant_type="refresh_token", refresh_token=first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert second["scope"] == ASK["scope"]
    narrow = _token(sandbox, grant_type="refresh_token", refresh_token=second["refresh_token"], scope="users.read")
    assert narrow.json()["scope"] == "users.read"
    reused = _token(sandbox, grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert _error(reused) == (400, "invalid_grant")
    assert sandbox.client(narrow.json()["access_token"]).get("users").status_code == 401


def test_registered_client_is_confined_to_its_scopes(sandbox: Sandbox) -> None:
    """A client of one's own, with its own address and no more than its scopes."""
    own = {"client_id": "mine", "client_secret": "s3cret", "redirect_uris": [REDIRECT], "scopes": ["users.read"]}
    assert sandbox.control.post("clients", json=own).status_code == 200
    mine = {"client_id": "mine", "client_secret": "s3cret", "grant_type": "client_credentials"}
    assert _token(sandbox, **mine).json()["scope"] == "users.read"
    assert _error(_token(sandbox, **mine, scope="users.write")) == (400, "invalid_scope")


def test_no_token_is_in_the_database(sandbox: Sandbox) -> None:
    """Codes and tokens are kept as hashes only."""
    pair = _exchange(sandbox, _authorize(sandbox, ASK)["code"]).json()
    stored = repr([tuple(row) for row in sandbox.world.db.execute("SELECT * FROM snapshots_grants").fetchall()])
    assert pair["access_token"] not in stored
    assert pair["refresh_token"] not in stored
