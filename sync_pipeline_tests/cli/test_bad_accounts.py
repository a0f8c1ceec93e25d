"""Keys, addresses and systems that are not as they must be: one message, nothing lost, the next sync completes."""

from __future__ import annotations

import socket

import pytest

from sync_pipeline_tests.cli.shell import Shell
from sync_pipeline_tests.harness import ENTITIES

MEMBER = "sandbox-clockify-member-key"
READ_ONLY = "sandbox-snapshots-read-only-key"
NO_SUCH_WORKSPACE = "64c777ddd3fcab07cfbb210c"


def completes(shell: Shell, *words: str) -> None:
    """Once the cause is corrected, the same command delivers the rest and both sides agree."""
    assert shell.sync("--verify", *words)["success"]


@pytest.mark.parametrize(
    ("changes", "delivered", "expected", "code"),
    [
        ({"CLOCKIFY_API_KEY": "s3cret"}, (), "401/4003: this API key does not exist. Check CLOCKIFY_API_KEY.", 4),
        (
            {"CLOCKIFY_API_KEY": MEMBER},
            ("projects",),
            "CLOCKIFY_API_KEY must be the key of a workspace admin or owner",
            4,
        ),
        (
            {"CLOCKIFY_WORKSPACE_ID": NO_SUCH_WORKSPACE},
            (),
            f"no such workspace. Check CLOCKIFY_WORKSPACE_ID ({NO_SUCH_WORKSPACE}).",
            1,
        ),
        (
            {"SNAPSHOTS_API_KEY": "s3cret"},
            (),
            "the key was not accepted (The API key or token is not known.). Check",
            4,
        ),
    ],
    ids=["wrong Clockify key", "key of a plain member", "unknown workspace", "wrong Snapshots key"],
)
def test_bad_key(shell: Shell, changes: dict[str, str], delivered: tuple[str, ...], expected: str, code: int) -> None:
    """One message that names the setting, in every command; what can be delivered is; `check` prints the same."""
    bad = shell.with_(**changes)
    ended = bad("sync", "--json", code=code)
    document = ended.document
    (error,) = document["errors"]
    assert expected in error
    assert document["success"] is False
    assert [entity for entity in ENTITIES if document["entities"][entity]["created"]] == list(delivered)
    for counts in document["entities"].values():
        assert counts["unchanged"] == 0
    checked = bad("check", "--json", code=code).document
    assert not checked["ok"]
    assert any(expected in f"{finding['detail']} {finding['fix']}" for finding in checked["checks"])
    completes(shell)


def test_a_preview_shows_what_needs_no_refused_key(shell: Shell) -> None:
    """The error with its fix, the other entities with their changes, and exit code 4; piped and as a document."""
    bad = shell.with_(SNAPSHOTS_API_KEY="s3cret")
    document = bad("preview", "--json", code=4).document
    assert list(document["failures"]) == ["locations"]
    assert "Check SNAPSHOTS_API_KEY" in document["failures"]["locations"]
    assert set(document["entities"]) == set(ENTITIES) - {"locations"}
    assert all(document["changes"][entity] for entity in document["entities"])
    shown = bad("preview", code=4)
    assert "projects" in shown.out
    assert "Check SNAPSHOTS_API_KEY" in shown.message
    assert shown.warnings == ["Not previewed: locations."]


def test_a_missing_scope(shell: Shell) -> None:
    """Each scope that is missing is named once, with the key to grant it to; what needs none is done."""
    bad = shell.with_(SNAPSHOTS_API_KEY=READ_ONLY)
    document = bad.sync(code=4)
    assert len(document["errors"]) == 2
    for entity, error in zip(("projects", "users"), document["errors"], strict=True):
        assert f"Grant {entity}.write to the key or token in SNAPSHOTS_API_KEY." in error
        assert document["entities"][entity]["waiting"] == document["entities"][entity]["extracted"] > 0
    assert document["warnings"] == [
        "time_entries: not started, because what it depends on failed; the next sync continues there."
    ]
    fixes = {f["fix"] for f in bad("check", "--json", code=4).document["checks"] if not f["ok"]}
    assert len(fixes) == 3


def test_a_members_view_deletes_nothing(shell: Shell) -> None:
    """Clockify shows a plain member fewer projects: what is not shown to them is not taken for deleted."""
    made = shell.team.clockify("POST", "/projects", {"name": "Board only", "isPublic": False})
    shell.sync("--entity", "projects")
    bad = shell.with_(CLOCKIFY_API_KEY=MEMBER, SYNC_MAX_DELETE_SHARE="1")
    assert "must be the key of a workspace admin or owner" in bad("sync", "--entity", "projects", code=4).message
    assert made["id"] in shell.team.at_snapshots("projects")
    completes(shell, "--entity", "projects")


