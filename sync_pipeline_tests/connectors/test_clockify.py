"""Clockify: lists, reads by id, clients as a target, and the messages about wrong settings."""

from __future__ import annotations

from typing import Any

import pytest

from sync_pipeline.connectors.clockify.account import Account
from sync_pipeline.connectors.clockify.api import Clockify
from sync_pipeline.connectors.clockify.source import ClockifySource
from sync_pipeline.connectors.http import ClientOptions
from sync_pipeline.connectors.limiter import memory_limiter
from sync_pipeline.errors import AmbiguousWrite, ConfigError, FatalApiError, RejectedRecord, SyncError
from sync_pipeline.sandbox.server import Running
from sync_pipeline_tests.connectors.at_sandbox import (
    ENTRIES,
    PROJECTS,
    USERS,
    clients_of,
    clockify_at,
    control,
    rows,
    snapshots_at,
)
from sync_pipeline_tests.connectors.clients import KEY, Time, clockify, run
from sync_pipeline_tests.connectors.scripted import in_turn, reply, scripted


@pytest.mark.parametrize("page_size", [1, 3, 200])
def test_lists_are_complete(shared_sandbox: Running, page_size: int) -> None:
    """A list holds every record once, whatever the page size."""

    async def work() -> None:
        async with clockify_at(shared_sandbox, page_size=page_size) as client:
            users = await rows(ClockifySource(client, USERS).read())
            assert len({user["id"] for user in users}) == len(users) == 8
            assert client.requests == {"GET /workspaces/{workspace}/users": 2 * -(-8 // page_size) - 1}

    run(work())


def test_a_read_by_id_has_the_form_of_the_list(shared_sandbox: Running) -> None:
    """A project read by its id is the project of the list; a deleted id gives None."""

    async def work() -> None:
        async with clockify_at(shared_sandbox) as client:
            project = (await rows(ClockifySource(client, PROJECTS).read()))[0]
            assert await ClockifySource(client, PROJECTS).fetch(project["id"]) == project
            for source in (PROJECTS, ENTRIES):
                assert await ClockifySource(client, source).fetch("0" * 24) is None

    run(work())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"key": "wrong-key"}, "this API key does not exist. Check CLOCKIFY_API_KEY"),
        ({"key": "sandbox-clockify-member-key"}, "CLOCKIFY_API_KEY must be the key of a workspace admin"),
        ({"workspace": "64a687e28ac4aff5890fb3b9"}, "Check CLOCKIFY_WORKSPACE_ID (64a687e28ac4aff5890fb3b9)"),
    ],
    ids=["unknown key", "member", "unknown workspace"],
)
def test_wrong_settings_are_named(shared_sandbox: Running, options: dict[str, Any], says: str) -> None:
    """Wrong key, key of a non-admin, unknown workspace: the error names what to fix, immediately."""

    async def work() -> None:
        async with clockify_at(shared_sandbox, **options) as client:
            await rows(ClockifySource(client, USERS).read())

    with pytest.raises(FatalApiError) as caught:
        run(work())
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        reply(404),
        reply(404, {"code": 3000, "message": "No static resource"}),
        reply(401, {"code": 4003, "message": "no"}),
        reply(403, {"code": 501, "message": "no"}),
        reply(404, body=b"<html></html>", kind="text/html"),
        reply(200, [1]),
    ],
)
def test_trouble_never_looks_like_a_deletion(answer: bytes) -> None:
    """Unknown workspace, wrong address, wrong key, a web page: none of them means that a record is deleted."""
    with scripted(in_turn(answer)) as server:

        async def work() -> None:
            async with clockify(server.url) as client:
                await ClockifySource(client, ENTRIES).fetch("e1")

        with pytest.raises(FatalApiError):
            run(work())


def test_a_list_that_is_none_names_the_base_url() -> None:
    """JSON that is no list means another API."""
    with scripted(in_turn(reply(200, {"hello": "world"}))) as server:

        async def work() -> None:
            async with clockify(server.url) as client:
                await rows(ClockifySource(client, USERS).read())

        with pytest.raises(FatalApiError, match=r"holds no list.*Check the base URL"):
            run(work())


def test_a_page_of_far_too_many_rows_is_refused() -> None:
    """A list in one page is accepted, but not without a limit."""
    with scripted(in_turn(reply(200, [{"id": f"u{number}"} for number in range(10_001)]))) as server:

        async def work() -> None:
            async with clockify(server.url) as client:
                await rows(ClockifySource(client, USERS).read())

        with pytest.raises(FatalApiError, match=r"/users: the answer holds 10,001 rows where 200 were asked for"):
            run(work())


