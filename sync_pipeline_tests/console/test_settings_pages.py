"""Settings and the header: zone and form of times, the sandbox lab, versions and downloads, the search and the badges."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import playwright.sync_api
import pytest
from playwright.sync_api import expect

from sync_pipeline.console.times import TimePreferences
from sync_pipeline.sandbox.embedded import control
from sync_pipeline.setup.sandbox_lab import EXPERIMENTS
from sync_pipeline.setup.service import SetupService
from sync_pipeline.stages.verify import verify
from sync_pipeline.store.rejects import Reject
from sync_pipeline.store.setup import version_in
from sync_pipeline.webhooks.hooks import open_hooks
from sync_pipeline.webhooks.registration import Registrar, Wishes, registered_at
from sync_pipeline_tests.console.browsing import Browser, Page, browsing, consoling
from sync_pipeline_tests.console.setting_up import connect
from sync_pipeline_tests.console.walk import walking
from sync_pipeline_tests.harness import CLOCKIFY_KEY, SNAPSHOTS_KEY, Team

GENERAL, LAB, ABOUT = "/settings/general", "/settings/sandbox", "/settings/about"
CHOSEN = {"time_zone": "Asia/Kolkata", "date_form": "eu", "start_date": "2026-02-01", "rescan_days": "9"}
AT = datetime(2026, 1, 5, 20, 30, tzinfo=UTC)


@contextmanager
def signed_in(home: Path, **environ: str) -> Iterator[Browser]:
    """A signed-in browser at a console with these variables."""
    with consoling(home, None, **environ) as console, browsing(console) as browser:
        browser.sign_in()
        yield browser


def service(browser: Browser) -> SetupService:
    """The set-up of the console."""
    return browser.console.console.setup


@pytest.mark.parametrize(
    ("reader", "now", "clock"),
    [
        (TimePreferences(), None, "2026-01-05 20:30 UTC"),
        (TimePreferences(), AT, "20:30 UTC"),
        (TimePreferences("Asia/Kolkata"), None, "2026-01-06 02:00 IST"),
        (TimePreferences("Asia/Kolkata", "eu"), AT.replace(hour=10), "06.01.2026 02:00"),
        (TimePreferences("Asia/Kolkata", "eu"), AT, "02:00"),
        (TimePreferences("America/New_York", "us"), None, "01/05/2026 15:30 EST"),
    ],
)
def test_a_moment_in_the_zone_that_was_chosen(reader: TimePreferences, now: datetime | None, clock: str) -> None:
    """With its day, but for today; today is that of the zone."""
    assert reader.clock(AT, now) == clock


def test_times_of_all_pages_are_in_the_zone_without_scripts(setup_browser: Browser, office: Team) -> None:
    """With UTC next to them; before a zone is chosen they are in UTC."""
    connect(setup_browser, office)
    with service(setup_browser).reading() as session:
        session.ledger("users").rejects.replace(
            None, [Reject("u1", None, "r", "Since 2026-01-05 20:30 UTC.")], None, AT
        )
    before = setup_browser.get("/records?state=rejected").text
    assert '<time datetime="2026-01-05T20:30:00Z" title="2026-01-05 20:30:00 UTC">' in before
    assert "<span>2026-01-05 20:30 UTC</span>" in before
    saved = setup_browser.post(GENERAL, CHOSEN, of=GENERAL)
    assert "Saved." in saved.text
    after = setup_browser.get("/records?state=rejected").text
    assert '<time datetime="2026-01-05T20:30:00Z" title="2026-01-05 20:30:00 UTC">' in after
    assert "<span>06.01.2026 02:00</span>" in after
    assert 'data-zone="Asia/Kolkata"' in after
    assert not re.search(r"<span>[^<]* UTC</span></time>", setup_browser.get("/settings/audit").text)


def test_what_is_chosen_is_a_version_of_the_set_up(setup_browser: Browser) -> None:
    """Only what differs is stored, with who did it; an empty field takes it out again; a stale form changes nothing."""
    setup_browser.post(GENERAL, CHOSEN, of=GENERAL)
    setup = service(setup_browser)
    settings = setup.settings()
    assert (settings.time_zone, settings.date_form, settings.rescan_days) == ("Asia/Kolkata", "eu", 9)
    assert settings.start_date.isoformat() == "2026-02-01"
    with setup.store() as store:
        version = version_in(store, "", "current")
    assert version is not None
    assert version.note == ("settings: time zone Asia/Kolkata, date format eu, start day 2026-02-01, days read again 9")
    assert setup_browser.page(GENERAL).text.count("stored here") == 4
    assert "Nothing was changed." in setup_browser.post(GENERAL, CHOSEN, of=GENERAL).text
    stale = setup_browser.hidden(GENERAL)
    setup_browser.post(GENERAL, CHOSEN | {"time_zone": "", "rescan_days": ""}, of=GENERAL)
    assert setup_browser.page(GENERAL).text.count("stored here") == 2
    refused = setup_browser.send(GENERAL, stale, CHOSEN)
    assert (refused.status_code, "changed in the meantime" in refused.text) == (422, True)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("time_zone", "Mars/Olympus", "Mars/Olympus is not the name of a time zone, such as Europe/Berlin."),
        ("time_zone", "../../etc/passwd", "is not the name of a time zone"),
        ("date_form", "roman", "roman is not"),
        ("start_date", "31.01.2026", "31.01.2026 is not a date like 2026-01-31."),
        ("rescan_days", "0", "0 is not a whole number from 1 to"),
    ],
)
def test_an_invalid_value_is_reported_next_to_its_field(browser: Browser, name: str, text: str, expected: str) -> None:
    """Nothing of the form is stored then."""
    before = service(browser).revision()
    answer = browser.post(GENERAL, CHOSEN | {name: text}, of=GENERAL)
    assert answer.status_code == 422
    assert expected in Page(answer.text).text
    assert service(browser).revision() == before


def test_a_value_of_the_environment_is_locked(tmp_path: Path) -> None:
    """With its variable's name; what is sent nevertheless is left out."""
    with signed_in(tmp_path / "home", SYNC_TIME_ZONE="Europe/Berlin", SYNC_RESCAN_DAYS="5") as browser:
        page = browser.page(GENERAL)
        assert "Set by SYNC_TIME_ZONE in the environment; change it there." in page.text
        assert {field["id"] for field in page.all("input") if "readonly" in field} == {"time_zone", "rescan_days"}
        assert page.text.count(" environment SYNC_") == 2
        browser.post(GENERAL, CHOSEN, of=GENERAL)
        settings = service(browser).settings()
        assert (settings.time_zone, settings.rescan_days, settings.date_form) == ("Europe/Berlin", 5, "eu")


