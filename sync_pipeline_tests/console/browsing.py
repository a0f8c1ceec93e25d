"""A browser for tests: cookies, forms with their hidden fields, pages read as HTML; every answer is remembered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import httpx

from sync_pipeline.console.server import ConsoleOptions, RunningConsole, running
from sync_pipeline.setup.service import SetupService
from sync_pipeline_tests.scenarios.developing import free_port, local_client

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr", "path"}
PATIENCE_SECONDS = 60.0
PAGES = (
    "/",
    "/setup/clockify",
    "/setup/snapshots",
    "/mapping",
    "/mapping/users",
    "/mapping/users?record=1",
    "/mapping/time_entries",
    "/mapping/new/users",
    "/mapping/new/users?source=name",
    "/mapping/users/email",
    "/automations",
    "/automations/starter_projects",
    "/draft",
    "/versions",
    "/setup/preview",
    "/setup/live",
    "/connections",
    "/connections/clockify",
    "/connections/snapshots",
    "/connections/clockify/disconnect",
    "/dashboard",
    "/dashboard/entries",
    "/activity",
    "/activity?changes=1&entity=users",
    "/records",
    "/records?state=rejected",
    "/records?q=a@b.c",
    "/records?state=rejected&entity=users",
    "/requests",
    "/approvals",
    "/settings/general",
    "/settings/alerts",
    "/settings/alerts/new-rule",
    "/settings/alerts/new-subscription",
    "/settings/secrets",
    "/settings/audit",
    "/settings/operations",
    "/settings/operations/events",
    "/settings/operations/clockify.projects.from-template",
    "/settings/sandbox",
    "/settings/about",
    "/help",
)
"""Every page that can be asked for at any time."""


@dataclass
class Time:
    """The console's clock; it moves when a test moves it."""

    at: float = 1_800_000_000.0

    def __call__(self) -> float:
        """Seconds since the epoch."""
        return self.at


class Page(HTMLParser):
    """A page as HTML: what is wrong with its tags, its fields, its links, its visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.faults += [f"<{tag}> is never closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if len({name for name, _ in attrs}) < len(attrs):
            self.faults.append(f"<{tag}> has an attribute twice")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        if tag in VOID:
            return
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> ends something else at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        """Text."""
        if not self._open or self._open[-1] not in {"script", "style"}:
            self.words.append(data)

    @property
    def text(self) -> str:
        """What can be read."""
        return " ".join(" ".join(self.words).split())

    def all(self, *tags: str) -> list[dict[str, str]]:
        """The attributes of every element of these kinds."""
        return [attributes for tag, attributes in self.elements if tag in tags]

    def value(self, name: str) -> str:
        """The value of the first field of that name."""
        return next(found.get("value", "") for found in self.all("input") if found.get("name") == name)


@dataclass
class Browser:
    """One browser; what the console ever sent to it is in ``seen``."""

    console: RunningConsole
    client: httpx.Client
    seen: list[str] = field(default_factory=list)

    def sign_in(self) -> httpx.Response:
        """Open a fresh link."""
        return self.get(self.console.link())

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask for a page and follow where it leads."""
        url = path if path.startswith("http") else self.console.url + path
        return self._note(self.client.get(url, headers=_headers(headers)))

    def page(self, path: str) -> Page:
        """A page, read."""
        return Page(self.get(path).text)

    def post(self, path: str, fields: Any = None, *, of: str = "/mapping", **headers: str) -> httpx.Response:
        """Send a form with the hidden fields of a page of ours, as a browser would; given fields win."""
        return self.send(path, self.hidden(of), fields, **headers)

    def hidden(self, of: str = "/mapping") -> dict[str, str]:
        """The hidden fields of the forms on a page of ours."""
        page = self.page(of)
        return {"csrf": page.value("csrf"), "since": page.value("since")}

    def send(self, path: str, hidden: dict[str, str], fields: Any = None, **headers: str) -> httpx.Response:
        """Send a form whose page was looked at before."""
        url = self.console.url
        usual = {"origin": url, "sec-fetch-site": "same-origin"}
        data = {**hidden, **(fields or {})}
        return self._note(self.client.post(url + path, data=data, headers=usual | _headers(headers)))

    def wait(self, path: str) -> httpx.Response:
        """Look at progress until nothing is under way any more."""
        pause, deadline = Event(), monotonic() + PATIENCE_SECONDS
        while (answer := self.get(path)).headers["x-under-way"] == "yes":
            assert monotonic() < deadline, "it never ends"
            pause.wait(0.05)
        return answer

    def _note(self, answer: httpx.Response) -> httpx.Response:
        for each in (*answer.history, answer):
            self.seen += [str(each.headers), each.text]
        return answer


def _headers(named: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in named.items()}


@contextmanager
def browsing(console: RunningConsole) -> Iterator[Browser]:
    """A browser that is not signed in yet."""
    with local_client(follow_redirects=True, timeout=60) as client:
        yield Browser(console, client)


@contextmanager
def consoling(home: Path, time: Time | None = None, **environ: str) -> Iterator[RunningConsole]:
    """A console on a home of its own, with nothing but these variables in its environment."""
    variables = {"SYNC_HOME": str(home), "SYNC_SANDBOX_PORT": str(free_port()), **environ}
    options = ConsoleOptions(port=0, **({} if time is None else {"clock": time}))  # type: ignore[arg-type]  # a clock is callable
    with running(SetupService("Ana (console)", root=home.parent, environ=variables), options) as found:
        yield found
