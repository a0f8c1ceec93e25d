"""Keys that are being replaced, on both systems: the old one takes over while the new one is rejected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sync_pipeline.connectors.clockify.account import Account
from sync_pipeline.connectors.clockify.api import Clockify
from sync_pipeline.connectors.snapshots.api import Credentials
from sync_pipeline.errors import ConfigError, FatalApiError
from sync_pipeline.sandbox.server import Running
from sync_pipeline_tests.connectors.at_sandbox import OWNER_KEY, SNAPSHOTS_KEY, control
from sync_pipeline_tests.connectors.clients import options, run, snapshots

ADDON_TOKEN = "sandbox-clockify-addon-token"
NEW_KEY = "a-key-that-is-not-known-yet"
Told = Callable[[], None]


def account(sandbox: Running, **keys: Any) -> Account:
    """The sandbox's workspace, with some keys."""
    return Account(
        workspace=sandbox.workspace, base_url=sandbox.clockify, reports_url=sandbox.reports, plan="paid", **keys
    )


def clockify(sandbox: Running, on_fallback: Told | None = None, **keys: str) -> Clockify:
    """A client with some keys."""
    return Clockify(account(sandbox, **keys), options(on_fallback=on_fallback))


def test_clockify_falls_back_for_good(shared_sandbox: Running) -> None:
    """The rejected key is tried once for each request under way, then no more; the user gets one message."""
    reported: list[str] = []

    async def work() -> dict[str, int]:
        async with clockify(
            shared_sandbox, lambda: reported.append("old"), api_key=NEW_KEY, fallback=OWNER_KEY
        ) as client:
            await client.me()
            await asyncio.gather(client.me(), client.workspace(), client.prove_admin())
            return dict(client.requests)

    assert run(work()) == {"GET /user": 3, "GET /workspaces/{workspace}": 1, "GET /workspaces/{workspace}/users": 1}
    assert reported == ["old"]


def test_snapshots_falls_back_for_good(sandbox: Running) -> None:
    """A revoked key, a batch: it is delivered once, with the other key."""
    reported: list[str] = []
    control(sandbox, "snapshots", keys={NEW_KEY: "revoked"})
    keys = Credentials(api_key=NEW_KEY, fallback=SNAPSHOTS_KEY)

    async def work() -> None:
        async with snapshots(sandbox.snapshots, credentials=keys, on_fallback=lambda: reported.append("old")) as client:
            outcomes = await client.upsert("users", [{"user_id": "u1", "email": "a@x.test", "role": "MEMBER"}])
            assert [outcome.ok for outcome in outcomes] == [True]
            await client.get("users", "u1")

    run(work())
    assert reported == ["old"]
    assert dict(sandbox.world.stats.requests) == {
        "POST /snapshots/users/batch": 2,
        "GET /snapshots/users/{id}": 1,
    }
    assert dict(sandbox.world.stats.writes) == {"users": 1}


def test_the_new_key_is_used_while_it_works(sandbox: Running) -> None:
    """No one is notified; the old key may be retired meanwhile."""
    control(sandbox, "snapshots", keys={NEW_KEY: "valid", SNAPSHOTS_KEY: "expired"})
    keys = Credentials(api_key=NEW_KEY, fallback=SNAPSHOTS_KEY)

    async def work() -> None:
        async with snapshots(sandbox.snapshots, credentials=keys, on_fallback=pytest.fail) as client:
            assert await client.get("users", "u1") is None

    run(work())


@pytest.mark.parametrize(("state", "says"), [("revoked", "this key was revoked"), ("expired", "this key has expired")])
def test_both_keys_rejected(sandbox: Running, state: str, says: str) -> None:
    """The usual message, which names neither of them; nothing reports that the fallback is in use."""
    control(sandbox, "snapshots", keys={NEW_KEY: state, SNAPSHOTS_KEY: state})
    keys = Credentials(api_key=NEW_KEY, fallback=SNAPSHOTS_KEY)

    async def work() -> None:
        async with snapshots(sandbox.snapshots, credentials=keys, on_fallback=pytest.fail) as client:
            await client.get("users", "u1")

    with pytest.raises(FatalApiError, match=f"{says}. Put a new key into SNAPSHOTS_API_KEY") as caught:
        run(work())
    assert not [key for key in (NEW_KEY, SNAPSHOTS_KEY) if key in str(caught.value) + repr(keys)]


def test_both_clockify_keys_rejected(shared_sandbox: Running) -> None:
    """The usual message, once for the request."""

    async def work() -> None:
        async with clockify(shared_sandbox, pytest.fail, api_key=NEW_KEY, fallback="another-wrong-key") as client:
            await client.me()

    with pytest.raises(FatalApiError, match=r"401/4003: this API key does not exist\. Check CLOCKIFY_API_KEY\."):
        run(work())


def test_an_addon_token_instead_of_a_key(shared_sandbox: Running) -> None:
    """It travels in its own header and reads what an add-on may."""

    async def work() -> None:
        async with clockify(shared_sandbox, addon_token=ADDON_TOKEN) as client:
            await client.prove_admin()

    run(work())


def test_a_wrong_addon_token_is_named(shared_sandbox: Running) -> None:
    """The setting in the message is that of the token; the token is not shown."""

    async def work() -> None:
        async with clockify(shared_sandbox, addon_token="not-a-token") as client:
            await client.me()

    with pytest.raises(FatalApiError, match=r"this add-on token is not valid\. Check CLOCKIFY_ADDON_TOKEN") as caught:
        run(work())
    assert "not-a-token" not in str(caught.value) + repr(account(shared_sandbox, addon_token="not-a-token"))


def test_an_addon_token_has_a_fallback_too(shared_sandbox: Running) -> None:
    """Tokens are replaced like keys."""
    reported: list[str] = []

    async def work() -> None:
        tokens = {"addon_token": "not-a-token", "fallback": ADDON_TOKEN}
        async with clockify(shared_sandbox, lambda: reported.append("old"), **tokens) as client:
            await client.workspace()

    run(work())
    assert reported == ["old"]


def test_key_and_token_together_are_refused(shared_sandbox: Running) -> None:
    """Clockify refuses both together, so this is reported before anything is sent; a missing one is named by its setting."""
    with pytest.raises(ConfigError, match="CLOCKIFY_API_KEY and CLOCKIFY_ADDON_TOKEN are both set"):
        clockify(shared_sandbox, api_key=OWNER_KEY, addon_token=ADDON_TOKEN)
    with pytest.raises(ConfigError, match="CLOCKIFY_API_KEY is empty"):
        clockify(shared_sandbox)
