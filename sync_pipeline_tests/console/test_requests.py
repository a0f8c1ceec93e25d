"""Asking for work: buttons, one request for two presses, refusals with a sentence, and pages for every state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import playwright.sync_api
import pytest

from sync_pipeline.session.health import beat
from sync_pipeline.setup.requests import work_panel
from sync_pipeline.store.requests import (
    WorkRequest,
    finish,
    note_progress,
    note_result,
    note_runs,
    recent_requests,
    take,
)
from sync_pipeline_tests.console.browsing import Browser, Page, browsing, consoling
from sync_pipeline_tests.console.setting_up import connect
from sync_pipeline_tests.console.walk import walking
from sync_pipeline_tests.harness import Team

ASKED = {"kind": "sync", "entity": "users"}


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A signed-in browser at a console on the sandbox; a daemon has just reported."""
    with consoling(tmp_path / "home") as console, browsing(console) as found:
        found.sign_in()
        with console.console.setup.reading() as session:
            beat(session)
        yield found


def press(browser: Browser, **fields: Any) -> httpx.Response:
    """Press a button that asks for work."""
    return send(browser, "/requests", fields)


def send(browser: Browser, path: str, fields: Any = None) -> httpx.Response:
    """Send one of these forms."""
    return browser.send(path, {"csrf": browser.page("/requests").value("csrf")}, fields)


def newest(browser: Browser) -> WorkRequest:
    """The request that was asked for last."""
    with browser.console.console.setup.reading() as session:
        return recent_requests(session.store, session.pair, 1)[0]


def test_pressing_twice_is_one_request(browser: Browser) -> None:
    """Both lead to its page; the second reports it. Who asked is in the audit trail, once."""
    first, second = press(browser, **ASKED), press(browser, **ASKED)
    assert first.url.path == second.url.path == "/requests/1"
    assert "The same request is already in progress." in Page(second.text).text
    assert "Sync users" in Page(first.text).text
    assert browser.page("/settings/audit").text.count("Sync users (number 1)") == 1
    assert "/requests/1" in {link["href"] for link in browser.page("/").all("a")}


