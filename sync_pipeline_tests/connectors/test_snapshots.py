"""The Snapshots API by its generic profile, on the sandbox and on servers that misbehave."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sync_pipeline.connectors.ports import Outcome
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.connectors.snapshots.api import Credentials, Snapshots
from sync_pipeline.connectors.snapshots.source import SnapshotsSource
from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import FatalApiError
from sync_pipeline.sandbox.server import Running
from sync_pipeline_tests.connectors.at_sandbox import control, rows, snapshots_at
from sync_pipeline_tests.connectors.clients import KEY, options, run, snapshots
from sync_pipeline_tests.connectors.scripted import Asked, in_turn, reply, scripted


def user(number: int, **changes: Any) -> dict[str, Any]:
    """A user as sent."""
    return {"user_id": f"u{number:04}", "email": f"u{number}@x.test", "role": "MEMBER"} | changes


def test_batches_merge_and_report_each_record(sandbox: Running) -> None:
    """More records than a batch holds: one outcome each, in order; refused ones with the reason; absent fields are kept."""

    async def work() -> None:
        async with snapshots_at(sandbox) as client:
            sent = [user(n) for n in range(1001)] + [user(7777, email="nonsense")]
            outcomes = await client.upsert("users", sent)
            assert outcomes[:-1] == [Outcome(True, row["user_id"]) for row in sent[:-1]]
            assert (outcomes[-1].ok, outcomes[-1].id, outcomes[-1].code, outcomes[-1].field) == (
                False,
                "u7777",
                "invalid_email",
                "email",
            )
            assert client.requests == {"POST /users/batch": 3}
            await client.upsert("users", [{"user_id": "u0001", "role": "OWNER"}])
            found = await client.get("users", "u0001")
            assert found is not None
            assert (found["email"], found["role"]) == ("u1@x.test", "OWNER")
            assert await client.upsert("users", []) == []
            assert len(await rows(client.read("users"))) == 1001

    run(work())


def test_records_are_read_and_deleted(sandbox: Running) -> None:
    """A deleted record is no longer found; deleting it again is no error; one that never existed is None."""

    async def work() -> None:
        async with snapshots_at(sandbox) as client:
            await client.upsert("users", [user(1)])
            await client.delete("users", "u0001")
            await client.delete("users", "u0001")
            assert await client.get("users", "u0001") is None

    run(work())


def test_a_window_limits_the_list(shared_sandbox: Running) -> None:
    """Entries are limited by their start, the window's start included and its end not."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    entries = [
        {
            "time_entry_id": f"e{n}",
            "start_time": (start + timedelta(hours=n)).isoformat(),
            "end_time": (start + timedelta(hours=n, minutes=5)).isoformat(),
        }
        for n in range(10)
    ]

    async def work() -> list[str]:
        async with snapshots_at(shared_sandbox, page_size=2) as client:
            assert all(outcome.ok for outcome in await client.upsert("time_entries", entries))
            window = Window(start + timedelta(hours=2), start + timedelta(hours=7))
            return [row["time_entry_id"] for row in await rows(client.read("time_entries", window))]

    assert sorted(run(work())) == ["e2", "e3", "e4", "e5", "e6"]


def test_an_invented_entity_needs_no_facts(sandbox: Running) -> None:
    """An entity that no file of ours names is read, written and deleted by the profile's patterns."""
    control(sandbox, "entities", entity="tags", id_field="tag_id")

    async def work() -> None:
        async with snapshots_at(sandbox) as client:
            assert await client.upsert("tags", [{"tag_id": "t1", "name": "x"}]) == [Outcome(True, "t1")]
            assert [row["tag_id"] for row in await rows(client.read("tags"))] == ["t1"]
            await client.delete("tags", "t1")

    run(work())


def test_locations_are_a_source(shared_sandbox: Running) -> None:
    """The account serves as the source of one entity, with the reads a source has."""

    async def work() -> None:
        async with snapshots_at(shared_sandbox) as client:
            source = SnapshotsSource(client, "locations")
            found = await rows(source.read())
            assert await source.fetch(found[0]["location_id"]) == found[0]
            assert await source.fetch("nowhere") is None
            assert client.requests["GET /locations"] == 1

    run(work())


@pytest.mark.parametrize(
    ("key", "act", "says"),
    [
        ("wrong", "read", "SNAPSHOTS_API_KEY"),
        ("sandbox-snapshots-users-write-key", "read", "the scope saas/location.read is missing"),
        ("sandbox-snapshots-read-only-key", "write", "Grant users.write to the key or token in SNAPSHOTS_API_KEY"),
    ],
)
def test_refusals_name_the_fix(shared_sandbox: Running, key: str, act: str, says: str) -> None:
    """A wrong key names the setting, a missing scope names the scope; neither counts as a rejected record."""

    async def work() -> None:
        async with snapshots_at(shared_sandbox, key=key) as client:
            if act == "read":
                await client.probe("locations")
            else:
                await client.upsert("users", [user(1), user(2)])

    with pytest.raises(FatalApiError) as caught:
        run(work())
    assert says in str(caught.value)
    assert "request " in str(caught.value)