def test_the_lab_breaks_and_repairs_the_sandbox(setup_browser: Browser) -> None:
    """Each button does what its label states, by the sandbox's own controls; it is in the audit trail."""
    assert "Everything works" in setup_browser.page(LAB).text
    for name, one in EXPERIMENTS.items():
        if name != "reset":
            assert one.help in Page(setup_browser.post(LAB, {"name": name}).text).text, name
    text = setup_browser.page(LAB).text
    assert "Broken on purpose sandbox-snapshots-key is revoked * /clockify/* answers 401" in text
    assert "Every request answers 503, for 60 s Every request takes 2 s longer, for 60 s" in text
    control_ = service(setup_browser).settings().sandbox_port
    ahead = datetime.fromisoformat(control(control_, "clock")["now"]) - service(setup_browser).now()
    assert ahead.days in (0, 1)
    assert round(ahead.total_seconds() / 86_400) == 1
    setup_browser.post(LAB, {"name": "repair"})
    assert "Everything works" in setup_browser.page(LAB).text
    setup_browser.post(LAB, {"name": "reset"})
    trail = setup_browser.page("/settings/audit").text
    assert "sandbox lab Both systems answer 503 for a minute" in trail
    assert setup_browser.post(LAB, {"name": "explode"}).status_code == 409


def test_a_reset_of_the_lab_keeps_the_webhooks_and_says_that_the_target_is_empty(setup_browser: Browser) -> None:
    """They are registered again at the same address, though the reset deletes them and a key was refused."""
    address = "http://127.0.0.1:9"
    with service(setup_browser).session() as session:
        hooks = open_hooks(session)
        before = {row.event for row in Registrar.of(session, hooks, address).register(Wishes()).hooks}
    assert before
    setup_browser.post(LAB, {"name": "refuse_clockify"})
    text = Page(setup_browser.post(LAB, {"name": "reset"}).text).text
    assert "Afterwards the target is empty; Repair everything" in text.partition("Break something")[0]
    with service(setup_browser).session() as session:
        hooks = open_hooks(session)
        there = session.call(session.clockify.webhooks.list)
        assert {one.event for one in there} == before
        assert registered_at(session, hooks) == address


def test_after_a_reset_the_overview_has_no_figures_until_both_sides_are_compared(setup_browser: Browser) -> None:
    """Of what was delivered before, which is no longer there: it needs attention, with what to do; then the figures are those of both sides."""
    assert setup_browser.get("/").is_success  # starts the sandbox
    with service(setup_browser).session() as session:
        count = verify(session, session.specs["locations"], None, repair=True).repaired
    figures = f"Records {count} records of locations"
    assert count
    assert figures in setup_browser.page("/").text
    for _ in range(2):
        setup_browser.post(LAB, {"name": "reset"})
    text = setup_browser.page("/").text
    assert "Locations differ between the two sides" in text
    assert (
        "The sandbox was reset since locations were last compared. Repair everything on the console's overview." in text
    )
    assert "Not known: the sandbox was reset since locations were last compared." in text
    assert figures not in text
    assert "Users differ" not in text, "none was delivered"
    with service(setup_browser).session() as session:
        assert verify(session, session.specs["locations"], None, repair=True).repaired == count
    text = setup_browser.page("/").text
    assert figures in text
    assert "sandbox was reset" not in text


