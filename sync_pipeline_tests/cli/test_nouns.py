"""Runs, records, settings, connections, the sandbox's controls and the support bundle, in the terminal."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import update

from sync_pipeline.settings import SECRETS, SETTINGS
from sync_pipeline.store.audit import system_user
from sync_pipeline.store.schema import syncs
from sync_pipeline_tests.cli.shell import Shell
from sync_pipeline_tests.harness import CLOCKIFY_KEY, SNAPSHOTS_KEY

KEY = 'wJalr"XUtnFEMI/K7MDENG+bPxRfiCY'
"""A secret with characters that JSON and addresses write in another way."""
PASSWORD = "tiger-of-the-database"


@pytest.fixture
def port(shell: Shell) -> str:
    """That of the sandbox that runs."""
    return str(urlsplit(shell.team.sandbox.url).port)


def test_settings(shell: Shell) -> None:
    """Each with its value and where that is from; of a secret only that it is set."""
    (shell.root / ".env").write_text("SYNC_RESCAN_DAYS=9\n")
    found = {one["name"]: one for one in shell("settings", "list", "--json", code=0).document["settings"]}
    assert set(found) == {spec.metadata["env"] for spec in SETTINGS}
    assert {
        name: (found[name]["value"], found[name]["source"]) for name in ("SYNC_RESCAN_DAYS", "SYNC_POLL_SECONDS")
    } == {
        "SYNC_RESCAN_DAYS": ("9", "file"),
        "SYNC_POLL_SECONDS": ("", "default"),
    }
    assert found["CLOCKIFY_BASE_URL"]["source"] == "environment"
    assert {found[name]["value"] for name in SECRETS} == {"", "set"}
    assert found["CLOCKIFY_API_KEY"] == {
        "name": "CLOCKIFY_API_KEY", "value": "set", "source": "environment", "secret": True,
    }  # fmt: skip
    assert "SYNC_POLL_SECONDS" not in shell("settings", "list", "--changed", code=0).out


def test_what_was_set_up_is_from_the_store(shell: Shell) -> None:
    """With `init`, without a variable; what the environment sets still wins."""
    names = ("CLOCKIFY_API_KEY", "CLOCKIFY_WORKSPACE_ID", "CLOCKIFY_BASE_URL", "CLOCKIFY_REPORTS_URL", "CLOCKIFY_PLAN")
    bare = shell.with_(**dict.fromkeys([*names, "SNAPSHOTS_BASE_URL", "SNAPSHOTS_API_KEY", "SYNC_MODE"]))
    with_key = bare.with_(KEY=SNAPSHOTS_KEY)
    address = shell.team.sandbox.snapshots
    with_key("init", "--no-input", "--snapshots-base-url", address, "--snapshots-key-env", "KEY", code=0)
    assert bare("settings", "get", "snapshots_base_url", "--json", code=0).document == {
        "schema": "settings-get/1", "name": "SNAPSHOTS_BASE_URL", "value": address, "source": "store", "secret": False,
    }  # fmt: skip
    elsewhere = bare.with_(SNAPSHOTS_BASE_URL="https://elsewhere.example/x")
    assert "environment" in elsewhere("settings", "get", "SNAPSHOTS_BASE_URL", code=0).out


def test_an_unknown_setting(shell: Shell) -> None:
    """The nearest one is named, as a command."""
    text = shell("settings", "get", "SYNC_MOD", code=2).message
    assert text == "There is no setting SYNC_MOD. sync-pipeline settings get SYNC_MODE"
    assert shell("settings", "get", "NOPE", code=2).message.endswith(
        "There is no setting NOPE. sync-pipeline settings list"
    )


def test_connections(shell: Shell) -> None:
    """Both, one of them, and never a key; the older `disconnect` is the same command."""
    both = shell("connections", "list", "--json", code=0).document["connections"]
    assert [(one["system"], one["state"]) for one in both] == [
        ("clockify", "from the environment"),
        ("snapshots", "from the environment"),
    ]
    (one,) = shell("connections", "show", "clockify", "--json", code=0).document["connections"]
    assert one == both[0]
    assert "sync-pipeline check" in shell("connections", "list", code=0).out
    disconnected = shell("connections", "disconnect", "clockify", "--yes", "--json", code=0).document
    assert disconnected == {"schema": "connections-disconnect/1", "disconnected": "clockify"}
    assert shell("disconnect", "clockify", "--yes", "--json", code=0).document == disconnected


def test_the_controls_of_the_sandbox(shell: Shell, port: str) -> None:
    """Faults and clock of a running sandbox, without curl."""
    at = ("--port", port, "--json")
    rule = ("status", "--route", "GET /clockify/*/projects", "--status", "503", "--count", "1")
    (fault,) = shell("sandbox", "fault", *rule, *at, code=0).document["faults"]
    assert (fault["kind"], fault["status"], fault["count"]) == ("status", 503, 1)
    assert "GET /clockify/*/projects" in shell("sandbox", "status", "--port", port, code=0).out
    assert shell("sandbox", "fault", "--clear", *at, code=0).document["faults"] == []
    assert "whose kind is one of" in shell("sandbox", "fault", "flood", "--port", port, code=2).message
    before = shell("sandbox", "clock", *at, code=0).document["now"]
    after = shell("sandbox", "clock", "--advance", "86400", *at, code=0).document["now"]
    assert after[:10] > before[:10]
    assert shell("sandbox", "clock", "--real", *at, code=0).document["now"][:10] == before[:10]
    assert "Give one of" in shell("sandbox", "clock", "--real", "--advance", "1", "--port", port, code=2).err


def test_no_sandbox_runs(shell: Shell) -> None:
    """That is reported, with how to start one."""
    text = shell("sandbox", "status", "--port", "1", code=2).message
    assert text.startswith("No sandbox is running on port 1.")
    assert text.endswith("sync-pipeline dev")


def test_the_support_bundle_holds_no_secret(shell: Shell) -> None:
    """Secrets of the environment, of the store and inside messages are planted; none is in the bundle, nor is an e-mail address."""
    shell.sync("users")
    planted = (
        f"failed with {KEY} and {CLOCKIFY_KEY} for jana@example.com at https://u:{PASSWORD}@db.example/x?key={KEY}"
    )
    with shell.team.session(SYNC_HOME=str(shell.home)) as session, session.store.writing() as tx:
        tx.execute(update(syncs).values(reason=planted))
    with_key = shell.with_(SNAPSHOTS_CLIENT_SECRET=KEY, KEY=SNAPSHOTS_KEY)
    file = Path(with_key("support-bundle", code=0).out.splitlines()[0])
    text = (shell.root / file).read_text()
    for secret in (KEY, json.dumps(KEY)[1:-1], CLOCKIFY_KEY, SNAPSHOTS_KEY, PASSWORD, "jana@example.com"):
        assert secret not in text
    assert stat.S_IMODE((shell.root / file).stat().st_mode) == 0o600
    found = json.loads(text)
    assert found["versions"]["dagster"]
    assert found["database"]["kind"] == "sqlite"
    assert [(one["entity"], one["outcome"]) for one in found["syncs"]] == [("users", "success")]
    assert found["problems"] == ["users: failed with *** and *** for *** at https://***@db.example/x"]
    assert {one["name"] for one in found["settings"]} >= {"SYNC_MODE", "CLOCKIFY_API_KEY"}


def test_stored_secrets_are_not_in_the_bundle(shell: Shell) -> None:
    """A key that is stored encrypted, and was written into a message by mistake."""
    bare = shell.with_(
        SNAPSHOTS_BASE_URL=None, SNAPSHOTS_API_KEY=None, CLOCKIFY_API_KEY=None, CLOCKIFY_WORKSPACE_ID=None
    )
    address = shell.team.sandbox.snapshots
    bare.with_(KEY=SNAPSHOTS_KEY)(
        "init", "--no-input", "--snapshots-base-url", address, "--snapshots-key-env", "KEY", code=0
    )
    bare("audit", "list", code=0)
    document = bare("support-bundle", "--json", code=0).document
    assert document["schema"] == "support-bundle/1"
    assert SNAPSHOTS_KEY not in json.dumps(document)


def test_the_bundle_is_made_where_nothing_works(shell: Shell) -> None:
    """Nothing is set up on one side: the reason is in it."""
    broken = shell.with_(SNAPSHOTS_PROFILE="none-such")
    assert broken("status").code != 0
    assert broken("support-bundle", "--json").code in (0, 2)


def test_runs(shell: Shell) -> None:
    """Listed newest first, those that changed nothing folded; one in full, and run again."""
    shell.sync("users", "projects")
    (first,) = shell.sync("users")["run_ids"]
    (second,) = shell.sync("users")["run_ids"]
    folded, written = shell("runs", "list", "--json", code=0).document["runs"]
    assert (folded["id"], folded["times"], folded["written"]) == (second, 2, 0)
    assert (written["outcome"], written["written"] > 0) == ("success", True)
    (only,) = shell("runs", "list", "--changes", "--json", code=0).document["runs"]
    assert only["id"] == written["id"]
    assert "(2 runs, nothing changed)" in shell("runs", "list", code=0).out
    assert shell("runs", "list", "--since", "2999-01-01", "--json", code=0).document["runs"] == []
    one = shell("runs", "show", written["id"], "--json", code=0).document
    assert {(each["entity"], each["counts"]["created"]) for each in one["syncs"]} == {("users", 4), ("projects", 5)}
    assert (one["trigger"], one["requested_by"]) == ("terminal", system_user())
    assert f"Trigger: terminal, asked for by {system_user()}." in shell("runs", "show", written["id"], code=0).out
    by_change = shell("runs", "list", "--trigger", "change", "--json", code=0).document["runs"]
    assert by_change == []
    assert "records list --run" in shell("runs", "show", written["id"], code=0).out
    again = shell("runs", "retry", first, "--json", code=0).document
    assert list(again["entities"]) == ["users"]
    assert again["run_ids"][0] not in (first, second, written["id"])
    assert shell("runs", "show", "none", code=2).message == (
        "There is no run none. `sync-pipeline runs list` shows them. sync-pipeline runs list"
    )


def test_a_run_is_found_by_the_beginning_of_its_id(shell: Shell) -> None:
    """By eight characters, as the list shows them; one message where several runs begin so. Fewer find none."""
    shell.sync("users")
    (run,) = shell("runs", "list", "--json", code=0).document["runs"]
    short = run["id"][:8]
    assert f" {short} " in shell("runs", "list", code=0).out
    assert run["id"] in shell.piped("runs", "list", code=0).out
    assert shell("runs", "show", short, "--json", code=0).document["id"] == run["id"]
    assert shell("records", "list", "--run", short, "--json", code=0).document["total"] == 4
    assert "There is no run" in shell("runs", "show", short[:7], code=2).message
    key = next(iter(shell.team.at_snapshots("users")))
    for _ in range(2):
        shell("records", "sync", "users", key, code=0)
    assert "The ids of several runs begin with records-." in shell("runs", "show", "records-", code=2).message
    assert "The ids of several runs begin with records-." in shell("runs", "retry", "records-", code=2).message


def test_a_run_that_failed_is_run_again(shell: Shell) -> None:
    """What it did not complete, with its days; the reason is shown."""
    shell.team.fault("status", "POST /snapshots/users/batch", status=503)
    shell("sync", "users", code=1)
    (failed,) = shell("runs", "list", "--outcome", "failed", "--json", code=0).document["runs"]
    shown = shell("runs", "show", failed["id"], code=0)
    assert "answered 503" in shown.warnings[0]
    assert f"runs retry {failed['id']}" in shown.out
    shell.team.no_faults()
    assert shell("runs", "retry", failed["id"], "--json", code=0).document["entities"]["users"]["created"] == 4


def test_records(shell: Shell) -> None:
    """Found by id, e-mail and state; one with both sides; synced alone."""
    shell.sync("users")
    found = shell("records", "list", "users", "--json", code=0).document
    assert (found["total"], {row["state"] for row in found["records"]}) == (4, {"in_step"})
    record = found["records"][0]
    key = record["source_id"]
    one = shell("records", "show", "users", key, "--json", code=0).document
    assert (one["source_id"], one["target"], {each["differs"] for each in one["fields"]}) == (key, "same", {False})
    email = next(each["wanted"] for each in one["fields"] if each["name"] == "email")
    assert [row["source_id"] for row in shell("records", "list", "-Q", email, "--json").document["records"]] == [key]
    assert "No record is found." in shell("records", "list", "--state", "rejected", code=0).out
    assert "These are 1 of 4" in shell("records", "list", "--limit", "1", code=0).out
    assert email in shell("records", "show", "users", key, code=0).out
    shell.team.snapshots("PUT", f"/users/{key}", {"name": "Somebody Else"})
    shell.team.control("POST", "users", {"id": key, "name": "Newer Name"})
    synced = shell("records", "sync", "users", key, "--json", code=0).document
    assert (synced["counts"]["updated"], synced["left"], synced["held"]) == (1, {}, [])
    assert shell.team.at_snapshots("users")[key]["name"] == "Newer Name"
    assert "Nothing is known" in shell("records", "show", "users", "nobody", code=2).message


def test_a_record_that_exists_nowhere_is_an_error(shell: Shell) -> None:
    """Also when it is repeated; the records named with it are synced. An id that only the source has is no error."""
    shell.sync("users", "projects")
    (key, *_) = shell.team.at_snapshots("users")
    for _ in range(2):
        ended = shell("records", "sync", "users", "nope", code=2)
        assert "users nope: The source has no record with this id" in ended.message
        assert "Synced" not in ended.out
    both = shell("records", "sync", "users", "nope", key, "--json", code=2).document
    assert (both["counts"]["unchanged"], list(both["left"])) == (1, ["nope"])
    project = shell.team.clockify("POST", "/projects", {"name": "A new one"})["id"]
    new = shell("records", "sync", "projects", project, "--json", code=0).document
    assert new["counts"]["created"] == 1


def test_no_reject_of_an_unknown_record_is_retried(shell: Shell) -> None:
    """It is an error where none of the ids is known; of a known record without a reject it says so."""
    shell.sync("users")
    (key, *_) = shell.team.at_snapshots("users")
    assert "No reject of users has the id nope." in shell("rejects", "retry", "users", "nope", code=2).message
    assert shell("rejects", "retry", "users", key, code=0).warnings == [
        f"There is no reject of users with the id {key}."
    ]
    shell("records", "sync", "users", "nope", code=2)
    shell("rejects", "retry", "users", "nope", code=2)


def test_the_history_of_a_record_lists_its_open_rejects(shell: Shell) -> None:
    """As its help says: once the record is corrected, the reject is no longer listed."""
    assert "events, writes, open rejects, approvals" in " ".join(shell("records", "history", "--help").out.split())
    user = next(user for user in shell.team.users() if user["status"] == "ACTIVE")
    listed = []
    for email in ("not an address", user["email"]):
        shell.team.control("POST", "users", {"id": user["id"], "email": email})
        shell.sync("users")
        lines = shell("records", "history", "users", user["id"], "--json", code=0).document["history"]
        listed.append([line["what"] for line in lines if line["kind"] == "reject"])
    assert listed == [["valid_values"], []]


def test_rejects_are_ignored_with_a_note(shell: Shell) -> None:
    """Until their reason changes; the note is in the audit."""
    for number in range(2):
        shell.team.put_location(f"twin-{number}", location_name="One name", address=str(number))
    shell.sync("locations")
    text = shell("rejects", "ignore", "locations", "twin-0", code=2).message
    assert "Say why" in text
    assert "--note" in text
    done = shell("rejects", "ignore", "locations", "twin-0", "--note", "A test", "--json", code=0).document
    assert (done["reasons"], done["ignored"]) == (1, True)
    (row,) = shell("records", "list", "--state", "ignored", "--json", code=0).document["records"]
    assert row["source_id"] == "twin-0"
    assert "A test" in shell("audit", "list", code=0).out
    assert shell("rejects", "ignore", "locations", "twin-0", "--undo", "--json", code=0).document["reasons"] == 1


def test_an_unknown_version_names_the_command_that_lists_them(shell: Shell) -> None:
    """As a command."""
    text = shell("setup", "back", "99", code=2).message
    assert text.endswith("lists them. sync-pipeline setup versions")
