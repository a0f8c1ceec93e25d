"""Time entries: one canonical form, the cheaper reader, nothing lost."""

from __future__ import annotations

import itertools
import zoneinfo
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sync_pipeline.connectors.clockify.api import Clockify
from sync_pipeline.connectors.clockify.canonical import from_list, from_report
from sync_pipeline.connectors.clockify.entries import ZONES_PAD, ReaderChoice, choose
from sync_pipeline.connectors.clockify.source import ClockifySource
from sync_pipeline.connectors.http import ApiClient
from sync_pipeline.connectors.ports import Expected
from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import FatalApiError
from sync_pipeline.sandbox.server import Running
from sync_pipeline_tests.connectors.at_sandbox import ENTRIES, OWNER_KEY, canonical, clockify_at, control, rows
from sync_pipeline_tests.connectors.clients import Time, clockify, run
from sync_pipeline_tests.connectors.scripted import Asked, reply, scripted

pytestmark = pytest.mark.clock

NO_SHRINKING = [phase for phase in Phase if phase is not Phase.shrink]  # each example costs requests
BASE = datetime(2020, 3, 10, tzinfo=UTC)  # long before the seeded entries; daylight saving time begins about then
ZONES = ("UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "America/New_York", "Asia/Kathmandu")
MADE = "/workspaces/{workspace}/user/{id}/time-entries"


@st.composite
def drafts(draw: st.DrawFn, things: dict[str, list[Any]]) -> dict[str, Any]:
    """A random entry as a person would send it, and whose it is."""
    start = BASE + timedelta(seconds=draw(st.integers(-40 * 86_400, 40 * 86_400)))
    length = timedelta(seconds=draw(st.one_of(st.integers(0, 90_000), st.integers(0, 300_000))))
    project = draw(st.one_of(st.none(), st.sampled_from(things["projects"])))
    task = draw(st.one_of(st.none(), st.sampled_from(project["tasks"]))) if project and project["tasks"] else None
    text = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="<>"), max_size=30)
    fields = draw(st.lists(st.sampled_from(things["fields"]), unique=True, max_size=2)) if things["fields"] else []
    return {
        "user": draw(st.sampled_from(things["users"])),
        "start": start.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "end": (start + length).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "description": draw(text),
        "billable": draw(st.booleans()),
        "projectId": project and project["id"],
        "taskId": task,
        "tagIds": draw(st.lists(st.sampled_from(things["tags"]), max_size=3)),
        "type": draw(st.sampled_from(["REGULAR", "BREAK"])),
        "customFields": [
            {"customFieldId": field, "sourceType": "WORKSPACE", "value": draw(st.one_of(st.none(), text))}
            for field in fields
        ],
    }


@pytest.fixture(scope="module")
def things(shared_sandbox: Running) -> dict[str, list[Any]]:
    """Ids an entry may refer to."""

    async def work() -> dict[str, list[Any]]:
        async with clockify_at(shared_sandbox) as client:
            core, ids = client.core, {"workspace": shared_sandbox.workspace}
            projects = (await core.request("GET", "/workspaces/{workspace}/projects", ids=ids)).data
            for project in projects:
                at = ids | {"id": project["id"]}
                tasks = (await core.request("GET", "/workspaces/{workspace}/projects/{id}/tasks", ids=at)).data
                project["tasks"] = [task["id"] for task in tasks]
            tags = (await core.request("GET", "/workspaces/{workspace}/tags", ids=ids)).data
            fields = (await core.request("GET", "/workspaces/{workspace}/custom-fields", ids=ids)).data
            return {
                "projects": projects,
                "users": list(await client.user_ids())[:3],
                "tags": [tag["id"] for tag in tags if not tag["archived"]],
                "fields": [
                    field["id"] for field in fields if field["type"] == "TXT" and field["entityType"] == "TIMEENTRY"
                ],
            }

    return run(work())


def set_zone(sandbox: Running, zone: str) -> None:
    """Make it the zone of the key's owner: windows of per-user lists are read as wall-clock time there."""
    sandbox.world.db.execute(
        "UPDATE users SET body = json_set(body, '$.settings.timeZone', ?)"
        " WHERE id = (SELECT user_id FROM api_keys WHERE key = ?)",
        (zone, OWNER_KEY),
    )


async def make(core: ApiClient, workspace: str, wanted: list[dict[str, Any]]) -> list[str]:
    """Create the entries through the API."""
    made = []
    for draft in wanted:
        body = {key: value for key, value in draft.items() if key != "user" and value is not None}
        answer = await core.request("POST", MADE, ids={"workspace": workspace, "id": draft["user"]}, json=body)
        made.append(answer.data["id"])
    return made


