"""A console for each test module, and a signed-in browser for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sync_pipeline.console.server import RunningConsole
from sync_pipeline_tests.console.browsing import Browser, browsing, consoling


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
