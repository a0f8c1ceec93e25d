"""The dashboard as people use it: from nothing to figures, filters in the address, the entries behind each number, files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import playwright.sync_api
import pytest
from sqlalchemy import insert, update

from sync_pipeline.clock import utc_now
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.ledger import Ledger
from sync_pipeline.store.schema import loads, person_facts, project_facts
from sync_pipeline.store.staged import StagedRow
from sync_pipeline_tests.console.browsing import Browser, Page, browsing, consoling
from sync_pipeline_tests.console.walk import walking
from sync_pipeline_tests.scenarios.developing import free_port
from sync_pipeline_tests.store.conftest import Server, postgres
from sync_pipeline_tests.store.test_project_months import IN, Entry

__all__ = ["postgres"]  # a fixture of the store's tests

NOW = utc_now().replace(day=1, hour=12, minute=0, second=0, microsecond=0)
"""In the current month, whatever day it is."""
MONTH = f"{NOW:%Y-%m}"
LOSS = Entry(NOW, 3_600, "p3", "u1", rate=10_000, cost=12_500, currency="EUR")
ENTRIES = {
    "e1": Entry(NOW, 36_000, "p1", "u1", rate=100_000, cost=40_000, currency="EUR"),
    "e2": Entry(NOW, 18_000, "p2", "u2", billable=False, cost=20_000, currency="EUR"),
    "e3": Entry(NOW, 7_200, "p1", "u2", rate=9_900, cost=None, currency="USD"),
    "e4": Entry(NOW, 3_600, None, "u1", billable=False),
    "e5": Entry(NOW - timedelta(days=70), 3_600, "p1", "u1", rate=5_000, cost=1_000, currency="EUR"),
}
PROJECTS: dict[str, dict[str, Any]] = {
    "p1": {"name": "=Alpha", "client_id": "c1", "client_name": "Acme <&>", "budget": 80_000, "estimate_seconds": None},
    "p2": {"name": "Beta", "client_id": "c2", "client_name": "Bolt", "budget": None, "estimate_seconds": 72_000},
}


@dataclass
class Us:
    """A console on the sandbox, and what is stored."""

    browser: Browser
    setup: SetupService

    def load(self, entries: dict[str, Entry], number: int = 1) -> None:
        """A read brought these."""
        with self.setup.reading() as session:
            ledger = Ledger(session.store, session.pair, "time_entries")
            with ledger.staging(None, read_no=number) as staging:
                staging.decided_by, staging.facts = "mapping", IN
                staging.add(
                    [
                        StagedRow(key, f"{entry.start:%Y-%m-%d}", "{}", repr(entry), "accepted", facts=entry.facts())
                        for key, entry in entries.items()
                    ]
                )
                staging.merge(NOW)

    def text(self, path: str = "/dashboard") -> str:
        """The words of a page."""
        return self.browser.page(path).text


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Us]:
    """A console where nothing was synced."""
    with at_home(tmp_path) as found:
        yield found


@contextmanager
def at_home(root: Path, **more: str) -> Iterator[Us]:
    """A console of its own on the sandbox."""
    more |= {"SYNC_SANDBOX_PORT": str(free_port())}
    environ = {"SYNC_HOME": str(root / "home"), **more}
    with consoling(root / "home", None, **more) as console, browsing(console) as browser:
        browser.sign_in()
        yield Us(browser, SetupService("Ana (test)", root=root, environ=environ))


@pytest.fixture(scope="module")
def us(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Us]:
    """With entries of two people in two projects, and one of neither; computed."""
    with at_home(tmp_path_factory.mktemp("dashboard")) as found:
        fill(found)
        yield found


def fill(found: Us) -> None:
    """Store the entries and names, and compute."""
    found.browser.get("/dashboard")
    with found.setup.reading() as session:
        key = {"connection": session.pair, "read_no": 1}
        with session.store.writing() as tx:
            rows = [{**key, "entity": "projects", "source_id": name, **facts} for name, facts in PROJECTS.items()]
            tx.execute(insert(project_facts), rows)
            names = {"u1": "Ana", "u2": "Bo"}
            people = [{**key, "entity": "users", "source_id": nr, "name": name} for nr, name in names.items()]
            tx.execute(insert(person_facts), people)
    found.load(ENTRIES)
    found.browser.post("/dashboard/compute")


def links(page: Page) -> set[str]:
    """Where its links lead."""
    return {found["href"] for found in page.all("a")}


def test_it_says_why_there_are_no_figures(empty: Us) -> None:
    """Before the first entry; and then until they are computed, with the button that does it. Then losses come first."""
    text = empty.text()
    assert "The figures have not been computed yet; they are computed each minute while the daemon runs." in text
    assert "There are no finished time entries" not in text
    empty.load(ENTRIES | {"loss": LOSS})
    answer = empty.browser.post("/dashboard/compute", {"back": f"from={MONTH}"})
    assert answer.url.path == "/dashboard"
    page = Page(answer.text)
    assert "Computed: 5 projects and months." in page.text
    assert "up to date" in page.text
    assert "Losses in this period: p3 of p3, loss: entries (-25.00 EUR)." in page.text
    assert f"/dashboard/entries?from={MONTH}&to={MONTH}&project=p3&currency=EUR" in links(page)
    assert "-25.00 loss" in page.text


def test_what_it_shows(us: Us) -> None:
    """Hours, money by currency and never added, the budget that is used most first, losses, and who is how utilised."""
    page = us.browser.page("/dashboard")
    assert page.faults == []
    text = page.text
    assert "Hours 18.0" in text.replace(" of this period: entries", "")
    assert "Billed, EUR 1,000" in text
    assert "Cost, USD -" in text
    assert text.index("=Alpha Acme <&>") < text.index("Beta Bolt") < text.index("Margin by client")
    assert "131 % of 800 EUR over budget" in text
    assert "25 % of 20.0 h" in text
    assert "Bolt EUR no rate" in text
    assert "Acme <&> USD no cost" in text
    titles = " ".join(page.words)
    assert "Ana: 91 % billable" in titles
    assert f"Week of {(NOW - timedelta(days=NOW.weekday())):%Y-%m-%d}: 12.0 billable hours" in titles


def test_filters_are_in_the_address(us: Us) -> None:
    """Client, project, person and period; each number leads to its entries with them, and each entry to its history."""
    page = us.browser.page(f"/dashboard?from={MONTH}&to={MONTH}&person=u1")
    assert "Hours 11.0" in page.text.replace(" of this period: entries", "")
    assert "Beta" not in page.text.split("Projects against budget")[-1]
    behind = f"/dashboard/entries?from={MONTH}&to={MONTH}&person=u1&project=p1&currency=EUR"
    assert behind in links(page)
    listed = us.browser.page(behind)
    assert listed.faults == []
    assert "1 entry" in listed.text
    assert "person Ana, currency EUR" in listed.text or "project =Alpha" in listed.text
    assert "/records/time_entries/e1" in links(listed)
    assert us.browser.get("/records/time_entries/e1").status_code == 200
    assert "1 entry" in us.text(f"/dashboard/entries?from={MONTH}&to={MONTH}&project=-")
    assert "2 entries" in us.text(f"/dashboard/entries?from={MONTH}&to={MONTH}&billable=1")
    nothing = us.text(f"/dashboard?from={MONTH}&to={MONTH}&client=unknown")
    assert f"There are no finished time entries with these filters from {MONTH} to {MONTH}." in nothing


@pytest.mark.parametrize("people", ["true", "false"])
def test_a_link_to_the_dashboard_alone(tmp_path: Path, people: str) -> None:
    """Leads there and nowhere else; it shows whose time it is only where the setting allows it."""
    with at_home(tmp_path, SYNC_DASHBOARD_PEOPLE=people) as us, browsing(us.browser.console) as browser:
        fill(us)
        answer = browser.get(us.browser.console.link("dashboard"))
        assert answer.url.path == "/dashboard"
        page = Page(answer.text)
        assert page.faults == []
        assert {link.partition("?")[0].partition("#")[0] for link in links(page)} <= {
            "", "/", "/dashboard", "/dashboard/entries", *(link.partition("?")[0] for link in links(page) if "export" in link)
        }  # fmt: skip
        assert {form["action"] for form in page.all("form")} == {"/dashboard", "/sign-out"}
        seen = [
            answer.text,
            browser.get("/dashboard/entries?person=u1").text,
            browser.get("/dashboard/export/entries.csv").text,
            browser.get("/dashboard/export/people.csv").text,
        ]
        # Without tokens, which may have any letters.
        shown = [re.sub(r"person=u1|[\w-]{30,}", "", text) for text in seen]
        assert [("Ana" in text, "u1" in text) for text in shown] == (
            [(True, True), (True, False), (True, False), (True, True)] if people == "true" else [(False, False)] * 4
        )
        assert "Alpha" in seen[0]
        assert ("4 entries" in Page(seen[1]).text) is (people == "false")


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("from=soon", "soon is no month. Write it like 2026-03."),
        ("from=2026-03&to=2026-01", "The period begins in 2026-03, after its end in 2026-01."),
        ("from=2020-01&to=2026-01", "A period is at most 24 months long."),
    ],
)
def test_a_period_that_is_none(us: Us, query: str, why: str) -> None:
    """Is named next to its field, and the usual one is shown."""
    answer = us.browser.get(f"/dashboard?{query}")
    assert (answer.status_code, why in Page(answer.text).text) == (422, True)


def test_a_filter_that_no_database_can_hold_finds_nothing(tmp_path: Path, postgres: Server) -> None:
    """PostgreSQL refuses NUL in a text: the page reports that nothing is like that, in all its forms."""
    with at_home(tmp_path, SYNC_DATABASE_URL=postgres.create()) as us:
        fill(us)
        for name in ("client", "project", "person", "week", "currency"):
            for path in ("/dashboard", "/dashboard/entries", "/dashboard/export/projects.csv"):
                assert us.browser.get(f"{path}?{name}=%00%ed%a0%80").status_code == 200, (name, path)
        assert "There are no finished time entries with these filters" in us.text("/dashboard?client=%00")
        for path in ("/records?q=%00", "/records?entity=%00", "/activity?entity=%00", "/records/time_entries/%00"):
            assert us.browser.get(path).status_code < 500, path


def test_files_hold_what_is_shown(us: Us) -> None:
    """As CSV and XLSX, with the filters of the page; a name that looks like a formula is a text."""
    page = us.browser.page(f"/dashboard?from={MONTH}&to={MONTH}&client=c1")
    (address,) = [link for link in links(page) if "/export/projects.csv" in link]
    answer = us.browser.get(address)
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["project"], row["currency"], row["hours"]) for row in rows] == [
        ("'=Alpha", "EUR", "10.0"),
        ("'=Alpha", "USD", "2.0"),
    ]
    assert answer.headers["content-disposition"] == 'attachment; filename="projects.csv"'
    sheet = us.browser.get(address.replace(".csv", ".xlsx"))
    assert "=Alpha" in ZipFile(io.BytesIO(sheet.content)).read("xl/sharedStrings.xml").decode()
    lines = us.browser.get(f"/dashboard/export/entries.csv?from={MONTH}&to={MONTH}").text.splitlines()
    assert [len(lines), lines[0].split(",")[:2]] == [5, ["start", "person"]]
    assert us.browser.get("/dashboard/export/secrets.csv").status_code == 404
    assert us.browser.get("/dashboard/export/projects.exe").status_code == 404


def test_in_a_browser(us: Us, chrome: playwright.sync_api.Browser) -> None:
    """Wide and narrow, light and dark: nothing serious for axe, no wider than a phone; filters by keyboard."""
    with walking(chrome, us.browser.console.link()) as ana:
        for path in ("/dashboard", "/dashboard/entries"):
            ana.to(path)
            ana.audit()
        ana.to("/dashboard")
        ana.page.get_by_label("Client", exact=True).select_option("Bolt")
        ana.tabs_to(ana.page.get_by_role("button", name="Show"))
        ana.page.keyboard.press("Enter")
        playwright.sync_api.expect(ana.page.locator("#projects tbody tr")).to_have_count(1)
        bar = ana.page.locator("#weeks svg rect title").first
        assert "billable hours" in (bar.text_content() or "")


def test_a_phone_shows_the_first_lines_and_a_link_to_all(tmp_path: Path, chrome: playwright.sync_api.Browser) -> None:
    """Of each table, without a script; a wide window shows a dozen."""
    with at_home(tmp_path) as us, walking(chrome, us.browser.console.link()) as ana:
        us.load({f"m{number}": Entry(NOW, 3_600, f"q{number}", f"v{number}") for number in range(10)})
        us.browser.post("/dashboard/compute")
        ana.to("/dashboard")
        lines = ana.page.locator("#projects tbody tr:visible")
        assert (lines.count(), ana.page.get_by_role("link", name="more projects").count()) == (10, 0)
        ana.page.set_viewport_size({"width": 390, "height": 800})
        assert (lines.count(), ana.page.locator("#people tbody tr:visible").count()) == (4, 4)
        ana.page.get_by_role("link", name="6 more projects").click()
        playwright.sync_api.expect(lines).to_have_count(10)
        # Until its style is there, a page shows all lines of each table.
        playwright.sync_api.expect(ana.page.locator("#people tbody tr:visible")).to_have_count(4)
        assert ana.page.evaluate("document.documentElement.scrollWidth") == 390


def test_it_says_how_current_it_is(us: Us) -> None:
    """Changes since the figures were computed, and days that were read before there were reports."""
    us.browser.post("/dashboard/compute")
    us.load({"e9": Entry(NOW, 3_600, "p2")}, 2)
    with us.setup.reading() as session, session.store.writing() as tx:
        day = {"connection": session.pair, "entity": "time_entries", "read_no": 1, "loaded_at": NOW}
        tx.execute(insert(loads).values(**day, day=f"{MONTH}-01", has_facts=False))
        tx.execute(insert(loads).values(**day, day=f"{MONTH}-02"))
    text = us.text()
    assert "1 project and month has changed since; they are computed each minute while the daemon runs." in text
    assert f"Days not read yet: 1 of {MONTH}. They were loaded before reports existed" in text
    with us.setup.reading() as session, session.store.writing() as tx:
        tx.execute(update(loads).values(has_facts=True))
    us.browser.post("/dashboard/compute")
    text = us.text()
    assert "up to date" in text
    assert "Days not read yet" not in text
