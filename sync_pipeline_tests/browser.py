"""A real browser for tests: an installed Chromium, driven by Playwright, and what axe finds on a page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NONE = "No Chromium is installed. Debian and Ubuntu: apt-get install chromium; elsewhere any of: " + ", ".join(NAMES)
# Nothing but the page itself may be asked for: no updates, no start page, no telemetry.
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SERIOUS = ("serious", "critical")


@contextmanager
def chromium(*more: str) -> Iterator[Browser]:
    """An installed Chromium, with more switches; without one the test is skipped and states how to get it."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(NONE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=[*QUIET, *more])
        try:
            yield browser
        finally:
            browser.close()


def accessibility_faults(page: Page, *rules: str) -> list[str]:
    """What axe finds that is serious or worse: the rule, and where. By all of its rules, or by these alone."""
    options: dict[str, Any] = {"resultTypes": ["violations"]}  # it would describe all that is in order, too
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate("(options) => axe.run(options)", options)["violations"]
    return [
        f"{fault['id']}: {', '.join(str(node['target']) for node in fault['nodes'])}"
        for fault in found
        if fault["impact"] in SERIOUS
    ]


def keep(page: Page, directory: Path, name: str) -> None:
    """A screenshot of the whole page."""
    directory.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=directory / f"{name}.png", full_page=True)