def test_clients_are_created_changed_and_deleted(shared_sandbox: Running) -> None:
    """A client is created with all its fields, changed without losing what a person typed, archived and deleted."""

    async def work() -> None:
        async with clockify_at(shared_sandbox) as client:
            before = len(await clients_of(client).find([]))
            made = await clients_of(client).create(
                {"name": "Zürich №1", "address": "Platz 1", "note": None, "archived": False}
            )
            person = {"ccEmails": ["a@b.test"], "email": "boss@b.test"}
            await clients_of(client).update(made["id"], person)
            changed = await clients_of(client).update(made["id"], {"name": "Zürich №2", "address": None})
            assert changed is not None
            assert (changed["name"], changed["address"], changed["archived"]) == ("Zürich №2", None, False)
            assert {key: changed[key] for key in person} == person
            assert changed["currencyId"] == made["currencyId"]
            await clients_of(client).update(made["id"], {"archived": True})
            assert made["id"] in {each["id"] for each in await clients_of(client).find([])}
            await clients_of(client).remove(made["id"])
            assert await clients_of(client).get(made["id"]) is None
            assert await clients_of(client).update(made["id"], {"name": "x"}) is None
            await clients_of(client).remove(made["id"])
            assert len(await clients_of(client).find([])) == before

    run(work())


def test_a_client_can_be_created_archived(shared_sandbox: Running) -> None:
    """Fields that creation drops are written by an update immediately afterwards."""

    async def work() -> None:
        async with clockify_at(shared_sandbox) as client:
            assert (await clients_of(client).create({"name": "Old site", "archived": True}))["archived"] is True

    run(work())


def test_a_taken_name_is_a_reject(shared_sandbox: Running) -> None:
    """A name that exists, archived ones included, is refused for that record alone, on create and on update."""

    async def work() -> None:
        async with clockify_at(shared_sandbox) as client:
            one = await clients_of(client).create({"name": "One", "archived": True})
            two = await clients_of(client).create({"name": "Two"})
            for attempt in (
                clients_of(client).create({"name": "One"}),
                clients_of(client).update(two["id"], {"name": one["name"]}),
            ):
                with pytest.raises(RejectedRecord) as caught:
                    await attempt
                assert (caught.value.request.status, caught.value.request.code) == (400, "501")
                assert "already exists" in str(caught.value)

    run(work())


@pytest.mark.parametrize(("kind", "exists"), [("cut_before", False), ("cut_after", True)])
def test_a_doubtful_creation_is_not_repeated(sandbox: Running, kind: str, exists: bool) -> None:
    """A creation whose answer was lost is reported as doubtful, whether or not it was carried out."""
    control(sandbox, "faults", kind=kind, route="POST /clockify/api/v1/workspaces/*", count=1)

    async def work() -> list[str]:
        async with clockify_at(sandbox) as client:
            with pytest.raises(AmbiguousWrite):
                await clients_of(client).create({"name": "Perhaps"})
            return [each["name"] for each in await clients_of(client).find([]) if each["name"] == "Perhaps"]

    assert run(work()) == ["Perhaps"] * exists


def test_a_lost_answer_to_a_delete_is_no_error(sandbox: Running) -> None:
    """When the first delete arrived and its answer did not, the second one's refusal means success."""

    async def work() -> None:
        async with clockify_at(sandbox) as client:
            made = await clients_of(client).create({"name": "Going"})
            control(sandbox, "faults", kind="cut_after", route="DELETE /clockify/*", count=1)
            await clients_of(client).remove(made["id"])
            assert await clients_of(client).get(made["id"]) is None

    run(work())


def test_faults_everywhere_change_nothing(sandbox: Running) -> None:
    """With a fifth of all answers spoiled in one way or another, every list is still complete."""
    for number, kind in enumerate(("status", "truncated_json", "cut_before", "cut_after")):
        control(sandbox, "faults", kind=kind, status=503, route="GET /*", rate=0.06, seed=number)

    async def work() -> None:
        async with clockify_at(sandbox, page_size=2) as client, snapshots_at(sandbox, page_size=2) as other:
            for _ in range(5):
                assert len(await rows(ClockifySource(client, USERS).read())) == 8
                assert len(await rows(other.read("locations"))) == 5

    run(work())
    assert sandbox.world.stats.requests


def test_a_spent_hour_is_waited_for_and_announced() -> None:
    """On the Free plan a 429 that names no time is retried minutes later, and the user sees when."""
    time, said = Time(), list[str]()
    with scripted(in_turn(reply(429), reply(429), reply(200, {"id": "me"}))) as server:

        async def work() -> None:
            account = Account(api_key=KEY, workspace="w", base_url=server.url, reports_url=server.url, plan="free")
            limiter = memory_limiter(now=time.now, sleep=time.sleep)
            options = ClientOptions(limiter=limiter, on_wait=said.append, sleep=time.sleep, now=time.now)
            async with Clockify(account, options) as client:
                assert (await client.me())["id"] == "me"

        run(work())
    assert all(150 <= wait <= 900 for wait in time.slept)
    assert len(said) == 2
    assert "too many requests. Next try at" in said[0]


@pytest.mark.parametrize(
    ("change", "error"),
    [({"api_key": ""}, ConfigError), ({"base_url": "clockify"}, ConfigError), ({"reports_url": "x"}, ConfigError)],
)
def test_impossible_accounts_are_refused(change: dict[str, str], error: type[SyncError]) -> None:
    """What cannot work is refused before any request, naming the setting."""
    account: dict[str, Any] = {"api_key": KEY, "workspace": "w"} | change
    with pytest.raises(error, match="CLOCKIFY_"):
        Clockify(Account(**account), ClientOptions(limiter=memory_limiter()))


def test_an_account_shows_no_key() -> None:
    """The key is in no repr."""
    assert KEY not in repr(Account(api_key=KEY, workspace="w"))
