"""A consent in use: renewed before it ends and after a 401, stored before it is used, given up once and for all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from sync_pipeline.clock import unix_time
from sync_pipeline.connectors import oauth
from sync_pipeline.connectors.snapshots.api import Snapshots
from sync_pipeline.connectors.token_endpoint import TokenLost
from sync_pipeline.errors import FatalApiError, RetryableApiError, StoreError
from sync_pipeline.sandbox.server import Running
from sync_pipeline.store import credentials
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.tokens import NAME, Lost, StoredVault, Tokens
from sync_pipeline_tests.connectors.at_sandbox import control, now
from sync_pipeline_tests.connectors.clients import Time, run, snapshots
from sync_pipeline_tests.connectors.consenting import CLIENT, PLACE, SCOPES, authorized, facts, token_requests, vault_in
from sync_pipeline_tests.connectors.scripted import Asked, in_turn, reply, scripted

PAIR = Tokens("old-access-token", "old-refresh-token", expires_at=0.0, scope="users.read")
FRESH = reply(200, {"access_token": "new-access-token", "refresh_token": "new-refresh-token", "expires_in": 3600})
RECORD = reply(200, {"user_id": "u"})
INVALID = reply(400, {"error": "invalid_grant", "error_description": "used before: old-refresh-token"})


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[StoredVault]:
    """A vault in a store of this test's own."""
    with vault_in(f"sqlite:///{tmp_path / 'store.db'}") as opened:
        yield opened


def client_of(vault: StoredVault, url: str, time: Time | None = None) -> Snapshots:
    """The Snapshots API with what is in the vault."""
    return snapshots(url, time, credentials=replace(CLIENT, vault=vault))


def ask(vault: StoredVault, url: str, time: Time | None = None, *, times: int = 1) -> list[object]:
    """Read records with what is in the vault, all in parallel."""

    async def work() -> list[object]:
        async with client_of(vault, url, time) as client:
            return list(await asyncio.gather(*(client.get("users", f"u{n}") for n in range(times))))

    return run(work())


def answering(*renewals: bytes | None, record: bytes = RECORD) -> Callable[[Asked], bytes | None]:
    """A server whose token address answers in turn, the last one forever; everything else is a record."""
    waiting = list(renewals)

    def script(asked: Asked) -> bytes | None:
        if asked.path != "/oauth/token":
            return record
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    return script


def test_a_consent_is_used_and_renewed_before_it_ends(sandbox: Running, vault: StoredVault) -> None:
    """One token for all requests; a new pair shortly before the end, in the vault and with the same scopes."""
    tokens = authorized(sandbox)
    vault.keep(tokens)
    time = now(sandbox)
    control(sandbox, "stats/reset")

    async def work() -> None:
        async with client_of(vault, sandbox.snapshots, time) as client:
            assert not client.granted
            await asyncio.gather(*(client.get("users", f"u{n}") for n in range(5)))
            assert sorted(client.granted or ()) == sorted(SCOPES)
            assert token_requests(sandbox) == 0
            time.at += 3590
            await asyncio.gather(*(client.get("users", f"u{n}") for n in range(5)))
            assert sorted(client.granted or ()) == sorted(SCOPES)
            assert client.requests["POST /snapshots/oauth/token"] == 1

    run(work())
    held = vault.read()
    assert isinstance(held, Tokens)
    assert held.refresh_token != tokens.refresh_token
    assert held.scope == tokens.scope


def test_a_token_that_was_ended_early_is_renewed(sandbox: Running, vault: StoredVault) -> None:
    """401: the token the vault still believes in is not used again; for many requests it is renewed once."""
    control(sandbox, "snapshots", token_seconds=5)
    tokens = authorized(sandbox)
    vault.keep(replace(tokens, expires_at=tokens.expires_at + 10**6))
    control(sandbox, "clock", advance=6)
    control(sandbox, "snapshots", token_seconds=3600)
    control(sandbox, "stats/reset")

    assert ask(vault, sandbox.snapshots, now(sandbox), times=8) == [None] * 8
    assert token_requests(sandbox) == 1
    held = vault.read()
    assert isinstance(held, Tokens)
    assert held.access_token != tokens.access_token


