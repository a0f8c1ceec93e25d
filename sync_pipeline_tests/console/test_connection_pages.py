"""The page of each connected system: facts only, permissions by the last test, another key, and cutting it off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import playwright.sync_api
import pytest

from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.credentials import WEBHOOK, put
from sync_pipeline.store.events import Received, receive_many
from sync_pipeline.store.health import note_failure, note_ok
from sync_pipeline_tests.console.browsing import Browser, Page, browsing, consoling
from sync_pipeline_tests.console.setting_up import choose, connect, look, snapshots
from sync_pipeline_tests.console.walk import walking
from sync_pipeline_tests.harness import CLOCKIFY_KEY, Team

READ_ONLY = "sandbox-snapshots-read-only-key"
SECOND = "sandbox-clockify-another-key"
HERE = "/connections/clockify"


@dataclass
class Connected:
    """A console with both systems connected, Clockify on the Free plan."""

    browser: Browser
    setup: SetupService
    us: Team

    def text(self, path: str = HERE) -> str:
        """The words of a page."""
        return self.browser.page(path).text


@pytest.fixture
def here(tmp_path: Path, office: Team) -> Iterator[Connected]:
    """Connected in the console; nothing was tested yet."""
    setup = SetupService("Ana (test)", root=tmp_path, environ={"SYNC_HOME": str(tmp_path / "home")})
    with consoling(tmp_path / "home") as console, browsing(console) as browser:
        browser.sign_in()
        look(browser, office)
        choose(browser, office, plan="free")
        snapshots(browser, office)
        yield Connected(browser, setup, office)


def test_a_page_shows_facts_and_asks_no_one(here: Connected) -> None:
    """Workspace and account by the names that were seen when they were connected, the budget with when it is full again."""
    workspace = here.us.clockify("GET", "")["name"]
    here.us.forget_stats()
    for path in (HERE, "/connections/snapshots", "/connections", f"{HERE}/disconnect"):
        assert here.browser.get(path).status_code == 200
    assert here.us.requests() == {}
    text = here.text()
    assert f"Workspace {workspace} {here.us.sandbox.workspace}" in text
    assert "API key, " in text
    assert "@" in text
    assert "3 of 30 requests used this hour, 27 left" not in text, "connecting looks twice"
    assert "6 of 30 requests used this hour, 24 left" in text
    assert "All of them are free again in 59 min" in text
    assert workspace in here.text("/connections")
    assert "Not tested yet." in text
    assert text.count("not known") == 4


def test_permissions_are_those_of_the_last_test(here: Connected) -> None:
    """Also after the console was started again, and when one system was tested only."""
    answer = here.browser.post("/connections", {"system": "clockify"})
    assert answer.url.path == HERE
    here.browser.wait("/connections/progress")
    page = here.browser.page(HERE)
    assert "users May read ok May write not needed" in _rows(page.text)
    assert "locations May read not needed May write ok" in _rows(page.text)
    assert "Not tested yet." in here.text("/connections/snapshots")
    assert "Everything that was checked is as it should be." in here.text()
    assert here.text().count("not known") == 0


def _rows(text: str) -> str:
    """The permissions with the heads of their columns, as a narrow page shows them."""
    table = text.partition("Entity May read May write ")[2].partition(" As of the test")[0]
    words = table.replace("time entries", "time_entries").replace("not needed", "not_needed").split()
    rows = [words[at : at + 3] for at in range(0, len(words), 3)]
    return "\n".join(f"{name} May read {read} May write {write}" for name, read, write in rows).replace("_", " ")


def test_a_missing_permission_is_named_with_what_to_do(tmp_path: Path, office: Team) -> None:
    """A key that may only read: each entity that is written there lacks it."""
    environ = office.environ | {"SNAPSHOTS_API_KEY": READ_ONLY, "SYNC_HOME": str(tmp_path / "home")}
    with consoling(tmp_path / "home", None, **environ) as console, browsing(console) as browser:
        browser.sign_in()
        browser.post("/connections", {"system": "snapshots"})
        browser.wait("/connections/progress")
        text = browser.page("/connections/snapshots").text
        assert text.partition("Permissions")[2].partition("As of the test")[0].count("ok missing") == 3
        assert "users.write" in text
        assert "Account and key are set in the environment; change them there." in text
        assert "Replace the key" not in text


def test_the_last_failure_stays_known(here: Connected) -> None:
    """With its meaning, and that it is over."""
    with here.setup.reading() as session:
        note_failure(session.store, session.pair, "clockify", "key refused", "The key was revoked. Replace it.")
    assert "Health key refused" in here.text()
    assert "The key was revoked. Replace it." in here.text()
    with here.setup.reading() as session:
        note_ok(session.store, session.pair, "clockify")
    text = here.text()
    assert "Health connected" in text
    assert "resolved The key was revoked. Replace it." in text


def test_webhooks_with_their_last_events(here: Connected) -> None:
    """What is registered, and when each last brought something."""
    assert "None are registered: changes are found by polling." in here.text()
    at = datetime(2026, 11, 25, 15, 7, tzinfo=UTC)
    with here.setup.reading() as session, here.setup.vault() as vault:
        for event in ("NEW_TIME_ENTRY", "NEW_PROJECT"):
            put(session.store, vault.keyring, session.pair, f"{WEBHOOK}{event}", {}, at)
        received = Received("x", "NEW_TIME_ENTRY", "time_entries", "1", "{}", at, "NEW_TIME_ENTRY")
        receive_many(session.store, session.pair, "clockify", [received])
    text = here.text()
    assert "NEW_PROJECT none is kept" in text
    assert "2026-11-25 15:07 UTC" in text.partition("NEW_TIME_ENTRY")[2][:60]


def test_a_key_is_replaced_in_place(here: Connected) -> None:
    """A wrong one is refused next to its field; a good one is used, and no page ever shows it."""
    wrong = here.browser.post(f"{HERE}/key", {"secret": "a-wrong-key"})
    assert (wrong.status_code, "this api key does not exist" in Page(wrong.text).text.lower()) == (422, True)
    copy = "INSERT OR IGNORE INTO api_keys (key, kind, user_id, note) SELECT ?, kind, user_id, ? FROM api_keys WHERE key = ?"
    here.us.sandbox.world.db.execute(copy, (SECOND, SECOND, CLOCKIFY_KEY))
    good = here.browser.post(f"{HERE}/key", {"secret": SECOND})
    assert (good.url.path, "the new one is in use" in good.text) == (HERE, True)
    assert not [seen for seen in here.browser.seen if SECOND in seen or "a-wrong-key" in seen]


def test_disconnecting_asks_for_the_name(here: Connected) -> None:
    """A page states what is forgotten and what stays; another name changes nothing; a form of an older page leads here."""
    workspace, page = here.us.clockify("GET", "")["name"], f"{HERE}/disconnect"
    assert "What is kept" in here.text(page)
    before = here.setup.revision()
    for typed in ("", "something else"):
        refused = here.browser.post("/clockify/disconnect", {"name": typed}, of=page)
        assert (refused.status_code, refused.url.path) == (422, page)
        assert f"Type {workspace} to disconnect it. Nothing was changed." in Page(refused.text).text
    assert here.setup.revision() == before
    done = here.browser.post(page, {"name": workspace.upper()}, of=page)
    assert "Clockify is disconnected; its secrets are forgotten." in done.text
    assert "Clockify is not set up" in here.text()
    assert workspace not in here.text()


def test_a_system_that_does_not_exist(browser: Browser) -> None:
    """A sentence."""
    answer = browser.get("/connections/nothing")
    assert (answer.status_code, "There is no system" in answer.text) == (404, True)


def test_the_pages_in_a_browser(setup_browser: Browser, office: Team, chrome: playwright.sync_api.Browser) -> None:
    """Wide and narrow, light and dark; a connection is tested and disconnected with a real browser."""
    connect(setup_browser, office)
    with walking(chrome, setup_browser.console.link()) as ana:
        ana.to(HERE)
        ana.press("Test this connection")
        ana.sees("Everything that was checked is as it should be.")
        for path in (HERE, "/connections/snapshots", f"{HERE}/disconnect", "/connections"):
            ana.to(path)
            ana.audit()
        ana.to(HERE)
        ana.follow("Disconnect Clockify")
        ana.page.get_by_label("Type the name to confirm").fill("nothing")
        ana.press("Disconnect Clockify")
        ana.is_refused_at("name", "Nothing was changed")
        ana.page.get_by_label("Type the name to confirm").fill("clockify")
        ana.press("Disconnect Clockify")
        ana.sees_notice("Clockify is disconnected")