async def remove(client: Clockify, made: list[str]) -> None:
    """Delete them again."""
    for entry in made:
        await client.core.request(
            "DELETE", ENTRIES.item or "", ids={"workspace": client.account.workspace, "id": entry}
        )


@settings(max_examples=25, phases=NO_SHRINKING, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_both_readers_and_fetch_give_the_same_bytes(
    shared_sandbox: Running, things: dict[str, list[Any]], data: st.DataObject
) -> None:
    """Report, per-user lists and reads by id yield byte-identical entries, and exactly those that start in the window."""
    wanted = data.draw(st.lists(drafts(things), min_size=1, max_size=8))
    start = BASE + timedelta(hours=data.draw(st.integers(-1000, 900)))
    window = Window(start, start + timedelta(hours=data.draw(st.integers(1, 1900))))
    page_size = data.draw(st.integers(1, 7))
    set_zone(shared_sandbox, data.draw(st.sampled_from(ZONES)))

    async def work() -> None:
        async with (
            clockify_at(shared_sandbox, reader="report", page_size=page_size) as report,
            clockify_at(shared_sandbox, reader="users", page_size=page_size) as users,
        ):
            made = await make(report.core, shared_sandbox.workspace, wanted)
            try:
                by_report, by_users = (
                    await rows(ClockifySource(report, ENTRIES).read(window)),
                    await rows(ClockifySource(users, ENTRIES).read(window)),
                )
                by_id = [await ClockifySource(report, ENTRIES).fetch(entry["id"]) for entry in by_report]
            finally:
                await remove(report, made)
            assert canonical(by_report) == canonical(by_users) == canonical([entry for entry in by_id if entry])
            assert len(by_report) == len(by_users) == len(canonical(by_report))
            started = [datetime.fromisoformat(draft["start"]) for draft in wanted]
            expected = {entry for entry, at in zip(made, started, strict=True) if at in window}
            assert set(canonical(by_report)) == expected

    run(work())


def test_seeded_entries_are_the_same_too(shared_sandbox: Running) -> None:
    """A whole seeded workspace, read by both plans: the same bytes; running entries come once, from their own list."""
    now = shared_sandbox.world.clock.now()
    window = Window(now - timedelta(days=60), now + timedelta(days=2))

    async def read(reader: Any) -> list[dict[str, Any]]:
        async with clockify_at(shared_sandbox, reader=reader, page_size=50) as client:
            return await rows(ClockifySource(client, ENTRIES).read(window))

    report, users = run(read("report")), run(read("users"))
    assert canonical(report) == canonical(users)
    assert len(report) == len(users) == len(canonical(report)) > 250
    running = [entry for entry in report if entry["timeInterval"]["end"] is None]
    assert running == report[-len(running) :] != []


@pytest.mark.parametrize("hidden", [False, True])
def test_money_is_the_same_too(sandbox: Running, hidden: bool) -> None:
    """In the currency of the project's client, whichever reader gave it; and none where no rate is shown."""
    to_euro = "UPDATE clients SET body = json_set(body, '$.currencyCode', 'EUR')"
    sandbox.world.db.execute(f"{to_euro} WHERE id IN (SELECT parent FROM projects ORDER BY id LIMIT 1)")
    sandbox.world.options.rates_hidden = hidden
    now = sandbox.world.clock.now()
    window = Window(now - timedelta(days=60), now + timedelta(days=2))

    async def read(reader: Any) -> list[dict[str, Any]]:
        async with clockify_at(sandbox, reader=reader) as client:
            return await rows(ClockifySource(client, ENTRIES).read(window))

    report, users = run(read("report")), run(read("users"))
    assert canonical(report) == canonical(users)
    found = {(row["currency"], row["costRate"] is not None) for row in report}
    assert found == ({(None, False)} if hidden else {("EUR", True), ("USD", True)})


def test_no_request_beyond_the_last_page(shared_sandbox: Running) -> None:
    """The report needs exactly as many requests as there are pages, and past windows no look at what is running."""
    now = shared_sandbox.world.clock.now()

    async def work() -> None:
        async with clockify_at(shared_sandbox, reader="report", page_size=100) as client:
            found = await rows(
                ClockifySource(client, ENTRIES).read(Window(now - timedelta(days=33), now - timedelta(days=3)))
            )
            assert sum(client.requests.values()) == -(-len(found) // 100)

    run(work())


@pytest.mark.parametrize("kind", ["shifted_page", "duplicate_page"])
def test_pages_that_move_or_repeat_lose_nothing(sandbox: Running, kind: str) -> None:
    """Pages shifted by an insertion or shown twice: every entry arrives, once."""
    now = sandbox.world.clock.now()
    window = Window(now - timedelta(days=31), now - timedelta(days=3))

    async def work() -> list[str]:
        async with clockify_at(sandbox, reader="report", page_size=20) as client:
            return [entry["id"] for entry in await rows(ClockifySource(client, ENTRIES).read(window))]

    straight = run(work())
    control(sandbox, "faults", kind=kind, route="POST /clockify/report/*", rate=0.4, seed=3)
    assert run(work()) == straight


def test_a_report_that_repeats_forever_ends() -> None:
    """A report whose every page is the same ends with one clear error."""
    row = {"_id": "e", "timeInterval": {"start": "2026-01-01T10:00:00Z", "end": "2026-01-01T11:00:00Z"}}
    with scripted(lambda _: reply(200, {"timeentries": [row]}, Last_Page="false")) as server:

        async def work() -> None:
            async with clockify(server.url, Time(BASE.timestamp()), page_size=1) as client:
                await rows(
                    ClockifySource(client, ENTRIES).read(
                        Window(BASE + timedelta(days=2160), BASE + timedelta(days=2170))
                    )
                )

        with pytest.raises(FatalApiError, match="the list does not end: page 2 repeats an earlier page"):
            run(work())


def test_names_of_custom_fields_are_looked_up_once() -> None:
    """A report that gives only ids of custom fields costs one look-up of their names a read, and no more."""

    def script(asked: Asked) -> bytes:
        if asked.path.startswith("/workspaces/w1/custom-fields"):
            return reply(200, [{"id": "f1", "name": "Cost centre"}])
        page = asked.json["detailedFilter"]["page"]
        row = {
            "_id": f"e{page}",
            "timeInterval": {"start": "2020-03-10T10:00:00+01:00", "end": "2020-03-10T12:00:00.750+01:00"},
            "customFields": [{"customFieldId": "f1", "value": 7}, {"customFieldId": "f2", "value": None}],
        }
        return reply(200, {"timeentries": [row]}, Last_Page=str(page == 3).lower())

    with scripted(script) as server:

        async def work() -> list[dict[str, Any]]:
            async with clockify(server.url, Time(0), page_size=1) as client:
                found = await rows(ClockifySource(client, ENTRIES).read(Window(BASE, BASE + timedelta(days=1))))
                assert client.requests["GET /workspaces/{workspace}/custom-fields"] == 1
                return found

        found = run(work())
    assert [entry["customFields"] for entry in found] == [{"Cost centre": 7}] * 3
    assert found[0]["timeInterval"] == {
        "start": "2020-03-10T09:00:00Z",
        "end": "2020-03-10T11:00:00Z",
        "duration": 7200,
    }


def test_an_entry_that_stops_while_we_read_arrives_once() -> None:
    """Seen running first and stopped later in the same read, an entry is given in its later state only."""
    times = {"start": "2020-03-10T10:00:00Z", "end": "2020-03-10T11:00:00Z"}

    def script(asked: Asked) -> bytes:
        if "in-progress" in asked.path:
            both = [
                {"id": name, "timeInterval": {"start": times["start"], "end": None}} for name in ("stopped", "runs")
            ]
            return reply(200, both, Last_Page="true")
        return reply(200, {"timeentries": [{"_id": "stopped", "timeInterval": times}]}, Last_Page="true")

    with scripted(script) as server:

        async def work() -> list[dict[str, Any]]:
            async with clockify(server.url, Time(BASE.timestamp() + 40_000)) as client:
                return await rows(ClockifySource(client, ENTRIES).read(Window(BASE, BASE + timedelta(days=1))))

        found = run(work())
    assert [(entry["id"], entry["timeInterval"]["end"]) for entry in found] == [
        ("stopped", times["end"]),
        ("runs", None),
    ]


MALFORMED: list[Any] = [
    None,
    "text",
    {},
    {"_id": None, "id": None},
    {"_id": ["x"], "id": ["x"], "timeInterval": []},
    {"_id": "a", "id": "a", "timeInterval": {"start": "yesterday", "end": 5}, "tags": "x", "customFields": [None, 3]},
    {"_id": "a", "id": "a", "timeInterval": {"start": "2020-03-10T10:00:00", "end": "9999-99-99"}},
    {"_id": "a", "id": "a", "timeInterval": "2026"},
    {
        "_id": "a",
        "id": "a",
        "timeInterval": {"start": "2020-03-10T10:00:00Z", "end": "2020-03-10T11:00:00Z", "duration": "PT1H"},
    },
    {"_id": "a", "id": "a", "description": "x" * 10_000_000, "timeInterval": {"start": "0001-01-01T00:00:00+14:00"}},
]


@pytest.mark.parametrize("row", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_rows_are_passed_on(row: Any) -> None:
    """A row that makes no sense does not stop the read and is not lost: the checks shall see it."""
    with scripted(lambda _: reply(200, {"timeentries": [row]}, Last_Page="true")) as server:

        async def work() -> list[dict[str, Any]]:
            async with clockify(server.url, Time(0)) as client:
                return await rows(ClockifySource(client, ENTRIES).read(Window(BASE, BASE + timedelta(days=1))))

        (found,) = run(work())
    assert orjson.dumps(found)
    if isinstance(row, dict):
        assert found["id"] == row.get("_id")
        assert found == from_list(row, "w1") == from_report(row, "w1")
    else:
        assert found["malformed"] == row


@pytest.mark.parametrize("totals", [{"a": 1}, "x", [], ["x"], [{"entriesCount": 2, "totalTime": "PT1H"}]])
def test_malformed_rows_and_totals_end_no_report_of_several_pages(totals: Any) -> None:
    """One odd row, or odd totals, do not cost the rest of the window."""
    interval = {"start": "2020-03-10T10:00:00Z", "end": "2020-03-10T11:00:00Z", "duration": 3600}
    good = {"_id": "a", "timeInterval": interval}
    odd = {"_id": "b", "timeInterval": interval | {"duration": "PT1H"}}

    def script(asked: Asked) -> bytes:
        page = [good, odd] if asked.json["detailedFilter"]["page"] == 1 else []
        return reply(200, {"totals": totals, "timeentries": page})

    with scripted(script) as server:

        async def work() -> list[dict[str, Any]]:
            async with clockify(server.url, Time(0), reader="report") as client:
                return await rows(ClockifySource(client, ENTRIES).read(Window(BASE, BASE + timedelta(days=1))))

        assert [row["id"] for row in run(work())] == ["a", "b"]


@pytest.mark.parametrize(
    ("days", "entries", "users", "setting", "reader", "requests"),
    [
        (31, 1000, 10, "auto", "report", 5),
        (365, 1000, 2, "auto", "users", 11),
        (31, None, 2, "auto", "report", None),
        (31, 1000, 0, "auto", "report", 5),
        (31, 1000, 10, "users", "users", 11),
        (365, 0, 1, "report", "report", 12),
        (62, 400, 2, "auto", "report", 2),
    ],
)
def test_the_cheaper_reader_is_chosen(
    days: int, entries: int | None, users: int, setting: Any, reader: str, requests: int | None
) -> None:
    """Fewer requests win, the report when equal or when too little is known; a setting overrides it."""
    expected = Expected(entries, frozenset(f"u{n}" for n in range(users)))
    choice = choose(Window(BASE, BASE + timedelta(days=days)), expected, setting, 200)
    assert (choice.reader, choice.requests) == (reader, requests)
    assert choice.reason


def test_the_choice_is_reported(shared_sandbox: Running) -> None:
    """The caller learns which reader was chosen, its cost, and why."""
    reported: list[ReaderChoice] = []

    async def work() -> None:
        async with clockify_at(shared_sandbox, on_choice=reported.append) as client:
            listed = (await client.user_ids())[:1]
            await rows(
                ClockifySource(client, ENTRIES).read(
                    Window(BASE, BASE + timedelta(days=365)), expected=Expected(10, frozenset(listed))
                )
            )

    run(work())
    assert [(choice.reader, choice.requests) for choice in reported] == [("users", 2)]
    assert "12" in reported[0].reason


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)),  # noqa: DTZ001 - the zone is added below
    st.integers(0, 10**6),
    st.integers(-14 * 60, 14 * 60),
)
def test_instants_have_one_form(start: datetime, seconds: int, offset: int) -> None:
    """Whatever zone and precision an instant is written with, its canonical form is UTC with whole seconds."""
    first = start.replace(tzinfo=UTC)
    last = first + timedelta(seconds=seconds)
    zone = timezone(timedelta(minutes=offset))
    row = {"_id": "e", "timeInterval": {"start": first.astimezone(zone).isoformat(), "end": last.isoformat()}}
    interval = from_report(row, "w")["timeInterval"]
    assert interval["start"] == first.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert interval["duration"] == seconds


def test_all_zones_are_covered_by_the_padding() -> None:
    """No time zone is further from UTC than the pad of the per-user lists."""
    for name, year in itertools.product(zoneinfo.available_timezones(), (2000, 2026)):
        offset = datetime(year, 7, 1, tzinfo=zoneinfo.ZoneInfo(name)).utcoffset() or timedelta()
        assert abs(offset) <= ZONES_PAD