def test_oauth_works_on_the_sandbox(sandbox: Running) -> None:
    """Client credentials: a token is fetched, and replaced when it ends while we work."""

    async def work() -> None:
        credentials = Credentials(client_id="sandbox-client", client_secret="sandbox-secret")
        async with Snapshots(load_profile(), sandbox.snapshots, credentials, options()) as client:
            await client.upsert("users", [user(1)])
            control(sandbox, "clock", advance=7200)
            assert await client.get("users", "u0001")
            assert client.requests["POST /snapshots/oauth/token"] == 2

    run(work())


def test_faults_do_not_double_or_lose(sandbox: Running) -> None:
    """Batches cut off before or after they were carried out are sent again; all records are there once."""
    control(sandbox, "faults", kind="cut_after", route="POST /snapshots/*", rate=0.3, seed=1)
    control(sandbox, "faults", kind="status", status=500, route="POST /snapshots/*", rate=0.3, seed=2)
    control(sandbox, "faults", kind="duplicate_page", route="GET /snapshots/*", rate=0.3, seed=3)

    async def work() -> None:
        async with snapshots_at(sandbox, page_size=50) as client:
            for start in range(0, 400, 50):
                assert all(outcome.ok for outcome in await client.upsert("users", [user(start + n) for n in range(50)]))
            found = await rows(client.read("users"))
            assert sorted(row["user_id"] for row in found) == [f"u{n:04}" for n in range(400)]

    run(work())


def test_a_refusal_repeats_no_secret() -> None:
    """Whatever part of it repeats the key; where it is cut off, no half of the key is left."""
    said = {"detail": "." * 190 + KEY, "code": "." * 70 + KEY, "field": KEY}
    answer = {"results": [{"id": "u0001", "status": "refused", "error": said}]}
    with scripted(lambda _: reply(200, answer)) as server:

        async def work() -> list[Outcome]:
            async with snapshots(server.url) as client:
                return await client.upsert("users", [user(1)])

        (outcome,) = run(work())
    assert not outcome.ok
    assert KEY[:4] not in str(outcome)
    assert outcome.field == "***"


def test_a_batch_refused_as_a_whole_is_halved() -> None:
    """When the whole batch is refused for one record, the others are delivered anyway."""

    def script(asked: Asked) -> bytes:
        items = asked.json["items"]
        if any(item["email"] == "bad" for item in items):
            return reply(422, {"code": "validation_failed", "detail": "bad e-mail", "status": 422})
        return reply(200, {"results": [{"id": item["user_id"], "status": "created"} for item in items]})

    with scripted(script) as server:

        async def work() -> list[Outcome]:
            async with snapshots(server.url) as client:
                return await client.upsert("users", [user(n, email="bad" if n == 5 else "a@b.test") for n in range(8)])

        outcomes = run(work())
    assert [outcome.ok for outcome in outcomes] == [n != 5 for n in range(8)]
    assert outcomes[5] == Outcome(False, "u0005", "bad e-mail", "validation_failed")


@pytest.mark.parametrize(
    "data",
    [
        {"results": []},
        {"results": [1]},
        {"results": [{"id": "u0001", "status": "queued"}]},
        {"results": [{"id": "u0001"}]},
        {"results": [{"id": "u0002", "status": "created"}]},
        {},
        [],
        "x",
    ],
)
def test_an_answer_that_does_not_fit_the_batch_is_an_error(data: Any) -> None:
    """Without one result for each record nothing is trusted."""
    with scripted(in_turn(reply(200, data))) as server:

        async def work() -> None:
            async with snapshots(server.url) as client:
                await client.upsert("users", [user(1)])

        with pytest.raises(FatalApiError):
            run(work())


def test_an_unknown_entity_is_not_deleted(shared_sandbox: Running) -> None:
    """404 for the whole entity never looks like a deleted record."""

    async def work() -> None:
        async with snapshots_at(shared_sandbox) as client:
            await client.get("unicorns", "u1")

    with pytest.raises(FatalApiError, match="does not have that entity"):
        run(work())


def test_credentials_show_no_secret() -> None:
    """Secrets are in no repr."""
    assert KEY not in repr(Credentials(api_key=KEY, client_id="c", client_secret=KEY))
