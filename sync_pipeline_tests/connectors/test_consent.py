"""A person's consent on the sandbox: given, refused, and everything that can be wrong with it, distinguished."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from sync_pipeline.connectors.consent import Consent, begin_consent, finish_consent, prove_redirect, read_callback
from sync_pipeline.connectors.token_endpoint import TokenLost
from sync_pipeline.errors import ConfigError, FatalApiError, RetryableApiError
from sync_pipeline.sandbox.server import Running
from sync_pipeline.sandbox.snapshots.oauth import challenge_of
from sync_pipeline.store.tokens import Tokens
from sync_pipeline_tests.connectors.at_sandbox import control
from sync_pipeline_tests.connectors.clients import run
from sync_pipeline_tests.connectors.consenting import CLIENT, SCOPES, asked, authorized, facts, press
from sync_pipeline_tests.connectors.scripted import in_turn, reply, scripted


def trade(sandbox: Running, *, secret: str = CLIENT.client_secret, **changes: str) -> Tokens:
    """Consent, then trade the code with something changed on the way."""
    consent = asked(sandbox)
    code = read_callback(consent, press(consent))
    endpoint = replace(CLIENT, client_secret=secret).endpoint(facts(), sandbox.snapshots)
    return run(finish_consent(endpoint, replace(consent, **changes), code))


def asked_at(url: str) -> Consent:
    """A question at another server."""
    return begin_consent(facts(), url, CLIENT.client_id, ("users.read",), "http://127.0.0.1/snapshots/callback")


def test_consent_gives_tokens_for_what_was_asked(shared_sandbox: Running) -> None:
    """The question carries PKCE (S256), a state and the scopes; the answer is a pair with those scopes."""
    consent = asked(shared_sandbox)
    query = {name: value for name, (value,) in parse_qs(urlsplit(consent.url).query).items()}
    assert query["code_challenge"] == challenge_of(consent.verifier)
    assert (query["code_challenge_method"], query["state"], query["scope"]) == ("S256", consent.state, " ".join(SCOPES))

    tokens = authorized(shared_sandbox)
    assert (bool(tokens.access_token), bool(tokens.refresh_token)) == (True, True)
    assert tokens.scope.split() == list(SCOPES)
    assert Tokens.from_json(tokens.as_json()) == tokens


def test_every_question_is_another(shared_sandbox: Running) -> None:
    """State and verifier are never used again, and no one sees them by accident."""
    one, two = asked(shared_sandbox), asked(shared_sandbox)
    assert one.state != two.state
    assert one.verifier != two.verifier
    assert not {one.state, one.verifier} & set(repr(one).split("'"))
    tokens = authorized(shared_sandbox)
    assert tokens.access_token not in repr(tokens)
    assert tokens.refresh_token not in repr(tokens)


def test_a_person_may_refuse(shared_sandbox: Running) -> None:
    """A denial is reported as one, with what can be done."""
    consent = asked(shared_sandbox)
    with pytest.raises(FatalApiError, match=r"consent was refused .*Authorize again and allow access"):
        read_callback(consent, press(consent, "deny"))


def test_an_answer_to_another_question_is_refused(shared_sandbox: Running) -> None:
    """A callback with another state, or none, is not for this session; no code is taken from it."""
    consent = asked(shared_sandbox)
    back = press(asked(shared_sandbox))
    for query in (back, {"code": "x"}, {"code": "x", "state": ""}):
        with pytest.raises(FatalApiError, match="belongs to another sign-in"):
            read_callback(consent, query)
    with pytest.raises(FatalApiError, match="without an answer"):
        read_callback(consent, {"state": consent.state})


def test_a_scope_the_client_may_not_have(shared_sandbox: Running) -> None:
    """The page sends the refusal back: it names scopes, not keys."""
    consent = asked(shared_sandbox, scopes=("everything",))
    with pytest.raises(FatalApiError, match="may not ask for one of the scopes"):
        read_callback(consent, press(consent))


def test_a_wrong_client_secret_is_reported(shared_sandbox: Running) -> None:
    """It names the settings, and shows neither the secret nor the code."""
    with pytest.raises(FatalApiError, match=r"secret is wrong .*SNAPSHOTS_CLIENT_SECRET") as caught:
        trade(shared_sandbox, secret="not-the-secret")
    assert "not-the-secret" not in str(caught.value)


def test_a_wrong_verifier_is_reported(shared_sandbox: Running) -> None:
    """A code of another sign-in is worth nothing."""
    with pytest.raises(TokenLost, match="asked for by another sign-in"):
        trade(shared_sandbox, verifier="v" * 64)


def test_another_return_address_is_reported(shared_sandbox: Running) -> None:
    """The address to register is in the message."""
    with pytest.raises(FatalApiError, match=r"return address .*http://127.0.0.1:1/snapshots/callback"):
        trade(shared_sandbox, redirect_uri="http://127.0.0.1:1/snapshots/callback")


def test_an_old_code_is_reported(sandbox: Running) -> None:
    """A user who waits too long is asked to authorize again; so is one who uses a code twice."""
    consent = asked(sandbox)
    code = read_callback(consent, press(consent))
    endpoint = CLIENT.endpoint(facts(), sandbox.snapshots)
    control(sandbox, "clock", advance=61)
    with pytest.raises(TokenLost, match=r"too old or was used before .*Authorize again") as caught:
        run(finish_consent(endpoint, consent, code))
    assert code not in str(caught.value)


def test_an_unknown_return_address_or_client_is_found_beforehand(shared_sandbox: Running) -> None:
    """The page would leave the person on an error of its own: it is asked first. A good one passes."""
    seen: list[httpx.Request] = []

    async def look(request: httpx.Request) -> None:
        seen.append(request)

    run(prove_redirect(asked(shared_sandbox), on_request=look))
    with pytest.raises(FatalApiError, match=r"register http://example.test/back as its return address"):
        run(prove_redirect(asked(shared_sandbox, redirect_uri="http://example.test/back"), on_request=look))
    assert {request.method for request in seen} == {"GET"}


def test_an_address_without_a_page_is_reported(shared_sandbox: Running) -> None:
    """The base URL is at fault then, not the client."""
    with pytest.raises(FatalApiError, match=r"no consent page at this address\. Check SNAPSHOTS_BASE_URL"):
        run(prove_redirect(asked_at(f"{shared_sandbox.url}/clockify")))


def test_a_page_that_is_away_can_be_tried_again() -> None:
    """Nothing answers: that is no fault of client or address."""
    with scripted(in_turn(None)) as server:
        consent = replace(asked_at(server.url), redirect_uri="http://127.0.0.1/x")
        with pytest.raises(RetryableApiError, match="was cut"):
            run(prove_redirect(consent))


def test_token_requests_are_seen_and_are_no_writes(shared_sandbox: Running) -> None:
    """The hook sees the request before it leaves, marked as one that writes nothing; it can keep it back."""
    seen: list[tuple[str, object]] = []

    async def refuse(request: httpx.Request) -> None:
        seen.append((f"{request.method} {request.url.path}", request.extensions.get("writes")))
        raise ConfigError("not in this mode.")

    consent = asked(shared_sandbox)
    code = read_callback(consent, press(consent))
    endpoint = CLIENT.endpoint(facts(), shared_sandbox.snapshots)
    with pytest.raises(ConfigError, match="not in this mode"):
        run(finish_consent(endpoint, consent, code, on_request=refuse))
    assert seen == [("POST /snapshots/oauth/token", False)]


def test_no_proxy_is_used_for_our_own_machine(shared_sandbox: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment cannot reach it: neither consent page nor token address is asked through one."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    run(prove_redirect(asked(shared_sandbox)))
    assert authorized(shared_sandbox).access_token


def test_a_profile_without_a_page_is_reported() -> None:
    """Not every system asks people."""
    with pytest.raises(ConfigError, match="no page on which a person gives consent"):
        begin_consent(facts().model_copy(update={"authorize_path": None}), "http://x", "me", (), "http://y")


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (reply(200, body=b"<html>hello", kind="text/html"), FatalApiError, "no access token was given"),
        (reply(200, body=b"[1]"), FatalApiError, "no access token was given"),
        (reply(503), RetryableApiError, "could be had"),
        (reply(429), RetryableApiError, "could be had"),
        (reply(400, {"error": "unauthorized_client"}), FatalApiError, "may not get tokens in this way"),
        (reply(400, {"error": "invalid_grant", "error_description": "c0de-that-is-secret"}), TokenLost, r"\*\*\*"),
        (None, RetryableApiError, "was cut"),
    ],
)
def test_other_answers_of_the_token_address(answer: bytes | None, kind: type[Exception], says: str) -> None:
    """Whatever is there, it is reported in a sentence, without the code."""
    with scripted(in_turn(answer)) as server, pytest.raises(kind, match=says) as caught:
        run(finish_consent(CLIENT.endpoint(facts(), server.url), asked_at(server.url), "c0de-that-is-secret"))
    assert "c0de" not in str(caught.value)


def test_a_server_that_says_little_is_understood() -> None:
    """No scope means what was asked for; no life means an hour; a number as text is a number."""
    answers = in_turn(reply(200, {"access_token": "t", "expires_in": "60"}), reply(200, {"access_token": "t"}))
    with scripted(answers) as server:
        endpoint = replace(CLIENT.endpoint(facts(), server.url), now=lambda: 1000.0)
        first = run(finish_consent(endpoint, asked_at(server.url), "c"))
        second = run(finish_consent(endpoint, asked_at(server.url), "c"))
    assert (first.expires_at, first.scope, first.refresh_token) == (1060.0, "users.read", "")
    assert second.expires_at == 4600.0
