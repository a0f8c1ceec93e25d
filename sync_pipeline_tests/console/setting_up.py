"""What someone does at the steps, as forms: on the office's systems, entered as a custom address."""

from __future__ import annotations

import httpx

from sync_pipeline_tests.console.browsing import Browser, Page
from sync_pipeline_tests.harness import CLOCKIFY_KEY, SNAPSHOTS_KEY, Team

CLIENT, CLIENT_SECRET = "sandbox-client", "sandbox-secret"


def look(browser: Browser, us: Team, **changes: str) -> httpx.Response:
    """Step 1, first half: whose key is it."""
    fields = {
        "action": "look",
        "region": "custom",
        "base_url": us.sandbox.clockify,
        "reports_url": us.sandbox.reports,
        "kind": "api_key",
        "secret": CLOCKIFY_KEY,
    }
    return browser.post("/clockify", fields | changes, of="/clockify")


def choose(browser: Browser, us: Team, **changes: str) -> httpx.Response:
    """Step 1, second half: the workspace."""
    fields = {"action": "connect", "workspace": us.sandbox.workspace, "plan": "paid"}
    return browser.post("/clockify", fields | changes, of="/clockify")


def snapshots(browser: Browser, us: Team, **changes: str) -> httpx.Response:
    """Step 2."""
    fields = {
        "region": "custom",
        "profile": "generic",
        "base_url": us.sandbox.snapshots,
        "auth": "api_key",
        "api_key": SNAPSHOTS_KEY,
    }
    return browser.post("/snapshots", fields | changes, of="/snapshots")


def authorize(browser: Browser, us: Team, **changes: str) -> str:
    """Step 2 by consent, as far as our own page about it; returns where its link leads."""
    fields = {"auth": "authorization_code", "api_key": "", "client_id": CLIENT, "client_secret": CLIENT_SECRET}
    answer = snapshots(browser, us, **(fields | changes))
    assert answer.url.path == "/setup/snapshots/authorize", Page(answer.text).text
    (link,) = [found["href"] for found in Page(answer.text).all("a") if "authorize?" in found["href"]]
    return link


def decide(link: str, decision: str) -> str:
    """A person answers on the consent page; returns the address the browser is sent back to."""
    url, _, query = link.partition("?")
    with httpx.Client(trust_env=False) as person:
        answer = person.post(
            url, content=f"{query}&decision={decision}", headers={"content-type": "application/x-www-form-urlencoded"}
        )
    return answer.headers["location"]


def connect(browser: Browser, us: Team) -> None:
    """Both steps."""
    assert look(browser, us).status_code == 200
    assert choose(browser, us).url.path == "/setup/snapshots"
    assert snapshots(browser, us).url.path == "/mapping"
