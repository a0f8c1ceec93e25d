"""HighLevel by an app: a person consents to the agency, chooses the sub-account, and sees what is wrong with either."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from sync_pipeline.sandbox.highlevel.ids import COMPANY, HOME
from sync_pipeline.sandbox.highlevel.keys import CLIENT_ID, CLIENT_SECRET
from sync_pipeline.sandbox.highlevel.settings import VENDOR
from sync_pipeline_tests.console.browsing import Browser, Page, browsing, consoling
from sync_pipeline_tests.console.setting_up import decide
from sync_pipeline_tests.harness import CLOCKIFY_KEY, Team, team
from sync_pipeline_tests.setup.services import environ_of

APP = {"region": "sandbox", "profile": "highlevel", "way": "app", "app_id": CLIENT_ID, "app_secret": CLIENT_SECRET}


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team on the embedded sandbox, with everything prepared."""
    with team(tmp_path / "home", highlevel_prepared=True, highlevel_locations=3) as us:
        yield us


@pytest.fixture
def browser(us: Team) -> Iterator[Browser]:
    """A signed-in browser; Clockify is connected."""
    environ = environ_of(us)
    with consoling(Path(environ["SYNC_HOME"]), None, **environ) as console, browsing(console) as browser:
        browser.sign_in()
        clockify = {"region": "sandbox", "kind": "api_key", "secret": CLOCKIFY_KEY}
        browser.post("/clockify", {"action": "look"} | clockify, of="/clockify")
        chosen = {"action": "connect", "workspace": us.sandbox.workspace, "plan": "paid"}
        browser.post("/clockify", chosen, of="/clockify")
        yield browser


def authorize(browser: Browser, **changes: str) -> str:
    """As far as our own page about the consent; returns where its link leads."""
    answer = browser.post("/snapshots", APP | changes, of="/snapshots")
    assert answer.url.path == "/setup/snapshots/authorize", Page(answer.text).text
    (link,) = [found["href"] for found in Page(answer.text).all("a") if "chooselocation" in found["href"]]
    return link


def connect(browser: Browser, location: str) -> httpx.Response:
    """Choose a sub-account."""
    return browser.post("/snapshots", {"location": location}, of="/snapshots")


def test_from_the_consent_to_the_sub_account(browser: Browser, us: Team) -> None:
    """Scopes are shown before the link, and without PKCE; the sub-accounts with the app can be chosen, and are named later."""
    ticked = browser.page("/snapshots").text.split("Scopes to tick in the app:")[1]
    assert "objects/record.write" in ticked
    assert "oauth.write" in ticked
    other, foreign = [row["id"] for row in us.control("GET", "highlevel/locations")["locations"][1:3]]
    us.control("POST", "highlevel", {"uninstalled": [other]})

    link = authorize(browser)
    text = browser.page("/snapshots/authorize").text
    assert "saas/location.read" in text
    query = parse_qs(urlsplit(link).query)
    assert not {"code_challenge", "code_challenge_method"} & query.keys()
    assert not VENDOR.search(query["redirect_uri"][0])

    page = Page(browser.get(decide(link, "approve")).text)
    offered = [one["value"] for one in page.all("input") if one.get("name") == "location"]
    assert HOME in offered
    assert "not chosen yet: the HighLevel sub-account" in page.text
    assert other not in offered
    answer = connect(browser, HOME)
    assert answer.url.path == "/setup/prepare"
    assert "HighLevel is connected" in answer.text
    text = browser.page("/connections/snapshots").text
    assert f"of {COMPANY}, with a token for {HOME}" in text
    assert all(CLIENT_SECRET not in seen.replace(f"with the secret {CLIENT_SECRET}", "") for seen in browser.seen)
    assert foreign in offered

    # Authorized again, another one can be chosen.
    link = authorize(browser, app_secret="")
    browser.get(decide(link, "approve"))
    assert connect(browser, foreign).url.path == "/setup/prepare"
    assert f"with a token for {foreign}" in browser.page("/connections/snapshots").text


def test_the_app_is_taken_out_of_the_sub_account(browser: Browser, us: Team) -> None:
    """Between the list and the choice: it is reported next to the choice, and nothing is connected."""
    browser.get(decide(authorize(browser), "approve"))
    us.control("POST", "highlevel", {"uninstalled": [HOME]})
    answer = connect(browser, HOME)
    assert answer.status_code == 422
    assert "The app is for" in Page(answer.text).text


def test_what_the_consent_page_would_refuse_is_said_before(browser: Browser) -> None:
    """HighLevel never sends such a person back."""
    for change, expected in (
        ({"app_id": "nobody"}, "does not know this client id"),
        ({"app_id": ""}, "client id is missing"),
        ({"app_secret": ""}, "client secret is missing"),
        ({"app_scopes": "calendars.write"}, "does not know this client id"),
        (
            {"app_scopes": "locations.readonly calendars.write oauth.write"},
            "may not ask for the scope calendars.write (it answered 400). Tick calendars.write in the app's settings",
        ),
    ):
        answer = browser.post("/snapshots", APP | change, of="/snapshots")
        assert answer.status_code == 422
        assert expected in Page(answer.text).text
        assert 'href="#app_' in answer.text


def test_a_person_refuses(browser: Browser) -> None:
    """It is shown next to the app, and can be asked again."""
    answer = browser.get(decide(authorize(browser), "deny"))
    assert answer.status_code == 422
    assert "refused" in Page(answer.text).text
    assert authorize(browser, app_secret="")
