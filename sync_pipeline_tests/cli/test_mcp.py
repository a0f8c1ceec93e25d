"""`mcp`: what its tools answer, that none of them writes, and that nothing secret, personal or foreign is in an answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from cryptography.fernet import Fernet
from mcp import Client, StdioServerParameters

from sync_pipeline.cli.agent_tools import MOST_BYTES, PLANS_KEPT, read_operation
from sync_pipeline.cli.mcp import serving
from sync_pipeline.clock import unix_time, utc_now
from sync_pipeline.connectors.clockify.account import PLANS
from sync_pipeline.errors import NotAllowed, SyncError
from sync_pipeline.operations.catalogue import known, operation, operations, search
from sync_pipeline.sandbox.highlevel.ids import HOME
from sync_pipeline.setup.operations import HIDDEN
from sync_pipeline.setup.personal import PERSONAL, marks_of, without_personal
from sync_pipeline.store.credentials import open_keyring, put
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.rate import note_sent
from sync_pipeline.store.tokens import Tokens
from sync_pipeline_tests.cli.shell import SECRETS, Shell
from sync_pipeline_tests.forking import PROGRAM
from sync_pipeline_tests.harness import CLOCKIFY_KEY, Team, clean_environ, morning, tables
from sync_pipeline_tests.impostor import Part, impostor
from sync_pipeline_tests.operation_samples import sample_of
from sync_pipeline_tests.scenarios.commands import ROOT
from sync_pipeline_tests.setup.agency import at_highlevel
from sync_pipeline_tests.setup.test_operations import CANARY, state_of

READING = {
    "status", "preview", "rejects", "records", "history", "report",
    "search_operations", "show_operation", "read_operation",
}  # fmt: skip
ACCOUNT = {"workspaceId", "locationId", "location_id", "altId", "companyId"}
ABOUT_PEOPLE = (
    "clockify.webhooks.list", "clockify.user.get", "clockify.users.list", "clockify.user.time-entries.list",
    "clockify.reports.detailed", "highlevel.users.search", "highlevel.contacts.search", "highlevel.locations.search",
)  # fmt: skip
LONG = "A very long name of a location " * 2
Answer = Callable[..., Any]


class Refused(Exception):
    """A tool's answer is an error."""


@pytest.fixture
def ask(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answer]:
    """Calls a tool of the server in this process, with the shell's settings."""

    def at(place: Shell) -> None:
        for name, value in place.environ.items():
            monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)

    server = serving()

    async def called(tool: str, inputs: dict[str, Any]) -> Any:
        async with Client(server) as client:
            return await client.call_tool(tool, inputs)

    def asked(tool: str, /, of: Shell = shell, **inputs: Any) -> Any:
        at(of)
        found = anyio.run(called, tool, inputs)
        (content,) = found.content
        assert not [secret for secret in (*SECRETS, CANARY) if secret in content.text]
        if found.is_error:
            assert "Traceback" not in content.text
            raise Refused(content.text)
        return json.loads(content.text)

    with chdir(shell.root):
        yield asked