def test_a_pair_another_process_renewed_is_used(sandbox: Running, vault: StoredVault) -> None:
    """After a 401 the vault is looked at first: nothing is renewed twice."""
    control(sandbox, "snapshots", token_seconds=5)
    old = authorized(sandbox)
    control(sandbox, "snapshots", token_seconds=3600)
    new = authorized(sandbox)
    vault.keep(replace(old, expires_at=new.expires_at))
    control(sandbox, "stats/reset")

    async def work() -> None:
        async with client_of(vault, sandbox.snapshots, now(sandbox)) as client:
            assert await client.get("users", "u") is None
            vault.keep(new)
            control(sandbox, "clock", advance=6)
            assert await client.get("users", "u") is None
            await client.may_write("users")

    run(work())
    assert sandbox.world.stats.requests["GET /snapshots/users/{id}"] == 3
    assert token_requests(sandbox) == 0
    assert vault.read() == new


def test_a_consent_that_was_withdrawn_is_given_up(sandbox: Running, vault: StoredVault) -> None:
    """One refresh is tried; the reason is stored; from then on nothing is sent and everyone gets that sentence."""
    vault.keep(authorized(sandbox))
    assert ask(vault, sandbox.snapshots) == [None]
    assert control(sandbox, "snapshots", revoke_consents=True)["revoked"] > 0
    control(sandbox, "stats/reset")

    with pytest.raises(TokenLost, match=r"ended or was withdrawn .*Authorize again\.$") as first:
        ask(vault, sandbox.snapshots)
    assert dict(sandbox.world.stats.requests) == {"GET /snapshots/users/{id}": 1, "POST /snapshots/oauth/token": 1}
    assert isinstance(vault.read(), Lost)

    for _ in range(3):
        with pytest.raises(FatalApiError) as later:
            ask(vault, sandbox.snapshots, times=4)
        assert str(later.value) == str(first.value)
    assert sandbox.world.stats.requests.total() == 2

    vault.keep(authorized(sandbox))
    assert ask(vault, sandbox.snapshots) == [None]


def test_without_consent_nothing_is_sent(vault: StoredVault) -> None:
    """An empty vault states what is missing."""
    with scripted(answering(FRESH)) as server, pytest.raises(FatalApiError, match="consent has not been given yet"):
        ask(vault, server.url)
    assert server.asked == []


def test_a_pair_without_a_refresh_token_ends(vault: StoredVault) -> None:
    """Some servers give none: then the end of the access token is the end."""
    vault.keep(replace(PAIR, refresh_token=""))
    with scripted(answering(FRESH)) as server, pytest.raises(TokenLost, match="nothing came with it that renews it"):
        ask(vault, server.url)
    assert server.asked == []
    assert isinstance(vault.read(), Lost)


def test_a_cut_refresh_is_tried_again_once(vault: StoredVault) -> None:
    """The answer did not arrive: the same token is sent again, before anyone waits."""
    vault.keep(PAIR)
    time = Time()
    with scripted(answering(None, FRESH)) as server:
        ask(vault, server.url, time)
    sent = [asked.body for asked in server.asked if asked.path == "/oauth/token"]
    assert len(sent) == 2
    assert sent[0] == sent[1]
    assert time.slept == []


def test_a_cut_refresh_that_was_carried_out_is_given_up(vault: StoredVault) -> None:
    """The second try meets a token that is spent: authorize again, without showing it."""
    vault.keep(PAIR)
    with scripted(answering(None, INVALID)) as server, pytest.raises(TokenLost, match="used before: ") as caught:
        ask(vault, server.url)
    assert len(server.asked) == 2
    assert isinstance(vault.read(), Lost)
    assert "old-refresh-token" not in str(caught.value) + repr(vault.read())


