"""Consent: asked for on the target's page, answered to the session that asked, once."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from sync_pipeline_tests.console.browsing import Browser, Page, browsing
from sync_pipeline_tests.console.setting_up import CLIENT_SECRET, authorize, choose, decide, look, snapshots
from sync_pipeline_tests.harness import Team


@pytest.fixture
def browser(setup_browser: Browser, office: Team) -> Browser:
    """Clockify is connected."""
    look(setup_browser, office)
    choose(setup_browser, office)
    return setup_browser


def test_someone_allows_the_access(browser: Browser, office: Team) -> None:
    """The page before states where it leads and what is requested; afterwards the system is connected."""
    link = authorize(browser, office)
    text = browser.page("/snapshots/authorize").text
    assert urlsplit(link).netloc in text
    assert "saas/location.read" in text

    answer = browser.get(decide(link, "approve"))
    assert answer.url.path == "/mapping"
    assert "access was allowed" in answer.text
    assert "connected" in browser.page("/snapshots").text
    assert all(CLIENT_SECRET not in seen.replace(f"with the secret {CLIENT_SECRET}", "") for seen in browser.seen)


def test_someone_refuses(browser: Browser, office: Team) -> None:
    """That is shown next to the way to sign in, and it can be asked again."""
    answer = browser.get(decide(authorize(browser, office), "deny"))

    assert answer.status_code == 422
    assert "refused" in Page(answer.text).text
    assert browser.post("/setup/snapshots/authorize", of="/setup/snapshots").url.path == "/setup/snapshots/authorize"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("invalid_scope", "scope"),
        ("server_error", "server error"),
        ("temporarily_unavailable", "later"),
        ("<script>x</script>", "consent"),
    ],
)
def test_errors_are_distinguished(browser: Browser, office: Team, error: str, expected: str) -> None:
    """Each with what to do; the target's message is shown as text."""
    state = parse_qs(urlsplit(authorize(browser, office)).query)["state"][0]
    url = f"{browser.console.url}/snapshots/callback"
    answer = browser.client.get(url, params={"error": error, "error_description": "<script>x</script>", "state": state})

    assert answer.status_code == 422
    assert expected in answer.text
    assert "<script>x" not in answer.text


@pytest.mark.parametrize("change", ["tampered", "", "é"])
def test_a_tampered_state_is_refused(browser: Browser, office: Team, change: str) -> None:
    """Nothing is connected, and the real answer still works afterwards."""
    back = decide(authorize(browser, office), "approve")
    query = {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}
    url = f"{browser.console.url}/snapshots/callback"

    assert browser.client.get(url, params={**query, "state": change}).status_code == 400
    assert "no one has consented yet" in browser.page("/snapshots").text
    assert browser.get(back).url.path == "/mapping"


def test_an_answer_for_another_session_is_refused(browser: Browser, office: Team) -> None:
    """A link with an attacker's code, sent to someone who is signed in, connects nothing."""
    back = decide(authorize(browser, office), "approve")
    with browsing(browser.console) as other:
        assert other.get(back).status_code == 401
        other.sign_in()
        assert other.get(back).status_code == 400

    assert browser.get(back).url.path == "/mapping"


def test_the_return_address_stays_what_was_registered(browser: Browser, office: Team) -> None:
    """127.0.0.1 and the port, although the session is at the installation's host; it leads on to there without the code."""
    port = urlsplit(browser.console.url).port
    link = authorize(browser, office)
    registered = f"http://127.0.0.1:{port}/snapshots/callback"
    assert parse_qs(urlsplit(link).query)["redirect_uri"] == [registered]
    inputs = browser.page("/snapshots").all("input")
    assert [one["value"] for one in inputs if one.get("id") == "redirect_uri"] == [registered]

    back = decide(link, "approve")
    assert back.startswith(f"{registered}?")
    with browsing(browser.console) as other:  # the cookie is not sent to this address
        on = other.client.get(back, follow_redirects=False)
    assert on.status_code == 303
    assert on.headers["location"].startswith(f"{browser.console.url}/snapshots/authorized?state=")
    assert "code=" not in on.headers["location"]
    assert browser.get(on.headers["location"]).url.path == "/mapping"


def test_looking_at_the_way_back_uses_nothing_up(browser: Browser, office: Team) -> None:
    """HEAD and POST are refused; the GET afterwards connects."""
    back = decide(authorize(browser, office), "approve")
    assert browser.client.head(back).status_code == 405
    assert browser.client.post(back).status_code in {405, 421}
    assert browser.get(back).url.path == "/mapping"


def test_the_first_answer_counts(browser: Browser, office: Team) -> None:
    """Another one with the same state replaces nothing."""
    back = decide(authorize(browser, office), "approve")
    browser.client.get(back, follow_redirects=False)
    forged = back.replace(parse_qs(urlsplit(back).query)["code"][0], "forged")
    assert browser.get(forged).url.path == "/mapping"


@pytest.mark.parametrize("state", ["", "unknown", "é"])
def test_an_unknown_state_is_refused(browser: Browser, state: str) -> None:
    """Nothing is kept for any browser that comes back with it; the link leads to the step."""
    url = f"http://127.0.0.1:{urlsplit(browser.console.url).port}/snapshots/callback"
    answer = browser.client.get(url, params={"state": state, "code": "x"})
    assert answer.status_code == 400
    assert f'href="{browser.console.url}/setup/snapshots"' in answer.text


def test_an_answer_is_taken_once(browser: Browser, office: Team) -> None:
    """A reload of the way back is refused, and changes nothing."""
    back = decide(authorize(browser, office), "approve")
    browser.get(back)

    assert browser.get(back).status_code == 400
    assert "connected" in browser.page("/snapshots").text


@pytest.mark.parametrize("code", ["", "forged", "<script>"])
def test_a_wrong_code_is_reported(browser: Browser, office: Team, code: str) -> None:
    """The other side does not redeem it."""
    state = parse_qs(urlsplit(authorize(browser, office)).query)["state"][0]
    answer = browser.client.get(f"{browser.console.url}/snapshots/callback", params={"code": code, "state": state})

    assert answer.status_code == 422
    assert "There is a problem" in answer.text


@pytest.mark.parametrize("name", ["next", "url", "redirect_uri", "return_to", "back"])
def test_nothing_leads_elsewhere(browser: Browser, name: str) -> None:
    """No parameter makes the console redirect to another host."""
    for path in ("/", "/sign-in", "/snapshots/callback", "/setup/snapshots/authorize", "/setup/clockify"):
        answer = browser.client.get(
            browser.console.url + path, params={name: "https://evil.example"}, follow_redirects=False
        )
        assert "evil.example" not in answer.headers.get("location", "")
    assert "evil.example" not in str(
        browser.post("/setup/live", {"on": "", name: "//evil.example", "back": "//evil.example"}).url
    )


def test_an_unknown_client_is_reported(browser: Browser, office: Team) -> None:
    """Before anyone is sent anywhere."""
    answer = snapshots(browser, office, auth="authorization_code", client_id="nobody", client_secret="some-secret")

    assert answer.status_code == 422
    assert answer.url.path == "/setup/snapshots"