def test_what_a_person_would_ask(shell: Shell, ask: Answer) -> None:
    """State, a plan that a person applies, rejects page by page, a record's history, a report, and a list of Clockify."""
    bad = [shell.team.put_location(f"loc-long-{number}", location_name=LONG * number) for number in (2, 3, 4)]
    shell.team.forget_stats()
    assert ask("status")["entities"]["users"]["delivered"] == 0
    plan = ask("preview", entities=["users"], limit=2)
    assert plan["total_changes"] == plan["entities"]["users"]["created"] == len(shell.team.users()) > 2
    assert [change["action"] for change in plan["changes"]] == ["create"] * 2
    assert shell.team.writes() == {}
    shell("apply", plan["plan_file"], code=0)
    assert ask("status")["entities"]["users"]["delivered"] == plan["total_changes"]
    shell("sync")
    first = ask("rejects", limit=2)
    rest = ask("rejects", limit=2, after=first["next"])
    listed = shell("rejects", "list", "--json", code=0).document["rejects"]
    assert [row["id"] for row in first["rejects"] + rest["rejects"]] == [row["id"] for row in listed][:4]
    assert {each["location_id"] for each in bad} == {row["source_id"] for row in listed}
    assert LONG in first["rejects"][0]["value"]
    place = shell.team.clients()[0]
    (found,) = (
        row
        for row in ask("records", entity="locations", query=place["name"])["rows"]
        if row["target_id"] == place["id"]
    )
    assert ask("history", entity="locations", id=found["source_id"])["history"][-1]["outcome"] == "delivered"
    pages = [ask("records", entity="users", limit=2), ask("records", entity="users", limit=2, offset=2)]
    assert pages[0]["next"] == 2
    assert len({row["source_id"] for page in pages for row in page["rows"]}) == 4
    hours = ask("report", name="hours", limit=1)
    assert (len(hours["rows"]), hours["next"]) == (1, 1)
    assert ask("search_operations", words="project template")["rows"][0]["name"] == "clockify.projects.from-template"
    assert ask("show_operation", name="clockify.tags.list")["readable"]
    tags = ask("read_operation", name="clockify.tags.list", inputs={"page-size": "1"})
    assert tags["more"] == "Set the input page for more."
    assert len(tags["rows"]) == 1


def test_no_tool_writes(shell: Shell, ask: Answer) -> None:
    """Not to a vendor, over all operations that write; nor to the store, but for what every read notes about its requests."""

    async def listed() -> Any:
        async with Client(serving()) as client:
            return (await client.list_tools()).tools

    tools = anyio.run(listed)
    assert {tool.name for tool in tools} == READING
    assert all(tool.annotations is not None and tool.annotations.read_only_hint for tool in tools)
    shell("sync")
    before, shown = state_of(shell.team), shell("audit", "list", "--json", code=0).document
    with shell.team.session(SYNC_HOME=str(shell.home)) as session:
        stored = tables(session, "records", "deliveries", "approvals", "setup_versions")
    for tool, inputs in (
        ("status", {}), ("preview", {}), ("rejects", {}), ("records", {}), ("report", {"name": "people"}),
        ("read_operation", {"name": "clockify.users.list"}),
    ):  # fmt: skip
        ask(tool, **inputs)
    shell.team.forget_stats()
    for one in operations().values():
        if one.kind != "read":
            with pytest.raises(NotAllowed, match="does not only read"):
                read_operation(one.name, sample_of(one, every=False))
    assert shell.team.requests() == {}
    assert state_of(shell.team) == before
    assert shell("audit", "list", "--json", code=0).document == shown
    with shell.team.session(SYNC_HOME=str(shell.home)) as session:
        assert tables(session, *stored) == stored


def test_only_the_connected_account_is_read(shell: Shell, ask: Answer) -> None:
    """Over all reads: whatever input names another account, the request is not sent."""
    agency = shell.with_(**at_highlevel(shell.team))
    own = ask("read_operation", of=agency, name="highlevel.locations.get", inputs={"locationId": HOME})
    assert own["rows"][0]["location"]["id"] == HOME
    shell.team.forget_stats()
    tried = 0
    for one in search("", kind="read"):
        for name in ACCOUNT & {each.name for each in one.inputs}:
            tried += 1
            with pytest.raises(
                SyncError, match=r"not the connected account|set by the connection|more than the account"
            ):
                read_operation(one.name, {**sample_of(one, every=False), name: "another"})
    assert tried > 50
    for name in known()["beyond"]:
        with pytest.raises(Refused, match="reads more than the account"):
            ask("read_operation", of=agency, name=name)
    assert {route.rpartition("/")[0] for route in shell.team.requests()} == {"GET /highlevel/locations"}  # whose is it?


