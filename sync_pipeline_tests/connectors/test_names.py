"""Entries are the same whichever reader gave them, although no two answers hold the same names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sync_pipeline.connectors.clockify.canonical import from_list, from_report
from sync_pipeline.connectors.clockify.entries import IN_PROGRESS
from sync_pipeline.connectors.clockify.names import CLIENT, CLIENT_OF, MOST_KEPT, PROJECT, TAG, TASK, USER, Key, Names
from sync_pipeline.connectors.clockify.source import ClockifySource
from sync_pipeline.connectors.window import Window
from sync_pipeline.sandbox.server import Running
from sync_pipeline_tests.connectors.at_sandbox import ENTRIES, PROJECTS, USERS, canonical, clockify_at, rows
from sync_pipeline_tests.connectors.clients import Time, clockify, run
from sync_pipeline_tests.connectors.scripted import reply, scripted

pytestmark = pytest.mark.clock


@dataclass
class Shelf:
    """Names that outlive a client, and how often they were written."""

    known: dict[Key, str] = field(default_factory=dict)
    saves: int = 0
    loads: int = 0

    def load(self, keys: Collection[Key]) -> Mapping[Key, str]:
        """What is known of these."""
        self.loads += 1
        return {key: self.known[key] for key in keys if key in self.known}

    def save(self, found: Mapping[Key, str]) -> None:
        """Keep names."""
        self.saves += 1
        self.known |= found


def window(sandbox: Running) -> Window:
    """Everything that is seeded, and what runs."""
    now = sandbox.world.clock.now()
    return Window(now - timedelta(days=60), now + timedelta(days=2))


def test_reads_by_id_and_running_entries_are_the_same_as_listed_ones(shared_sandbox: Running) -> None:
    """A user that is null, ids without names: both are filled in from the store, and nothing is asked for."""
    shelf = Shelf()

    async def work() -> None:
        async with clockify_at(shared_sandbox, reader="report", names=shelf) as client:
            listed = canonical(await rows(ClockifySource(client, ENTRIES).read(window(shared_sandbox))))
        async with clockify_at(shared_sandbox, reader="users", names=shelf) as client:
            assert canonical(await rows(ClockifySource(client, ENTRIES).read(window(shared_sandbox)))) == listed
        async with clockify_at(shared_sandbox, names=shelf) as client:
            chosen = [*listed][::9]
            found = [await ClockifySource(client, ENTRIES).fetch(entry) for entry in chosen]
            assert canonical([entry for entry in found if entry]) == {entry: listed[entry] for entry in chosen}
            assert client.requests.total() == len(chosen)
            pages = client.entries().read(window(shared_sandbox), "users", users=())
            running = [entry async for page in pages for entry in page]
            assert running
            assert canonical(running).items() <= listed.items()
            assert client.requests.total() == len(chosen) + 1
            answer = await client.core.request("GET", IN_PROGRESS, ids=client.ids())
            bare = [from_list(row, client.account.workspace, {}) for row in answer.data]
            assert [entry["id"] for entry in bare] == [entry["id"] for entry in running]
            assert [entry["userName"] for entry in bare] == [None] * len(running)

    run(work())
    assert {kind for kind, _ in shelf.known} == {USER, PROJECT, CLIENT, TASK, TAG, CLIENT_OF}


def test_running_entries_are_not_asked_for_with_a_parameter_they_do_not_have() -> None:
    """``hydrated`` is no parameter of their list."""
    with scripted(lambda asked: reply(200, [] if "progress" in asked.path else {"timeentries": []})) as server:

        async def work() -> None:
            time = Time()
            at = datetime.fromtimestamp(time.now(), UTC)
            async with clockify(server.url, time, reader="report") as client:
                await rows(ClockifySource(client, ENTRIES).read(Window(at - timedelta(days=1), at + timedelta(days=1))))

        run(work())
    [path] = [asked.path for asked in server.asked if "in-progress" in asked.path]
    assert set(parse_qs(urlsplit(path).query)) == {"page", "page-size"}


def test_what_is_known_is_neither_looked_up_nor_written_again(sandbox: Running) -> None:
    """A second read of unchanged entries makes no use of the store."""
    shelf = Shelf()

    async def work() -> None:
        async with clockify_at(sandbox, reader="report", page_size=50, names=shelf) as client:
            await rows(ClockifySource(client, ENTRIES).read(window(sandbox)))
            before = (shelf.saves, shelf.loads)
            await rows(ClockifySource(client, ENTRIES).read(window(sandbox)))
            assert (shelf.saves, shelf.loads) == before

    run(work())
    assert shelf.saves > 0


def test_lists_and_records_bring_names_too(sandbox: Running) -> None:
    """A user renamed since, a project that lost its client: the next entry has what was read last."""
    shelf = Shelf()

    async def work() -> None:
        async with clockify_at(sandbox, reader="report", names=shelf) as client:
            await rows(ClockifySource(client, ENTRIES).read(window(sandbox)))
            core, ids = client.core, {"workspace": sandbox.workspace}
            listed = await rows(ClockifySource(client, ENTRIES).read(window(sandbox)))
            entry = next(entry for entry in listed if entry["clientId"])
            sandbox.world.db.execute("UPDATE users SET name = 'Renamed' WHERE id = ?", (entry["userId"],))
            project = ids | {"id": entry["projectId"]}
            body = {"name": "Other", "clientId": ""}
            await core.request("PUT", "/workspaces/{workspace}/projects/{id}", ids=project, json=body)
            await rows(ClockifySource(client, USERS).read())
            await ClockifySource(client, PROJECTS).fetch(entry["projectId"])
        async with clockify_at(sandbox, names=shelf) as client:
            found = await ClockifySource(client, ENTRIES).fetch(entry["id"])
        assert found is not None
        named = [found[name] for name in ("userName", "projectName", "clientId", "clientName")]
        assert named == ["Renamed", "Other", None, None]
        assert shelf.known[CLIENT_OF, entry["projectId"]] == ""

    run(work())


def test_what_makes_no_sense_is_left_alone() -> None:
    """Ids and names of other types than texts are passed on; memory stays bounded."""
    shelf = Shelf()
    odd: list[Any] = [
        {
            "_id": "a",
            "userId": ["u"],
            "userName": "Ann",
            "projectId": {},
            "projectName": 7,
            "taskId": 5,
            "taskName": [],
        },
        {"_id": "b", "tags": [{"_id": ["t"], "name": "x"}, {"_id": None, "name": None}]},
        {"_id": "c", "userId": "", "userName": None, "clientId": 3, "clientName": None},
    ]
    entries = [from_report(row, "w") for row in odd]
    before = canonical(entries)
    names = Names(shelf)

    run(names.complete(entries))
    assert canonical(entries) == before
    assert shelf.known == {}
    many = [from_report({"_id": "e", "taskId": str(n), "taskName": "t"}, "w") for n in range(MOST_KEPT + 10)]
    run(names.complete(many))
    assert len(shelf.known) == len(many)
    loads, lacking = shelf.loads, [from_report({"_id": "e", "taskId": "0"}, "w")]
    run(names.complete(lacking))
    assert lacking[0]["taskName"] == "t"
    assert shelf.loads == loads + 1, "it was still in memory, with all the others"


@pytest.mark.parametrize(
    ("billable", "hourly", "cost", "expected"),
    [
        (True, 9000, 4500, (9000, 4500, "EUR")),
        (True, 9000.0, 0, (9000, None, "EUR")),
        (False, 9000, 4500, (None, 4500, "EUR")),
        (False, 9000, None, (None, None, None)),
        (True, 0, None, (None, None, None)),
        (True, None, None, (None, None, None)),
    ],
)
def test_rates_have_one_form(billable: bool, hourly: Any, cost: Any, expected: Any) -> None:
    """Hundredths an hour, null where nothing is charged, paid or visible; one reader may write 0 where another writes null."""
    core = {
        "billable": billable,
        "hourlyRate": None if hourly is None else {"amount": hourly, "currency": "EUR"},
        "costRate": None if cost is None else {"amount": cost, "currency": "EUR"},
    }
    for charged in (hourly if billable else 0, hourly):
        row = {"billable": billable, "rate": charged, "costRate": cost or 0, "currency": "EUR"}
        for entry in (from_list({"id": "e", **core}, "w"), from_report({"_id": "e", **row}, "w")):
            assert (entry["rate"], entry["costRate"], entry["currency"]) == expected


def test_a_member_sees_no_rates_with_any_reader(shared_sandbox: Running) -> None:
    """Null in every canonical entry, read by report, list and id; the owner sees them."""
    key = "sandbox-clockify-member-key"
    shelf = Shelf()

    async def work() -> None:
        async with (
            clockify_at(shared_sandbox, key=key, reader="report", names=shelf) as member,
            clockify_at(shared_sandbox, names=shelf) as owner,
        ):
            me = (await member.me())["id"]
            theirs = [
                e for e in await rows(ClockifySource(member, ENTRIES).read(window(shared_sandbox))) if e["userId"] == me
            ]
            for entry in (theirs[0], await ClockifySource(member, ENTRIES).fetch(theirs[0]["id"])):
                assert entry is not None
                assert [entry[name] for name in ("rate", "costRate", "currency")] == [None] * 3
            seen = await ClockifySource(owner, ENTRIES).fetch(theirs[0]["id"])
            assert seen is not None
            assert seen["costRate"] > 0
            assert seen["currency"] == "USD"

    run(work())
