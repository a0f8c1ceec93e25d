"""Consent: asked for on the other side's page, answered to the session that asked, once."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from sync_pipeline_tests.console.browsing import Browser, Page, browsing
from sync_pipeline_tests.console.setting_up import CLIENT_SECRET, authorize, choose, decide, look, snapshots
from sync_pipeline_tests.harness import Team


@pytest.fixture
def browser(desk_browser: Browser, office: Team) -> Browser:
    """Clockify is connected."""
    look(desk_browser, office)
    choose(desk_browser, office)
    return desk_browser


def test_somebody_allows_the_access(browser: Browser, office: Team) -> None:
    """The page before tells where it leads and what is asked; afterwards the connection stands."""
    link = authorize(browser, office)
    told = browser.page("/snapshots/authorize").text
    assert urlsplit(link).netloc in told
    assert "saas/location.read" in told

    answer = browser.get(decide(link, "approve"))
    assert answer.url.path == "/fields"
    assert "access was allowed" in answer.text
    assert "connected" in browser.page("/snapshots").text
    assert all(CLIENT_SECRET not in seen.replace(f"with the secret {CLIENT_SECRET}", "") for seen in browser.seen)


def test_somebody_refuses(browser: Browser, office: Team) -> None:
    """That is told beside the way to sign in, and it can be asked again."""
    answer = browser.get(decide(authorize(browser, office), "deny"))

    assert answer.status_code == 422
    assert "refused" in Page(answer.text).text
    assert browser.post("/snapshots/authorize", of="/snapshots").url.path == "/snapshots/authorize"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("invalid_scope", "scope"),
        ("server_error", "trouble"),
        ("temporarily_unavailable", "later"),
        ("<script>x</script>", "consent"),
    ],
)
def test_errors_are_told_apart(browser: Browser, office: Team, error: str, told: str) -> None:
    """Each with what to do; what the other side says is shown as text."""
    state = parse_qs(urlsplit(authorize(browser, office)).query)["state"][0]
    url = f"{browser.console.url}/snapshots/callback"
    answer = browser.client.get(url, params={"error": error, "error_description": "<script>x</script>", "state": state})

    assert answer.status_code == 422
    assert told in answer.text
    assert "<script>x" not in answer.text


@pytest.mark.parametrize("change", ["tampered", "", "é"])
def test_a_tampered_state_is_refused(browser: Browser, office: Team, change: str) -> None:
    """Nothing is connected, and the real answer still works afterwards."""
    back = decide(authorize(browser, office), "approve")
    query = {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}
    url = f"{browser.console.url}/snapshots/callback"

    assert browser.client.get(url, params={**query, "state": change}).status_code == 400
    assert "nobody has consented yet" in browser.page("/snapshots").text
    assert browser.get(back).url.path == "/fields"


def test_an_answer_for_another_session_is_refused(browser: Browser, office: Team) -> None:
    """A link with an attacker's code, sent to somebody who is signed in, connects nothing."""
    back = decide(authorize(browser, office), "approve")
    with browsing(browser.console) as other:
        assert other.get(back).status_code == 401
        other.sign_in()
        assert other.get(back).status_code == 400

    assert browser.get(back).url.path == "/fields"


def test_an_answer_is_taken_once(browser: Browser, office: Team) -> None:
    """A reload of the way back is refused, and changes nothing."""
    back = decide(authorize(browser, office), "approve")
    browser.get(back)

    assert browser.get(back).status_code == 400
    assert "connected" in browser.page("/snapshots").text


@pytest.mark.parametrize("code", ["", "forged", "<script>"])
def test_a_wrong_code_is_told(browser: Browser, office: Team, code: str) -> None:
    """The other side does not redeem it."""
    state = parse_qs(urlsplit(authorize(browser, office)).query)["state"][0]
    answer = browser.client.get(f"{browser.console.url}/snapshots/callback", params={"code": code, "state": state})

    assert answer.status_code == 422
    assert "There is a problem" in answer.text


@pytest.mark.parametrize("name", ["next", "url", "redirect_uri", "return_to", "back"])
def test_nothing_leads_elsewhere(browser: Browser, name: str) -> None:
    """No parameter makes the console redirect to another host."""
    for path in ("/", "/sign-in", "/snapshots/callback", "/snapshots/authorize", "/clockify"):
        answer = browser.client.get(
            browser.console.url + path, params={name: "https://evil.example"}, follow_redirects=False
        )
        assert "evil.example" not in answer.headers.get("location", "")
    assert "evil.example" not in str(
        browser.post("/live", {"on": "", name: "//evil.example", "back": "//evil.example"}).url
    )


def test_a_client_that_is_not_known_is_told(browser: Browser, office: Team) -> None:
    """Before anybody is sent anywhere."""
    answer = snapshots(browser, office, auth="authorization_code", client_id="nobody", client_secret="some-secret")

    assert answer.status_code == 422
    assert answer.url.path == "/snapshots"