@pytest.mark.undocumented
def test_secrets_and_people_are_in_no_answer(shell: Shell, ask: Answer) -> None:
    """Planted in answers to reads; names and addresses of our users in no answer of any tool."""
    secrets = dict.fromkeys(("authToken", "access_token", "clientSecret", "password", "apiKey"), CANARY)
    user = {"id": "u1", "name": "Zoe Quux", "email": "zoe@quux.example"}
    row = {
        "id": "r1",
        "note": f"{CLOCKIFY_KEY}, asked by zoe@quux.example",
        **secrets,
        "user": user,
        "userName": "Zoe Quux",
    }
    with impostor(
        Part(body=json.dumps({"rows": [row], "location": {"id": HOME, "companyId": "c1"}}).encode())
    ) as address:
        urls = dict.fromkeys(("CLOCKIFY_BASE_URL", "CLOCKIFY_REPORTS_URL", "SNAPSHOTS_BASE_URL"), address)
        place = shell.with_(**{**at_highlevel(shell.team), **urls})
        for one in map(operation, ABOUT_PEOPLE):
            given = {name: value for name, value in sample_of(one, every=False).items() if name not in ACCOUNT}
            text = json.dumps(ask("read_operation", of=place, name=one.name, inputs=given))
            assert "Zoe" not in text, one.name
            assert "quux" not in text, one.name
            assert f'"authToken": "{HIDDEN}"' in text
            assert '"user": {"id": "u1"' in text
    people = shell.team.users()
    entry = shell.team.add_entry(people[0]["id"], morning(1), description="about Zoe Quux")
    spoil_description(shell.team, entry["id"], "Zoe Quux " * 400)
    shell("sync")
    answers = [
        ask("status"), ask("preview"), ask("rejects"), ask("records", limit=500), ask("report", name="people"),
        ask("history", entity="users", id=people[0]["id"]), ask("history", entity="time_entries", id=entry["id"]),
        ask("read_operation", name="clockify.users.list"),
        ask("read_operation", name="clockify.user.time-entries.list", inputs={"userId": people[0]["id"]}),
    ]  # fmt: skip
    text = json.dumps(answers) + Path(answers[1]["plan_file"]).read_text()
    for person in people:
        assert person["name"] not in text
        assert person["email"] not in text
    assert "Zoe" not in text
    assert [row["value"] for row in answers[2]["rejects"] if row["source_id"] == entry["id"]] == [PERSONAL]
    for query in ({"entity": "users", "query": people[0]["name"]}, {"query": people[0]["name"]}):
        with pytest.raises(Refused, match="without personal names"):
            ask("records", **query)


def test_people_stay_hidden_while_they_are_not_synced(shell: Shell, ask: Answer) -> None:
    """What a mapping marks is personal, also of an entity that is switched off."""
    shell("sync")
    place = shell.with_(SYNC_ENTITIES="projects")
    answers = [
        ask("read_operation", of=place, name="clockify.users.list"), ask("report", of=place, name="people"),
        ask("rejects", of=place), ask("status", of=place),
    ]  # fmt: skip
    assert len(answers[0]["rows"]) == len(shell.team.users())
    assert answers[1]["rows"]
    assert not [person for person in shell.team.users() if person["name"] in json.dumps(answers)]


def test_alerts_on_people_name_no_one(shell: Shell, ask: Answer, tmp_path: Path) -> None:
    """Their rule and its severity are shown, and the names of projects."""
    file = tmp_path / "rules.yaml"
    rules = [
        f"  {scope}s: {{figure: hours, scope: {scope}, period: total, above: 0.01}}" for scope in ("person", "project")
    ]
    file.write_text("\n".join(["rules:", *rules]))
    place = shell.with_(SYNC_ALERT_RULES_FILE=str(file))
    place("sync")
    place("alerts", "send", code=0)
    alerts = [each for each in ask("status", of=place)["alerts"] if each["rule"]]
    assert {each["rule"] for each in alerts} == {"persons", "projects"}
    for each in alerts:
        assert (each["title"] == each["detail"] == PERSONAL) == (each["rule"] == "persons")
    assert not [person for person in shell.team.users() if person["name"] in json.dumps(alerts)]


def spoil_description(us: Team, entry: str, text: str) -> None:
    """Past Clockify's own rules: too long."""
    was = us.sandbox.world.db.execute("SELECT shared FROM time_entries WHERE id = ?", (entry,)).fetchone()[0]
    shared = json.dumps({**json.loads(f"{{{was}}}"), "description": text})[1:-1]
    us.sandbox.world.db.execute("UPDATE time_entries SET shared = ? WHERE id = ?", (shared, entry))