def wrong_paths(shell: Shell) -> dict[str, tuple[dict[str, str], str]]:
    """Addresses at which something else answers, and the message about each."""
    url = shell.team.sandbox.url
    return {
        "Clockify": ({"CLOCKIFY_BASE_URL": f"{url}/clockify"}, "there is no such address. Check CLOCKIFY_BASE_URL ("),
        "reports": (
            {"CLOCKIFY_REPORTS_URL": f"{url}/nowhere", "CLOCKIFY_READER": "report"},
            "there is no such address. Check CLOCKIFY_REPORTS_URL (",
        ),
        "Snapshots": ({"SNAPSHOTS_BASE_URL": f"{url}/clockify/api/v1"}, "Check SNAPSHOTS_BASE_URL ("),
        "unknown host": ({"SNAPSHOTS_BASE_URL": "https://nowhere.invalid"}, "the host name is not known. Check SNAP"),
    }


@pytest.mark.undocumented
@pytest.mark.parametrize("which", ["Clockify", "reports", "Snapshots", "unknown host"])
def test_wrong_base_url(shell: Shell, which: str) -> None:
    """The address and its setting are named, in `sync` and in `check`."""
    changes, expected = wrong_paths(shell)[which]
    bad = shell.with_(**changes)
    assert expected in bad("sync", "--yes", code=1).message
    failed = [f for f in bad("check", "--json", code=1).document["checks"] if not f["ok"]]
    assert failed
    assert all(expected in f"{finding['detail']} {finding['fix']}" for finding in failed)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("CLOCKIFY_BASE_URL", "Check CLOCKIFY_BASE_URL ("), ("SNAPSHOTS_BASE_URL", "Check SNAPSHOTS_BASE_URL (")],
)
def test_refused_connection(shell: Shell, setting: str, expected: str) -> None:
    """Nothing answers: reported once, with the address; the side that answers is not blamed."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        bad = shell.with_(**{setting: f"http://127.0.0.1:{unused.getsockname()[1]}"})
        message = bad("sync", code=1).message
    assert "nothing answers there. Is it running?" in message
    assert expected in message


@pytest.mark.parametrize("setting", ["CLOCKIFY_BASE_URL", "SNAPSHOTS_BASE_URL"])
def test_tls_error(shell: Shell, untrusted: str, setting: str) -> None:
    """An untrusted certificate: not sent a key, not tried again; address and remedy are named."""
    message = shell.with_(**{setting: untrusted})("sync", code=1).message
    assert "the secure connection could not be made" in message
    assert f"Check {setting} ({untrusted}). A certificate authority of your own is named by SSL_CERT_FILE." in message


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("html", "an HTML page instead of JSON: this is not the API. Check CLOCKIFY_BASE_URL"),
        ("truncated_json", "the answer is cut off or is not JSON. Try again later. Check CLOCKIFY_BASE_URL"),
        ("duplicate_page", "the list does not end: page 2 repeats an earlier page."),
    ],
)
def test_answers_that_make_no_sense(shell: Shell, kind: str, expected: str) -> None:
    """A web page, an incomplete document, a page that repeats forever: one message, and nothing is written."""
    shell.team.fault(kind, "GET /clockify/*/projects")
    shell.team.forget_stats()
    message = shell.with_(CLOCKIFY_PAGE_SIZE="2")("sync", "--entity", "projects", code=1).message
    assert message.startswith("projects: Clockify GET ")
    assert expected in message
    assert shell.team.writes() == {}


def test_one_entity_is_in_trouble(shell: Shell) -> None:
    """A permanent 500: reported once, the others are delivered, what depends on it waits, and then the rest follows."""
    shell.team.fault("status", "GET /clockify/*/projects")
    document = shell.with_(SYNC_DAYS_PER_RUN="14").sync(code=1)
    (error,) = document["errors"]
    assert error.startswith("projects: Clockify GET ")
    assert "answered 500: the API reports a server error. Try again later." in error
    assert document["entities"]["users"]["created"] == 4
    assert document["entities"]["locations"]["waiting"] == 0
    assert len(document["run_ids"]) == 1  # later days would meet the same trouble
    assert len(document["warnings"]) == 1
    assert document["entities"]["projects"]["requests"] == 1
    states = shell("status", "--json", code=1).document["entities"]
    assert (states["projects"]["last_outcome"], states["users"]["last_outcome"]) == ("failed", "success")
    shell.team.no_faults()
    completes(shell)