def test_each_button_of_the_home_page_asks_for_its_work(browser: Browser) -> None:
    """Everything or one entity; the pages of all requests are correct."""
    for fields in (
        {"kind": "sync"},
        {"kind": "verify"},
        {"kind": "repair", "entity": "projects"},
        {"kind": "verify", "entity": "users"},
    ):
        page = Page(press(browser, **fields).text)
        assert page.faults == []
    found = browser.page("/requests")
    assert found.faults == []
    for title in ("Sync everything", "Verify everything", "Repair projects", "Verify users"):
        assert title in found.text


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"kind": "dance"}, "no work of this kind"),
        ({"kind": "sync", "entity": "nobody"}, "switched off"),
        ({"kind": "backfill", "entity": "users", "first": "2026-01-01", "last": "2026-01-02"}, "no days to backfill"),
        ({"kind": "backfill", "entity": "time_entries", "first": "soon", "last": ""}, "like 2026-01-31"),
        (
            {"kind": "backfill", "entity": "time_entries", "first": "1999-01-01", "last": "1999-01-02"},
            "Days can be asked for",
        ),
        ({"kind": "retry", "entity": "users"}, "No record of users is rejected"),
        ({"kind": "sync_record", "entity": "users"}, "No record is named"),
        ({"kind": "sync_record", "entity": "users", "source_id": "x" * 300}, "at most 200 characters"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(browser: Browser, fields: dict[str, str], why: str) -> None:
    """Nothing is asked for."""
    answer = press(browser, **fields)
    assert answer.status_code == 409
    assert why in Page(answer.text).text
    assert "Nothing has been requested yet." in browser.page("/requests").text


def test_days_are_backfilled_from_a_form(browser: Browser) -> None:
    """The form offers the days there are."""
    panel = work_panel(browser.console.console.setup)
    page = browser.page("/requests")
    (first, last) = [field for field in page.all("input") if field.get("type") == "date"]
    assert (first["min"], last["max"]) == (panel.first, panel.last)
    asked = press(browser, kind="backfill", entity=panel.dated, first=panel.last, last=panel.last)
    assert f"Backfill time entries, {panel.last} to {panel.last}" in Page(asked.text).text


def test_where_nothing_may_be_written_only_a_comparison_is_asked_for(setup_browser: Browser, office: Team) -> None:
    """As from the terminal: accounts that are not live are previewed."""
    connect(setup_browser, office)
    answer = press(setup_browser, **ASKED)
    assert answer.status_code == 409
    assert "Nothing may be written now" in Page(answer.text).text
    assert press(setup_browser, kind="verify").url.path == "/requests/1"


def test_without_a_daemon_the_page_reports_it(tmp_path: Path) -> None:
    """Next to the buttons and on the page of the request; one that no one takes can be cancelled."""
    with consoling(tmp_path / "home") as console, browsing(console) as browser:
        browser.sign_in()
        text = browser.page("/").text
        assert "No Dagster daemon has reported yet" in text
        assert "stop it first" in text  # both serve the console, at one port
        asked = press(browser, **ASKED)
        assert "No Dagster daemon has reported yet" in Page(asked.text).text
        cancelled = send(browser, "/requests/1/cancel")
        assert "cancelled" in Page(cancelled.text).text
        assert newest(browser).outcome == "cancelled"
        late = send(browser, "/requests/1/cancel")
        assert "It had already ended." in Page(late.text).text
        # One that a daemon took and left behind when it was killed, together with its run.
        press(browser, **ASKED)
        with console.console.setup.reading() as session:
            take(session.store, 2)
            note_runs(session.store, 2, ("gone",))
        assert "interrupted" in browser.page("/requests/2").text
        send(browser, "/requests/2/cancel")
        assert newest(browser).outcome == "cancelled"


def test_progress_is_read_from_the_row(browser: Browser) -> None:
    """The part that refreshes itself states whether it continues; looking at it keeps no session alive."""
    press(browser, **ASKED)
    with browser.console.console.setup.reading() as session:
        assert take(session.store, 1)
        note_progress(session.store, 1, {"entity": "users", "stage": "extract", "done": 1200, "note": ""})
        answer = browser.get("/requests/1/progress")
        assert answer.headers["x-under-way"] == "yes"
        assert "users, extract, 1,200 records" in Page(answer.text).text
        send(browser, "/requests/1/cancel")
        assert "cancelling" in browser.page("/requests/1/progress").text
        finish(session.store, 1, "cancelled")
    assert browser.get("/requests/1/progress").headers["x-under-way"] == "no"
    assert browser.get("/requests/99").status_code == 404
    assert browser.get("/requests/x/progress").status_code == 404


def test_every_state_of_a_request_is_a_page(browser: Browser, chrome: playwright.sync_api.Browser) -> None:
    """In a real browser: axe finds nothing, the page is no wider than a phone, figures and differences can be read."""
    differences = [{"kind": "different", "record": "a1", "field": "name", "source": "new", "target": "old"}]
    ends: list[tuple[str, Any, str]] = [
        ("sync", "done", ""),
        ("verify", "differs", "1 records are not the same on both sides."),
        ("sync", "failed", "users: 401"),
        ("sync", "held", "3 records wait for an approval; everything else is done."),
    ]
    for kind, outcome, reason in ends:
        press(browser, kind=kind, entity="users")
        with browser.console.console.setup.reading() as session:
            number = newest(browser).id
            take(session.store, number)
            note_runs(session.store, number, ("0123456789",))
            figures = (
                {"source": 3, "different": 1, "differences": differences} if kind == "verify" else {"extracted": 3}
            )
            note_result(session.store, number, "0123456789:users", {"entity": "users", **figures})
            finish(session.store, number, outcome, reason)
    press(browser, **ASKED)
    with walking(chrome, browser.console.link()) as person:
        for number in range(1, 6):
            person.to(f"/requests/{number}")
            person.audit()
        person.to("/requests/2")
        person.sees("1 records are not the same on both sides.")
        person.sees("old")
        person.press("Repair: deliver the differences")
        person.is_at("/requests/6")
        person.press("Cancel")
        person.sees("cancelled")
        person.to("/requests")
        person.audit()
        person.to("/")
        person.audit()
