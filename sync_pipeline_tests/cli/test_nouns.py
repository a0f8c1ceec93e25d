"""Settings, connections, the sandbox's controls and the support bundle, in the terminal."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import update

from sync_pipeline.settings import SECRETS, SETTINGS
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
    """With `init`, without a variable; what the environment says still wins."""
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
    told = shell("settings", "get", "SYNC_MOD", code=2).message
    assert told == "There is no setting SYNC_MOD. sync-pipeline settings get SYNC_MODE"


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
    gone = shell("connections", "disconnect", "clockify", "--yes", "--json", code=0).document
    assert gone == {"schema": "connections-disconnect/1", "disconnected": "clockify"}
    assert shell("disconnect", "clockify", "--yes", "--json", code=0).document == gone


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
    """It says so, and how to start one."""
    told = shell("sandbox", "status", "--port", "1", code=2).message
    assert told.startswith("No sandbox is running on port 1.")
    assert told.endswith("sync-pipeline dev")


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