@pytest.mark.parametrize("answer", [reply(503), reply(429), None])
def test_a_token_address_in_trouble_loses_nothing(vault: StoredVault, answer: bytes | None) -> None:
    """Trouble is waited out; when patience ends, the pair is still in the vault for a later run."""
    vault.keep(PAIR)
    with scripted(answering(answer, answer, answer, FRESH)) as server:
        ask(vault, server.url)
    vault.keep(PAIR)
    with scripted(answering(answer)) as server, pytest.raises(RetryableApiError, match="access token could be had"):
        ask(vault, server.url)
    assert vault.read() == PAIR


def test_a_wrong_client_secret_loses_nothing(vault: StoredVault) -> None:
    """The client is at fault, not the consent: correct the setting and continue."""
    vault.keep(PAIR)
    answer = reply(401, {"error": "invalid_client"})
    with scripted(answering(answer)) as server, pytest.raises(FatalApiError, match="SNAPSHOTS_CLIENT_SECRET"):
        ask(vault, server.url)
    assert vault.read() == PAIR


def test_a_server_that_keeps_the_refresh_token(vault: StoredVault) -> None:
    """No new refresh token and no scope in the answer: both stay unchanged."""
    vault.keep(PAIR)
    with scripted(answering(reply(200, {"access_token": "new"}))) as server:
        ask(vault, server.url)
    held = vault.read()
    assert isinstance(held, Tokens)
    assert (held.access_token, held.refresh_token, held.scope) == ("new", "old-refresh-token", "users.read")