def test_what_counts_as_personal(shell: Shell) -> None:
    """What a mapping does not mark is shown, and what it marks is hidden in each record that refers to one."""
    with shell.team.session() as session:
        marks = marks_of(session.specs.values())
    project = {
        "name": "Harbour",
        "memberships": [{"userId": "u1"}],
        "manager": {"userName": "Zoe", "user": {"name": "Z"}},
    }
    assert without_personal(marks, project, ["projects"]) == {
        "name": "Harbour",
        "memberships": [{"userId": "u1"}],
        "manager": {"userName": PERSONAL, "user": {"name": PERSONAL}},
    }
    assert without_personal(marks_of([]), {"user": {"name": "Zoe", "phone": "1"}}) == {
        "user": {"name": "Zoe", "phone": PERSONAL}
    }
    contact = dict.fromkeys(("name", "firstNameLowerCase", "fullNameLowerCase", "phone", "address1", "ssn"), "Zoe")
    hidden = dict.fromkeys(contact, PERSONAL)
    for words in (["contacts"], ["invoices", "contactDetails"]):
        assert without_personal(marks_of([]), contact, words) == hidden
    invoice = {"name": "March", "contactDetails": contact, "sentBy": {"fullName": "Zoe"}}
    shown = {"name": "March", "contactDetails": hidden, "sentBy": {"fullName": PERSONAL}}
    assert without_personal(marks_of([]), invoice, ["invoices"]) == shown


