"""A console for each test module, and a signed-in browser for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import playwright.sync_api
import pytest
from playwright.sync_api import expect

from sync_pipeline.console.server import RunningConsole
from sync_pipeline_tests.browser import chromium
from sync_pipeline_tests.console.browsing import Browser, browsing, consoling
from sync_pipeline_tests.harness import Team, team

EXPECT_MS = 20_000
"""How long a page may take: much longer than it does, for machines that are busy."""


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    """A console on a fresh home; tests of a module share it."""
    with consoling(tmp_path_factory.mktemp("console") / "home") as found:
        yield found


@pytest.fixture
def stranger(console: RunningConsole) -> Iterator[Browser]:
    """A browser that is not signed in."""
    with browsing(console) as browser:
        yield browser


@pytest.fixture
def browser(stranger: Browser) -> Browser:
    """A browser that is signed in."""
    assert stranger.sign_in().status_code == 200
    return stranger


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Both systems with a little data, at addresses of their own as real accounts are."""
    with team(tmp_path_factory.mktemp("office")) as us:
        yield us


@pytest.fixture
def setup_browser(tmp_path: Path) -> Iterator[Browser]:
    """A signed-in browser at a console where nothing is set up, for tests that set up."""
    with consoling(tmp_path / "home") as console, browsing(console) as browser:
        browser.sign_in()
        yield browser


@pytest.fixture(scope="module")
def chrome() -> Iterator[playwright.sync_api.Browser]:
    """A real browser, one a module; skips when none is installed."""
    expect.set_options(timeout=EXPECT_MS)
    with chromium() as found:
        yield found
