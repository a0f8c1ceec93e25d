"""Secrets in the console: replaced without a gap, forgotten, encrypted again; never shown."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from sync_pipeline_tests.console.browsing import Browser, Page, browsing, consoling
from sync_pipeline_tests.console.setting_up import connect
from sync_pipeline_tests.harness import CLOCKIFY_KEY, Team

NEW = "sandbox-clockify-second-key"


@pytest.fixture
def second_key(office: Team) -> str:
    """Another key of the owner."""
    copy = "INSERT OR IGNORE INTO api_keys (key, kind, user_id, note) SELECT ?, kind, user_id, 'second' FROM api_keys WHERE key = ?"
    office.sandbox.world.db.execute(copy, (NEW, CLOCKIFY_KEY))
    return NEW


def test_a_key_is_replaced_while_live_syncing_continues(setup_browser: Browser, office: Team, second_key: str) -> None:
    """The new one is tried and used, live stays on, the old one is a fallback until it is forgotten; the trail records all of it."""
    connect(setup_browser, office)
    setup_browser.post("/try", {"kind": "dry_run"})
    setup_browser.wait("/try/progress")
    assert "Live syncing is on" in setup_browser.post("/live", {"on": "1"}).text

    answer = setup_browser.post("/secrets/rotate", {"name": "clockify.api_key", "secret": f" '{second_key}'\n"})
    assert "the new one is in use" in answer.text
    assert "old one kept as fallback" in answer.text
    assert "live syncing is turned on" in setup_browser.page("/").text.lower()
    assert "the old one is removed" in setup_browser.post("/secrets/retire", {"name": "clockify.api_key"}).text
    assert "There was no old one" in setup_browser.post("/secrets/retire", {"name": "clockify.api_key"}).text
    trail = setup_browser.page("/trail").text
    assert [what in trail for what in ("secret rotated", "secret retired", f"@{platform.node()} (console)")] == [
        True
    ] * 3
    assert not [seen for seen in setup_browser.seen if second_key in seen]


@pytest.mark.parametrize(
    ("name", "secret", "expected"),
    [
        ("clockify.api_key", "a-wrong-key", "this API key does not exist"),
        ("clockify.api_key", "", "is empty"),
        ("snapshots.api_key", "sandbox-snapshots-read-only-key", "users.write"),
        ("clockify.addon_token", "some-token", "There is no clockify.addon_token to rotate"),
        ("nothing", "some-token", "Choose which one"),
    ],
)
def test_what_does_not_work_is_not_taken(
    setup_browser: Browser, office: Team, name: str, secret: str, expected: str
) -> None:
    """It is reported next to its field; the one in use stays, without a fallback."""
    connect(setup_browser, office)
    answer = setup_browser.post("/secrets/rotate", {"name": name, "secret": secret})

    assert answer.status_code == 422
    assert expected.lower() in Page(answer.text).text.lower()
    assert not secret or f'value="{secret}"' not in answer.text
    assert "old one kept as fallback" not in answer.text


def test_everything_is_encrypted_with_the_newest_key(tmp_path: Path, office: Team) -> None:
    """With the new key before the old one; afterwards the new one alone is enough."""
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    with consoling(tmp_path / "home", SYNC_ENCRYPTION_KEY=old) as console, browsing(console) as browser:
        browser.sign_in()
        connect(browser, office)
    with consoling(tmp_path / "home", SYNC_ENCRYPTION_KEY=f"{new},{old}") as console, browsing(console) as browser:
        browser.sign_in()
        assert "newest key: 2." in Page(browser.post("/secrets/encrypt-again").text).text
    with consoling(tmp_path / "home", SYNC_ENCRYPTION_KEY=new) as console, browsing(console) as browser:
        browser.sign_in()
        assert "connected" in browser.page("/clockify").text


def test_what_the_environment_decides_is_replaced_there(tmp_path: Path, office: Team) -> None:
    """The variable is named, and nothing else is taken."""
    with consoling(tmp_path / "home") as console, browsing(console) as browser:
        browser.sign_in()
        connect(browser, office)
    with consoling(tmp_path / "home", CLOCKIFY_API_KEY=CLOCKIFY_KEY) as console, browsing(console) as browser:
        browser.sign_in()
        assert "Set by CLOCKIFY_API_KEY in the environment" in browser.page("/secrets").text
        answer = browser.post("/secrets/rotate", {"name": "clockify.api_key", "secret": NEW})
        assert "CLOCKIFY_API_KEY is set in the environment, which takes precedence" in Page(answer.text).text