def test_what_goes_wrong_is_one_message(shell: Shell, ask: Answer) -> None:
    """With its fix, and without a traceback: names, inputs, systems that do not answer, and a set-up that is not finished."""
    for tool, inputs, message in (
        ("history", {"entity": "nothing", "id": "1"}, "There is no entity 'nothing'"),
        ("history", {"entity": "users", "id": "1"}, "Nothing is known of users 1"),
        ("preview", {"first": "2026-02-02", "last": "2026-02-01"}, "lies after"),
        ("read_operation", {"name": "clockify.tags.lis"}, "Did you mean clockify.tags.list"),
        ("read_operation", {"name": "clockify.tags.list", "inputs": {"nam": 1}}, "did you mean name"),
        ("read_operation", {"name": "highlevel.objects.list"}, "no account of its API is connected"),
        ("report", {"name": "hours", "limit": 501}, "less than or equal to 500"),
        ("performance", {}, "Unknown tool"),
    ):
        with pytest.raises(Refused, match=message):
            ask(tool, **inputs)
    with pytest.raises(Refused, match=r"CLOCKIFY_API_KEY is missing"):
        ask("status", of=shell.with_(CLOCKIFY_API_KEY=None))
    with pytest.raises(Refused, match="Clockify"):
        ask("read_operation", of=shell.with_(CLOCKIFY_BASE_URL="http://127.0.0.1:9"), name="clockify.tags.list")
    refusal = json.dumps({"message": f"{CLOCKIFY_KEY} of zoe@quux.example has no access", "code": 501}).encode()
    with impostor(Part(status=403, body=refusal)) as address:
        with pytest.raises(Refused, match="Clockify") as refused:
            ask("read_operation", of=shell.with_(CLOCKIFY_BASE_URL=address), name="clockify.tags.list")
        assert "quux" not in str(refused.value)
        plan = ask("preview", of=shell.with_(CLOCKIFY_BASE_URL=address), entities=["projects"])
        assert plan["failures"]
        assert "quux" not in json.dumps(plan)
    large = json.dumps([{"id": number, "note": "x" * (MOST_BYTES // 4)} for number in range(6)]).encode()
    with impostor(Part(body=large)) as address:
        cut = ask("read_operation", of=shell.with_(CLOCKIFY_BASE_URL=address), name="clockify.tags.list")
        assert (len(cut["rows"]), cut["total"], cut["next"]) == (3, 6, 3)


def test_the_last_tenth_of_the_budget_is_for_the_sync(shell: Shell, ask: Answer) -> None:
    """No one can be asked whether it may be used."""
    free = shell.with_(CLOCKIFY_PLAN="free")
    assert ask("read_operation", of=free, name="clockify.tags.list")["operation"] == "clockify.tags.list"
    with shell.team.session(SYNC_HOME=str(shell.home), CLOCKIFY_PLAN="free") as session:
        note_sent(session.store, session.clockify.account.bucket, PLANS["free"].windows, unix_time(), 26)
    with pytest.raises(Refused, match="Of the 30 requests of this hour 3 are left"):
        ask("read_operation", of=free, name="clockify.tags.list")


def test_only_secrets_are_hidden(shell: Shell, ask: Answer) -> None:
    """Of stored tokens not what is stored next to them, which may be a word; the tokens themselves in refusals as well."""
    key = Fernet.generate_key().decode()
    place = shell.with_(SYNC_ENCRYPTION_KEY=key)
    tokens = Tokens("an-access-token", "a-refresh-token", scope="read", account="clockify")
    with closing(open_store(place.settings().store_url)) as store:
        put(store, open_keyring(key, Path("unused")), "here", "tokens", tokens.as_json(), utc_now())
    found = ask("show_operation", of=place, name="clockify.tags.list")
    assert (found["name"], found["kind"]) == ("clockify.tags.list", "read")
    with pytest.raises(Refused, match=r"\*\*\*") as refused:
        ask("show_operation", of=place, name="an-access-token")
    assert "an-access-token" not in str(refused.value)
    with pytest.raises(Refused, match=r"https://\*\*\*@db\.example"):
        ask("show_operation", of=place, name="https://u:pass@db.example/x")


def test_no_key_is_made_to_look_for_secrets(shell: Shell, ask: Answer) -> None:
    """Where the key of the stored secrets is missing, none of them can be in an answer, and none is decrypted."""
    with closing(open_store(shell.settings().store_url)) as store:
        put(store, open_keyring(Fernet.generate_key().decode(), Path("unused")), "here", "name", "s3cret", utc_now())
    ask("show_operation", name="clockify.tags.list")
    assert not list(shell.home.glob("*.key"))


def test_old_plans_are_removed(shell: Shell, ask: Answer) -> None:
    """Only the newest ones are kept; all are readable by their owner only."""
    folder = shell.home / "plans"
    folder.mkdir(parents=True)
    for number in range(PLANS_KEPT + 5):
        (folder / f"plan-20200101-0000{number:02}-ab.jsonl").touch()
    made = Path(ask("preview", entities=["projects"])["plan_file"])
    kept = sorted(folder.iterdir())
    assert len(kept) == PLANS_KEPT
    assert kept[-1] == made
    assert made.stat().st_mode & 0o077 == 0


@pytest.mark.outside
def test_over_standard_input_and_output(shell: Shell) -> None:
    """The real process with the SDK's own client: nothing but the protocol is on standard output, and it ends with its input."""
    environ = {name: value for name, value in shell.environ.items() if value is not None and name != "PATH"}
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", PROGRAM, "mcp"],
        env=clean_environ(**environ, PYTHONPATH=str(ROOT)),
        cwd=shell.root,
    )
    strange: list[object] = []

    async def seen(message: object) -> None:
        strange.append(message)

    async def talk() -> Any:
        async with Client(server, mode="legacy", message_handler=seen) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            plan = await client.call_tool("preview", {"entities": ["projects"]})
            wrong = await client.call_tool("history", {"entity": "nothing", "id": "1"})
            return names, json.loads(plan.content[0].text), wrong  # type: ignore[union-attr]  # text

    names, plan, wrong = anyio.run(talk)
    assert names == READING
    assert plan["total_changes"] > 0
    assert Path(plan["plan_file"]).exists()
    assert wrong.is_error
    assert strange == []


def test_without_the_sdk(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """One message states what to install."""
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    assert "pip install 'sync-pipeline[mcp]'" in shell("mcp", code=2).message
