"""OAuth client credentials: one token, renewed when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from sync_pipeline.clock import unix_time
from sync_pipeline.connectors.profile import OAuthFacts
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.connectors.snapshots.api import Credentials
from sync_pipeline.errors import ConfigError, FatalApiError
from sync_pipeline_tests.connectors.clients import Time, options, run, snapshots
from sync_pipeline_tests.connectors.scripted import Asked, reply, scripted

CLIENT = Credentials(client_id="me", client_secret="hush-hush")
EXPIRED = reply(401, {"code": "token_expired", "detail": "over", "status": 401})
RECORD = reply(200, {"user_id": "u"})


def server_of(tokens: list[str], answer: Callable[[str], bytes]) -> Callable[[Asked], bytes]:
    """A server that hands out the tokens in turn and answers requests by the one they carry."""

    def script(asked: Asked) -> bytes:
        if asked.path == "/oauth/token":
            assert b"grant_type=client_credentials" in asked.body
            token = tokens.pop(0) if len(tokens) > 1 else tokens[0]
            return reply(200, {"access_token": token, "expires_in": 3600})
        return answer(asked.headers["authorization"])

    return script


def test_many_requests_share_one_token_until_it_ends() -> None:
    """Requests that start together fetch one token; it is fetched again shortly before it ends."""
    time = Time()
    with scripted(server_of(["t1", "t2"], lambda _: RECORD)) as server:

        async def work() -> dict[str, int]:
            async with snapshots(server.url, time, credentials=CLIENT) as client:
                await asyncio.gather(*(client.get("users", f"u{n}") for n in range(5)))
                time.at += 3590
                await client.get("users", "u")
                return client.requests

        assert run(work()) == {"POST /oauth/token": 2, "GET /users/{id}": 6}
    assert {asked.headers.get("authorization") for asked in server.asked} == {None, "Bearer t1", "Bearer t2"}


def test_an_expired_token_is_renewed_once() -> None:
    """401 token_expired fetches a new token and sends the request again without waiting."""
    time = Time()
    with scripted(server_of(["old", "new"], lambda auth: RECORD if auth == "Bearer new" else EXPIRED)) as server:

        async def work() -> object:
            async with snapshots(server.url, time, credentials=CLIENT) as client:
                return await client.get("users", "u")

        assert run(work()) == {"user_id": "u"}
    assert time.slept == [0.0]


def test_a_token_that_is_always_expired_is_an_error() -> None:
    """One renewal is enough: a second token_expired is final, and no token is shown."""
    with scripted(server_of(["secret-token"], lambda _: EXPIRED)) as server:

        async def work() -> None:
            async with snapshots(server.url, credentials=CLIENT) as client:
                await client.get("users", "u")

        with pytest.raises(FatalApiError, match="the access token has expired") as caught:
            run(work())
    assert len(server.asked) == 4
    assert "secret-token" not in str(caught.value)


@pytest.mark.parametrize("lasts", [1e300, "inf", "nan", "-5", -1e300, "soon", None, True, [], 10**18])
def test_how_long_a_token_lasts_is_not_believed_blindly(lasts: object) -> None:
    """The only copy of a token is not lost to a number that no calendar can hold."""
    with scripted(lambda _: reply(200, {"access_token": "t1", "expires_in": lasts})) as server:
        tokens = run(CLIENT.endpoint(_facts(), server.url).ask("client_credentials"))
    assert 0 <= datetime.fromtimestamp(tokens.expires_at, UTC).timestamp() - unix_time() + 60 < 370 * 86_400


@pytest.mark.parametrize("token", ["secret\ntoken", "secret token", "sécret-token", ["secret"], {"secret": 1}])
def test_a_token_that_fits_no_header_is_not_shown(token: object) -> None:
    """One error, which does not repeat it."""
    with scripted(lambda _: reply(200, {"access_token": token, "expires_in": 60})) as server:

        async def work() -> None:
            async with snapshots(server.url, credentials=CLIENT) as client:
                await client.get("users", "u")

        with pytest.raises(FatalApiError, match="does not fit in a header") as caught:
            run(work())
    assert "secret" not in f"{caught.value} {caught.value.request} {vars(caught.value)}"


def _facts() -> OAuthFacts:
    found = load_profile().auth.oauth
    assert found is not None
    return found


def test_wrong_client_secret_names_the_settings() -> None:
    """The refusal of a client names the settings to check, without the secret."""
    answer = reply(401, {"error": "invalid_client", "error_description": "unknown client or hush-hush"})
    with scripted(lambda _: answer) as server:

        async def work() -> None:
            async with snapshots(server.url, credentials=CLIENT) as client:
                await client.get("users", "u")

        with pytest.raises(FatalApiError, match="SNAPSHOTS_CLIENT_ID and SNAPSHOTS_CLIENT_SECRET") as caught:
            run(work())
    assert "401/invalid_client" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_token_server_in_trouble_is_tried_again() -> None:
    """503 from the token endpoint is no reason to stop."""
    replies = [reply(503), reply(200, {"access_token": "t"}), RECORD]
    with scripted(lambda asked: replies[asked.number]) as server:

        async def work() -> object:
            async with snapshots(server.url, credentials=CLIENT) as client:
                return await client.get("users", "u")

        assert run(work()) == {"user_id": "u"}


def test_a_profile_without_the_kind_is_reported() -> None:
    """Credentials of a kind the profile does not know are a configuration error."""
    profile = load_profile()
    auth = profile.auth.model_copy(update={"oauth": None})
    with pytest.raises(ConfigError, match="SNAPSHOTS_API_KEY"):
        CLIENT.auth(profile.model_copy(update={"auth": auth}), "http://x", options())