def test_a_database_that_restarts_does_not_lose_the_new_pair(
    vault: StoredVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only copy of it is in this process: it is stored as soon as the database answers again, and used."""
    vault.keep(PAIR)
    save, failures = StoredVault.save, [StoreError("the database is starting up")] * 3

    async def restarting(vault: StoredVault, tokens: Tokens) -> None:
        if failures:
            raise failures.pop()
        await save(vault, tokens)

    monkeypatch.setattr(StoredVault, "save", restarting)
    monkeypatch.setattr(oauth, "SAVE_PAUSE", 0.0)
    with scripted(answering(FRESH, INVALID)) as server:
        ask(vault, server.url)
    held = vault.read()
    assert failures == []
    assert isinstance(held, Tokens)
    assert held.refresh_token == "new-refresh-token"


@pytest.mark.parametrize("meanwhile", ["authorized again", "disconnected"])
def test_what_a_person_did_while_the_database_restarted_stays(
    vault: StoredVault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    """The lock of the renewal was released with the database's connections."""
    vault.keep(PAIR)
    save, newer, failures = StoredVault.save, replace(PAIR, access_token="newer", expires_at=unix_time() + 3600), [1]

    async def restarting(vault: StoredVault, tokens: Tokens) -> None:
        if failures:
            failures.clear()
            if meanwhile == "disconnected":
                with closing(open_store(f"sqlite:///{tmp_path / 'store.db'}")) as store:
                    credentials.remove(store, PLACE, NAME)
            else:
                await save(vault, newer)
            raise StoreError("the database is starting up")
        await save(vault, tokens)

    monkeypatch.setattr(StoredVault, "save", restarting)
    monkeypatch.setattr(oauth, "SAVE_PAUSE", 0.0)
    with scripted(answering(FRESH, INVALID)) as server:
        if meanwhile == "disconnected":
            with pytest.raises(TokenLost, match="consent has not been given yet"):
                ask(vault, server.url)
        else:
            ask(vault, server.url)
            assert server.asked[-1].headers["authorization"] == "Bearer newer"
    assert vault.read() == (newer if meanwhile == "authorized again" else None)


def test_a_pair_that_another_process_has_renewed_is_not_given_up(vault: StoredVault) -> None:
    """Our lock was lost: the token that we sent was spent by then."""
    vault.keep(PAIR)
    newer = replace(PAIR, access_token="newer", refresh_token="newer-refresh", expires_at=unix_time() + 3600)

    def script(asked: Asked) -> bytes:
        if asked.path != "/oauth/token":
            return RECORD
        run(vault.save(newer))
        return INVALID

    with scripted(script) as server:
        ask(vault, server.url)
    assert vault.read() == newer


def test_a_cancelled_request_does_not_lose_the_new_pair(vault: StoredVault) -> None:
    """Cancelled between answer and vault: the pair is stored before the caller is let go."""
    vault.keep(PAIR)
    work: list[asyncio.Task[object]] = []

    def script(_: Asked) -> bytes:
        work[0].get_loop().call_soon_threadsafe(work[0].cancel)
        return FRESH

    async def start() -> None:
        async with client_of(vault, server.url) as client:
            work.append(asyncio.ensure_future(client.get("users", "u")))
            with pytest.raises(asyncio.CancelledError):
                await work[0]

    with scripted(script) as server:
        run(start())
    held = vault.read()
    assert isinstance(held, Tokens)
    assert held.refresh_token == "new-refresh-token"
    assert len(server.asked) == 1


def test_ctrl_c_in_a_session_does_not_lose_the_new_pair(vault: StoredVault) -> None:
    """As the stages call it, from another thread: what they gave up is stored before the loop ends."""
    vault.keep(PAIR)
    started = Event()
    futures: list[Future[Any]] = []

    def script(_: Asked) -> bytes:
        assert started.wait(20)
        futures[0].cancel()
        return FRESH

    with scripted(script) as server, start_blocking_portal() as portal:
        client = client_of(vault, server.url)
        futures.append(portal.start_task_soon(client.get, "users", "u"))
        started.set()
        with pytest.raises(CancelledError):
            futures[0].result()
        portal.call(client.aclose)
    held = vault.read()
    assert isinstance(held, Tokens)
    assert held.refresh_token == "new-refresh-token"
    assert len(server.asked) == 1


def test_a_missing_scope_is_named(sandbox: Running, vault: StoredVault) -> None:
    """403 is about the scope, not about the token: nothing is renewed."""
    vault.keep(authorized(sandbox))
    control(sandbox, "stats/reset")

    async def work() -> None:
        async with client_of(vault, sandbox.snapshots) as client:
            await client.probe("projects")

    with pytest.raises(FatalApiError, match=r"the scope projects\.read is missing\. Grant projects\.read"):
        run(work())
    assert token_requests(sandbox) == 0


def test_tokens_are_nowhere_to_be_seen(vault: StoredVault, caplog: pytest.LogCaptureFixture) -> None:
    """A server that echoes every secret: neither message, repr, log nor database shows one."""
    caplog.set_level(logging.DEBUG)
    vault.keep(PAIR)
    echo = "old-access-token old-refresh-token new-access-token new-refresh-token sandbox-secret"
    record = reply(403, {"code": "insufficient_scope", "detail": echo, "required_scope": echo})
    with scripted(answering(FRESH, record=record)) as server, pytest.raises(FatalApiError) as caught:
        ask(vault, server.url)
    vault.keep(PAIR)
    known = echo.replace("new-access-token new-refresh-token ", "")
    spent = reply(400, {"error": "invalid_grant", "error_description": known})
    with scripted(in_turn(spent)) as server, pytest.raises(FatalApiError) as lost:
        ask(vault, server.url)
    shown = [str(caught.value), repr(caught.value.request), str(lost.value), repr(lost.value), repr(vault.read())]
    shown += [caplog.text, repr(replace(CLIENT, vault=vault)), repr(CLIENT.endpoint(facts(), "http://x"))]
    for secret in ("old-access-token", "new-access-token", "old-refresh-token", "new-refresh-token", "sandbox-secret"):
        assert not [text for text in shown if secret in text], secret
