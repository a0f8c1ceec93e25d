"""What is around each page: the places, the set-up steps until the first time live, a band with the mode, old addresses."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sync_pipeline.console.frame import STEPS, ago, following, steps_of
from sync_pipeline.setup import trial
from sync_pipeline.setup.fields import drop_field
from sync_pipeline.setup.service import SetupService
from sync_pipeline.setup.switching import turn_off, turn_on
from sync_pipeline_tests.console.browsing import Browser, Page, browsing, consoling
from sync_pipeline_tests.console.setting_up import connect
from sync_pipeline_tests.harness import Team

NOW = datetime(2026, 11, 26, 13, 0, tzinfo=UTC)


@pytest.fixture
def setup(tmp_path: Path) -> SetupService:
    """The set-up of the console's home."""
    return SetupService("Ana (test)", root=tmp_path, environ={"SYNC_HOME": str(tmp_path / "home")})


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Browser]:
    """A signed-in browser on a home where nothing is set up."""
    with consoling(tmp_path / "home") as console, browsing(console) as browser:
        browser.sign_in()
        yield browser


@pytest.mark.parametrize("count", range(5))
def test_the_first_step_that_is_not_done_is_the_current_one(count: int) -> None:
    """Those before it are done, those after it come later, and *Continue* leads to it from every other page."""
    steps = steps_of({name: number < count for number, name in enumerate(STEPS)})
    assert [step.state for step in steps] == ["done"] * count + ["current"] + ["later"] * (4 - count)
    assert following(steps, "") == steps[count]
    here = following(steps, steps[count].name)
    assert here == (steps[3] if steps[count].name == "mapping" else None), "the fields may be left as they are"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (-3, "just now"),
        (42, "42 s ago"),
        (150, "2 min ago"),
        (7200, "2 h ago"),
        (172800, "2 d ago"),
        (-120, "in 2 min"),
        (86400 * 60, "2026-09-27"),
    ],
)
def test_how_long_ago(seconds: int, words: str) -> None:
    """In one unit; a day long ago is named."""
    assert ago(NOW - timedelta(seconds=seconds), NOW) == words


def test_the_steps_and_the_band_until_live(fresh: Browser, office: Team, setup: SetupService) -> None:
    """Sample data, then a preview; the steps go once live syncing is on, and do not come back when it is off."""
    page = fresh.page("/")
    assert "Sandbox. Everything here is sample data" in page.text
    assert "Continue: Clockify" in page.text
    connect(fresh, office)
    page = fresh.page("/")
    assert "Preview. Nothing is written" in page.text
    assert {"Clockify (done)", "Snapshots (done)", "5 Go live (later)"} <= steps_on(page)
    assert "Continue: Mapping" in page.text
    assert "Continue: Preview" in fresh.page("/mapping").text
    trial.run(setup, trial.begin(setup, "dry_run"), "dry_run")
    assert "Continue: Go live" in fresh.page("/").text
    turn_on(setup)
    page = fresh.page("/")
    assert not steps_on(page)
    assert not [found for found in page.all("div") if "band" in found.get("class", "")]
    turn_off(setup)
    page = fresh.page("/")
    assert not steps_on(page)
    assert "Live syncing is off. Turned off just now" in page.text
    assert "by Ana (test)" in page.text


def test_what_paused_live_syncing_is_named(fresh: Browser, office: Team, setup: SetupService) -> None:
    """The change, since when and whose it was, on every page."""
    connect(fresh, office)
    trial.run(setup, trial.begin(setup, "dry_run"), "dry_run")
    turn_on(setup)
    ben = setup.acting_as("Ben (test)")
    ben.change({"start_date": "2026-01-01"}, "start date", "2026-01-01")
    assert "Live syncing is paused" not in fresh.page("/help").text
    drop_field(ben, "time_entries", "tags", since=None)
    for path in ("/", "/help", "/connections"):
        assert "so nothing is synced automatically: mapping changed, just now" in fresh.page(path).text
        assert "by Ben (test). Preview the change" in fresh.page(path).text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/check", "/connections"),
        ("/clockify?again=1", "/setup/clockify?again=1"),
        ("/snapshots", "/setup/snapshots"),
        ("/try", "/setup/preview"),
        ("/live", "/setup/live"),
        ("/setup/mapping", "/mapping"),
        ("/fields", "/mapping"),
        ("/fields/users", "/mapping/users"),
        ("/fields/users/new?source=name", "/mapping/new/users?source=name"),
        ("/fields/users/edit/email", "/mapping/users/email"),
        ("/secrets", "/settings/secrets"),
        ("/settings", "/settings/general"),
        ("/trail?x=1", "/settings/audit?x=1"),
    ],
)
def test_old_addresses_lead_to_the_new_ones(browser: Browser, old: str, new: str) -> None:
    """Permanently, with what was asked for."""
    answer = browser.get(old)
    assert answer.history[0].status_code == 308
    assert (str(answer.url.raw_path, "ascii"), answer.status_code) == (new, 200)


def test_a_form_of_an_old_page_still_works(browser: Browser) -> None:
    """It is sent on, with what it holds."""
    answer = browser.post("/secrets/retire", {"name": "clockify.api_key"})
    assert "There was no old one" in Page(answer.text).text


def steps_on(page: Page) -> set[str]:
    """The steps on a page that are done or come later, as read aloud."""
    if not [found for found in page.all("nav") if found.get("class") == "steps"]:
        return set()
    read = {f"{name} (done)" for name in STEPS.values()}
    read |= {f"{number} {name} (later)" for number, name in enumerate(STEPS.values(), 1)}
    return {words for words in read if words in page.text}
