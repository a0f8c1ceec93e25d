"""Someone at a real browser: what he or she does at each step, and a watch for whatever a page must never do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Locator, Page, Request, expect

from sync_pipeline.sandbox.highlevel.keys import AGENCY_TOKEN, HOME_TOKEN
from sync_pipeline.serving import is_local
from sync_pipeline_tests.browser import accessibility_faults
from sync_pipeline_tests.console.setting_up import CLIENT, CLIENT_SECRET
from sync_pipeline_tests.harness import CLOCKIFY_KEY, SNAPSHOTS_KEY, Team

T = TypeVar("T")

PATIENCE_MS = 60_000
"""For what takes its time; a page itself has half of it."""
DESKTOP, PHONE = (1280, 900), (360, 740)
# What is not of colour is the same in both schemes.
LOOKS = (
    (DESKTOP, "light"),
    (DESKTOP, "dark", "color-contrast"),
    (PHONE, "dark"),
    (PHONE, "light", "color-contrast"),
)
# Chromium notes each page with an error status; that they have one is what tests look at.
PAGES_THAT_SAY_NO = re.compile(r"Failed to load resource: the server responded with a status of 4\d\d")
WIDER_THAN_THE_SCREEN = """
() => [...document.querySelectorAll("body, body *")]
  .filter((part) => part.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .filter((part) => !part.closest("pre, .unseen, thead, .skip"))
  .map((part) => part.outerHTML.slice(0, 120))
"""
TOO_CLOSE = """
() => {
  const room = 8, all = [...document.querySelectorAll("main button:not(.link), main .button")];
  const seen = all.map((one) => one.getBoundingClientRect()).filter((box) => box.width > 0);
  const apart = (a, b) => a.right + room <= b.left || b.right + room <= a.left || a.bottom + room <= b.top || b.bottom + room <= a.top;
  return seen.some((a, index) => seen.slice(index + 1).some((b) => !apart(a, b)));
}
"""
"""Two buttons with less than 8 pixels between them: a thumb takes the wrong one."""
HAS_FOCUS_RING = """
() => {
  const style = getComputedStyle(document.activeElement);
  return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
}
"""


@dataclass  # no slots: Playwright keeps something of its own on whose methods it calls
class Watch:
    """What pages asked for, and what went wrong in them; every page of a context is watched."""

    faults: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def over(self, context: BrowserContext) -> None:
        """Watch a context from now on."""
        context.on("request", self._request)
        context.on("console", self._said)
        context.on("weberror", lambda error: self.faults.append(f"error: {error.error}"))
        context.on("dialog", self._dialog)

    def _request(self, request: Request) -> None:
        """A link leads where its text states; whatever else a page asks for is of its own origin."""
        to = urlsplit(request.url)
        if request.is_navigation_request():
            is_other = not is_local(to.netloc)
        else:
            is_other = to.netloc != urlsplit(request.frame.url).netloc
        if is_other:
            self.faults.append(f"asks {to.netloc} for {to.path}")

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not PAGES_THAT_SAY_NO.match(message.text):
            self.faults.append(f"{message.type}: {message.text}")

    def _dialog(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.accept()


@dataclass(slots=True)
class Walker:
    """Someone who walks through the console; ``us`` is whose systems are connected, at addresses of their own."""

    page: Page
    url: str
    watch: Watch
    us: Team | None = None

    # -- moving -------------------------------------------------------------------------------------------------

    def to(self, path: str) -> None:
        """Open a page by its address."""
        self.page.goto(self.url + path)

    def is_at(self, path: str) -> None:
        """The browser is at this page."""
        expect(self.page).to_have_url(re.compile(re.escape(self.url + path) + r"(\?.*)?$"))

    def reload(self) -> None:
        """The page is the same after a reload: its heading stays, nothing is lost."""
        heading, path = self.heading.inner_text(), urlsplit(self.page.url).path
        self.again()
        expect(self.heading).to_have_text(heading)
        self.is_at(path)

    def again(self) -> None:
        """Load the page again; a page that is still on its way to the browser cannot be reloaded."""
        self.page.wait_for_load_state()
        self.page.reload()

    def press(self, name: str) -> None:
        """Press a button by its label."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def follow(self, name: str) -> None:
        """Follow a link by its text."""
        self.page.get_by_role("link", name=name, exact=True).first.click()

    # -- seeing -------------------------------------------------------------------------------------------------

    @property
    def heading(self) -> Locator:
        """The page's title."""
        return self.page.get_by_role("heading", level=1)

    def sees(self, text: str | re.Pattern[str]) -> None:
        """Some visible text."""
        expect(self.page.get_by_text(text).filter(visible=True).first).to_be_visible(timeout=PATIENCE_MS)

    def sees_notice(self, text: str) -> None:
        """A notice on top states what was done."""
        expect(self.page.get_by_role("status").filter(has_text=text)).to_be_visible(timeout=PATIENCE_MS)

    def is_refused_at(self, name: str, text: str | re.Pattern[str]) -> None:
        """The message is next to the field; the field is marked as invalid; the summary on top has the focus."""
        expect(self.page.locator(f"#{name}-problem")).to_contain_text(text, timeout=PATIENCE_MS)
        expect(self.page.locator(f"#{name}")).to_have_attribute("aria-invalid", "true")
        expect(self.page.locator(".errors")).to_be_focused()

    def audit(self) -> None:
        """Axe finds nothing serious, in light and dark, wide and narrow; the page is no wider than a phone, and no buttons touch."""
        found: list[str] = []
        for width, scheme, *rules in LOOKS:
            self.page.set_viewport_size({"width": width[0], "height": width[1]})
            self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of its two words
            found += [f"{scheme} at {width[0]}: {fault}" for fault in accessibility_faults(self.page, *rules)]
            found += [f"buttons touch at {width[0]}"] if self.page.evaluate(TOO_CLOSE) else []
        found += self._too_wide()
        self.page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
        assert found == [], self.page.url

    def _too_wide(self) -> list[str]:
        """What makes the page wider than a phone; in its scrolled parts it may."""
        is_wide = self.page.evaluate(
            "() => document.documentElement.scrollWidth > document.documentElement.clientWidth"
        )
        return [f"wider than a phone: {part}" for part in self.page.evaluate(WIDER_THAN_THE_SCREEN)] if is_wide else []

    # -- the steps ----------------------------------------------------------------------------------------------

    def look_up(self, key: str = CLOCKIFY_KEY) -> None:
        """Step 1, first half."""
        self.to("/clockify?again=1")
        if self.us is not None:
            self.page.get_by_label("Region").select_option("custom")
            self.page.get_by_label("Base URL of the API").fill(self.us.sandbox.clockify)
            self.page.get_by_label("Base URL of the reports API").fill(self.us.sandbox.reports)
        else:
            self.page.get_by_label("Region").select_option("sandbox")
        self.page.get_by_label("Key or token").fill(key)
        self.press("Look up workspaces")

    def connect_clockify(self) -> None:
        """Step 1."""
        self.look_up()
        self.page.get_by_role("radio").first.check()
        self.page.get_by_label("Plan").select_option("paid")
        self.press("Connect this workspace")
        self.sees_notice("Clockify is connected.")

    def fill_snapshots(self, way: str, base_url: str = "") -> None:
        """Step 2, but for what is secret."""
        self.to("/snapshots")
        if self.us is not None:
            self.page.get_by_label("Where").select_option("custom")
            self.page.get_by_label("Base URL").fill(base_url or self.us.sandbox.snapshots)
        else:
            self.page.get_by_label("Where").select_option("sandbox")
        self.page.get_by_label(way).check()

    def try_snapshots_key(self, key: str = SNAPSHOTS_KEY, base_url: str = "") -> None:
        """Step 2 by API key."""
        self.fill_snapshots("API key or access token", base_url)
        self.page.get_by_label("API key", exact=True).fill(key)
        self.press("Connect")

    def connect_snapshots(self) -> None:
        """Step 2 by API key, which works."""
        self.try_snapshots_key()
        self.sees_notice("The Snapshots API is connected.")

    def choose_highlevel(self, token: str = HOME_TOKEN) -> None:
        """Step 2 with HighLevel, up to the button."""
        self.page.get_by_label("System").select_option("highlevel")
        self.page.get_by_label("Where").select_option("sandbox")
        self.page.get_by_label("Agency token", exact=True).fill(AGENCY_TOKEN)
        self.page.get_by_label("Sub-account token", exact=True).fill(token)

    def begin_consent(self) -> None:
        """Step 2 by consent, as far as our own page about it."""
        self.fill_snapshots("Authorize: a person consents")
        self.page.get_by_label("Client id", exact=True).fill(CLIENT)
        self.page.get_by_label("Client secret", exact=True).fill(CLIENT_SECRET)
        self.press("Connect")
        self.is_at("/setup/snapshots/authorize")

    def ask_for_consent(self) -> None:
        """Step 2 by consent, as far as the target's page."""
        self.begin_consent()
        self.follow("Go to the consent page")
        expect(self.heading).to_have_text("Allow access?")

    def try_it(self) -> None:
        """Step 4, to its end."""
        self.to("/try")
        self.press("Preview")
        self.sees(re.compile("passed|did not pass"))

    def go_live(self) -> None:
        """Step 5."""
        self.to("/live")
        expect(self.page.get_by_text("missing")).to_have_count(0)
        self.page.get_by_role("switch").click()
        self.sees_notice("Live syncing is on")
        expect(self.page.get_by_role("switch")).to_be_checked()

    def tabs_to(self, target: Locator, most: int = 60) -> None:
        """By Tab alone; wherever the focus is, it can be seen."""
        for _ in range(most):
            self.page.keyboard.press("Tab")
            assert self.page.evaluate(HAS_FOCUS_RING), self.page.evaluate("document.activeElement.outerHTML")
            if target.evaluate("(part) => part === document.activeElement"):
                return
        raise AssertionError(f"Tab does not lead to {target}")


@contextmanager
def walking(browser: Browser, link: str, us: Team | None = None) -> Iterator[Walker]:
    """Someone opens the link in a browser of his or her own; at the end nothing went wrong in any page.

    No page asked another host for anything.
    """
    parts = urlsplit(link)
    context = browser.new_context(viewport={"width": DESKTOP[0], "height": DESKTOP[1]}, color_scheme="light")
    context.set_default_timeout(PATIENCE_MS / 2)
    watch = Watch()
    watch.over(context)
    try:
        page = context.new_page()
        page.goto(link)
        yield Walker(page, f"{parts.scheme}://{parts.netloc}", watch, us)
    finally:
        context.close()
    assert watch.faults == [], watch.faults


def elsewhere(work: Callable[[], T]) -> T:
    """Work with an event loop of its own, which the thread that drives a browser cannot have."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()