def test_the_lab_is_only_there_for_the_sandbox(setup_browser: Browser, office: Team) -> None:
    """On accounts there is no tab, and no button works."""
    assert LAB in {link["href"] for link in setup_browser.page(GENERAL).all("a")}
    connect(setup_browser, office)
    assert LAB not in {link["href"] for link in setup_browser.page(GENERAL).all("a")}
    for answer in (setup_browser.get(LAB), setup_browser.post(LAB, {"name": "outage"})):
        assert answer.status_code == 409
        assert "while both systems are the sandbox" in Page(answer.text).text


def test_versions_and_downloads(setup_browser: Browser, office: Team) -> None:
    """What runs here, where and how large the database is; both files are without secrets, and for admins."""
    connect(setup_browser, office)
    text = setup_browser.page(ABOUT).text
    assert re.search(r"sync-pipeline \d+\.\d+.* dagster \d+\.\d+.* python 3\.\d+", text)
    assert re.search(r"Kind SQLite Place \S+sync\.db Size [\d.]+ [kM]B Schema \d{4}", text)
    assert re.search(r"cp -a \S+ \S+\.backup", text)
    bundle, document = (setup_browser.get(f"{ABOUT}/{name}") for name in ("support-bundle", "setup"))
    assert re.search(r'filename="support-bundle-\d{8}-\d{6}\.json"', bundle.headers["content-disposition"])
    assert json.loads(bundle.text)["database"]["kind"] == "sqlite"
    assert 'filename="setup.yaml"' in document.headers["content-disposition"]
    assert office.sandbox.workspace in document.text
    assert not [each for each in (bundle, document) if CLOCKIFY_KEY in each.text or SNAPSHOTS_KEY in each.text]
    with browsing(setup_browser.console) as viewer:
        viewer.get(setup_browser.console.link("viewer"))
        assert "Downloads" not in viewer.page(ABOUT).text
        assert viewer.get(f"{ABOUT}/support-bundle").status_code == 403


def test_the_header_counts_problems_and_rejected_records(setup_browser: Browser, office: Team) -> None:
    """Nothing while there is none; after a form the numbers are counted again."""
    connect(setup_browser, office)
    assert "rejected record" not in setup_browser.page("/help").text.partition("Settings")[0]
    with service(setup_browser).reading() as session:
        found = [Reject(f"u{number}", None, "r", "wrong") for number in range(3)]
        session.ledger("users").rejects.replace(None, found, None, session.now())
    setup_browser.post("/settings/secrets/encrypt-again")
    header = setup_browser.page("/help").text.partition("Settings")[0]
    assert "Records 3 rejected records" in header
    assert "Overview 1 open problem" in header


def test_the_search_leads_to_the_records(browser: Browser) -> None:
    """From every page but that of the records, which has its own."""
    (form,) = [form for form in browser.page("/help").all("form") if form.get("role") == "search"]
    assert (form["action"], form["method"]) == ("/records", "get")
    assert len([form for form in browser.page("/records").all("form") if form.get("role") == "search"]) == 1


def test_the_pages_in_a_browser(setup_browser: Browser, chrome: playwright.sync_api.Browser) -> None:
    """Wide and narrow, light and dark; a chosen zone stays under a script; keys lead to search and help."""
    with walking(chrome, setup_browser.console.link()) as ana:
        for path in (GENERAL, LAB, ABOUT):
            ana.to(path)
            ana.audit()
        ana.to(GENERAL)
        ana.page.get_by_label("Time zone").fill("Asia/Kolkata")
        ana.press("Save")
        ana.sees_notice("Saved.")
        ana.to("/settings/audit")
        expect(ana.page.locator("time > span").first).to_have_text(re.compile(r"^\d\d:\d\d$"))
        expect(ana.page.locator("html")).to_have_attribute("data-zone", "Asia/Kolkata")
        ana.page.keyboard.press("/")
        ana.page.keyboard.type("Jana")
        ana.page.keyboard.press("Enter")
        ana.is_at("/records")
        expect(ana.page.get_by_label("Id, e-mail address")).to_have_value("Jana")
        ana.page.keyboard.press("/")
        ana.page.keyboard.press("?")  # here it is a letter of the search
        ana.is_at("/records")
        ana.page.evaluate("() => document.activeElement.blur()")
        ana.page.keyboard.press("?")
        ana.is_at("/help")
