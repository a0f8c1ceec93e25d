"""Makes the pictures of docs/console.md, docs/figure-alerts.md and docs/automations.md anew: ``python -m sync_pipeline_tests.console.screenshots [directory]``.

A set-up is walked through on the sandbox, and each page is kept as it then looks, 1000 pixels wide. With ``--phone``
the same pages as a phone shows them, for looking at.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Locator, Page, expect

from sync_pipeline_tests.browser import chromium
from sync_pipeline_tests.console.browsing import consoling
from sync_pipeline_tests.console.walk import Walker, walking
from sync_pipeline_tests.generate import ROOT
from sync_pipeline_tests.harness import clean_environ

WIDTH, HEIGHT, PHONE = 1000, 700, 360
SANDBOX_PORT = "8765"
TALLEST = 800
"""A picture shows the beginning of a long page."""


class Camera:
    """Keeps pages as PNG files."""

    def __init__(self, directory: Path, *, on_phone: bool) -> None:
        self._directory, self._width = directory, PHONE if on_phone else WIDTH

    def keep(self, page: Page, name: str, part: Locator | None = None) -> None:
        """The page as it looks now, from its top or from a part of it."""
        page.set_viewport_size({"width": self._width, "height": HEIGHT})
        page.evaluate("() => { window.scrollTo(0, 0); document.activeElement.blur(); }")
        whole = int(page.evaluate("() => document.documentElement.scrollHeight"))
        page.set_viewport_size({"width": self._width, "height": min(whole, self._tallest)})
        if part is not None:
            part.evaluate("(one) => one.scrollIntoView()")
        page.screenshot(path=self._directory / f"console-{name}.png", animations="disabled", caret="hide")

    @property
    def _tallest(self) -> int:
        return TALLEST if self._width == WIDTH else 10 * TALLEST


def main() -> None:
    """Walk and keep."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path, nargs="?", default=ROOT / "docs" / "images")
    parser.add_argument("--phone", action="store_true")
    asked = parser.parse_args()
    asked.directory.mkdir(parents=True, exist_ok=True)
    camera = Camera(asked.directory, on_phone=asked.phone)
    with chromium() as browser:
        for walk in (_walk, _with_highlevel):
            with (
                TemporaryDirectory() as home,
                consoling(Path(home) / "home", SYNC_SANDBOX_PORT=SANDBOX_PORT) as console,
                walking(browser, console.link()) as ana,
            ):
                walk(ana, camera, clean_environ(SYNC_HOME=str(Path(home) / "home"), SYNC_SANDBOX_PORT=SANDBOX_PORT))


def _walk(ana: Walker, camera: Camera, environ: dict[str, str]) -> None:
    _connect(ana, camera)
    _map(ana, camera)
    ana.try_it()
    ana.page.get_by_text(re.compile("Record by record")).nth(1).click()
    camera.keep(ana.page, "try")
    ana.to("/live")
    ana.page.get_by_role("switch").click()
    ana.sees_notice("Live syncing is on")
    camera.keep(ana.page, "live")
    subprocess.run(
        [sys.executable, "-m", "sync_pipeline.cli", "sync"], env=environ, cwd=environ["SYNC_HOME"], check=True
    )
    ana.to("/connections")
    ana.press("Test connection")
    ana.sees("Everything that was checked")
    camera.keep(ana.page, "check")
    ana.to("/dashboard")
    ana.press("Compute now")
    ana.sees_notice("Computed:")
    camera.keep(ana.page, "dashboard")
    _rule(ana, camera)
    _automation(ana, camera)
    for path, name in (
        ("/", "home"),
        ("/activity", "activity"),
        ("/records?state=rejected", "rejects"),
        ("/settings/audit", "trail"),
        ("/connections/clockify", "connection"),
        ("/settings/general", "general"),
        ("/settings/sandbox", "lab"),
    ):
        ana.to(path)
        camera.keep(ana.page, name)


def _rule(ana: Walker, camera: Camera) -> None:
    ana.to("/settings/alerts/new-rule")
    ana.page.get_by_label("Name", exact=True).fill("busy-projects")
    ana.page.get_by_label("Thresholds").fill("100, 150")
    ana.press("Preview")
    ana.sees("Values, worst first")
    camera.keep(ana.page, "alert-rule")


def _automation(ana: Walker, camera: Camera) -> None:
    ana.to("/automations/starter_projects")
    ana.page.locator("select").select_option(index=1)
    ana.press("Preview")
    ana.sees("locations exist")
    camera.keep(ana.page, "automation", ana.page.get_by_role("heading", name="How it works"))


def _with_highlevel(ana: Walker, camera: Camera, environ: dict[str, str]) -> None:
    """From two tokens to a location that is prepared."""
    del environ
    ana.connect_clockify()
    ana.choose_highlevel()
    camera.keep(ana.page, "highlevel-tokens", ana.page.get_by_role("heading", name="Account"))
    ana.press("Connect")
    ana.sees("Sub-account to keep records in")
    camera.keep(ana.page, "highlevel-sub-account")
    ana.press("Connect this sub-account")
    ana.sees_notice("HighLevel is connected.")
    camera.keep(ana.page, "highlevel-prepare")
    ana.press("Make them and measure")
    ana.sees("a second record with the same Project id")
    ana.again()
    camera.keep(ana.page, "highlevel-measured", ana.page.get_by_role("heading", name="Measured"))


def _connect(ana: Walker, camera: Camera) -> None:
    ana.look_up("not-a-key-of-anybody")
    ana.is_refused_at("secret", "does not exist")
    camera.keep(ana.page, "clockify-wrong-key")
    ana.look_up()
    ana.sees("Signed in as")
    camera.keep(ana.page, "clockify")
    ana.connect_clockify()
    ana.fill_snapshots("Authorize: a person consents")
    camera.keep(ana.page, "snapshots")
    ana.begin_consent()
    camera.keep(ana.page, "authorize")
    ana.follow("Go to the consent page")
    ana.press("Allow")
    ana.sees_notice("access was allowed")
    camera.keep(ana.page, "entities")


def _map(ana: Walker, camera: Camera) -> None:
    ana.to("/mapping/projects")
    camera.keep(ana.page, "fields")
    ana.to("/mapping/projects/project_name")
    ana.page.get_by_label("New transform", exact=True).select_option("trim")
    ana.press("Add")
    ana.page.get_by_label("New transform", exact=True).select_option("prefix")
    ana.page.get_by_label("Argument of the new transform").fill("P-")
    expect(ana.page.locator("[data-verdict]")).to_have_text("Valid.")
    camera.keep(ana.page, "field")
    camera.keep(ana.page, "preview", ana.page.get_by_role("heading", name="Preview"))
    ana.page.get_by_label("New transform", exact=True).select_option("truncate")
    expect(ana.page.locator("[data-verdict]")).to_have_text("Not valid yet.")
    camera.keep(ana.page, "field-mistake")


if __name__ == "__main__":
    main()
