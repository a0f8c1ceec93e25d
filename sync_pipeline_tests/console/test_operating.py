"""What an operator sees on the pages: nothing is running, a key is refused, why a run failed, what is left of the hour."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sync_pipeline.connectors.clockify.account import PLANS
from sync_pipeline.errors import SyncError
from sync_pipeline.session.health import beat
from sync_pipeline.setup import trial
from sync_pipeline.setup.approvals import requests
from sync_pipeline.setup.overview import entity_rows
from sync_pipeline.setup.service import SetupService
from sync_pipeline.setup.switching import turn_on
from sync_pipeline.store.rate import note_sent
from sync_pipeline_tests.console.browsing import Browser, Page, browsing, consoling
from sync_pipeline_tests.console.setting_up import choose, connect, look, snapshots
from sync_pipeline_tests.harness import SNAPSHOTS_KEY, Team

WRONG = "a-key-that-was-mistyped"


@pytest.fixture
def setup(tmp_path: Path) -> SetupService:
    """The set-up service of the console's home."""
    return SetupService("Ana (test)", root=tmp_path, environ={"SYNC_HOME": str(tmp_path / "home")})


@pytest.fixture
def ana(office: Team, setup: SetupService, tmp_path: Path) -> Iterator[Browser]:
    """Someone whose accounts are connected, and live; no daemon runs."""
    office.no_faults()
    office.control("POST", "snapshots", {"keys": {SNAPSHOTS_KEY: "valid"}})
    with consoling(tmp_path / "home") as console, browsing(console) as browser:
        browser.sign_in()
        connect(browser, office)
        trial.run(setup, trial.begin(setup, "dry_run"), "dry_run")
        turn_on(setup)
        yield browser


def test_nothing_is_running(ana: Browser, setup: SetupService) -> None:
    """Home and step 5 report it with how to start it, until the daemon reports."""
    for path in ("/", "/live"):
        assert "nothing is syncing: no Dagster daemon has reported yet. Start it with sync-pipeline dev" in text(
            ana, path
        )
    with setup.reading() as session:
        beat(session)
    assert "nothing is syncing" not in text(ana, "/")


def test_a_refused_key_is_green_nowhere(office: Team, ana: Browser, setup: SetupService) -> None:
    """Its card, its step, what going live asks for and the page Secrets: since when, and what to do."""
    office.control("POST", "snapshots", {"keys": {SNAPSHOTS_KEY: "revoked"}})
    with setup.session() as session, suppress(SyncError):
        session.call(session.snapshots.probe, "locations")
    for path in ("/", "/connections", "/snapshots"):
        assert "refuses its key" in text(ana, path) if path == "/" else "key refused" in text(ana, path)
        assert "this key was revoked. Replace it on the console's page Secrets" in text(ana, path)
    assert "credentials rotate" not in text(ana, "/"), "its button is there"
    for system in ("snapshots", "clockify"):
        assert "page Secrets" not in text(ana, f"/connections/{system}"), "its form is on that page"
    assert "this key was revoked. Replace it below" in text(ana, "/connections/snapshots")
    assert "missing The Snapshots API is connected" in text(ana, "/live")
    assert "refused" in text(ana, "/secrets")
    assert "Replace the key" in text(ana, "/")


def test_an_outage_is_not_a_missing_connection(office: Team, ana: Browser, setup: SetupService) -> None:
    """The overview names what does not answer as a problem, and does not ask for accounts."""
    office.fault(kind="status", status=503)
    with setup.session() as session, suppress(SyncError):
        session.call(session.snapshots.probe, "locations")
        beat(session)
    found = text(ana, "/")
    assert "Snapshots does not answer" in found
    assert "Not connected yet" not in found


def test_why_a_run_failed(ana: Browser, setup: SetupService) -> None:
    """Its cause needs attention, once; cause, meaning and what to do are on the page of the run."""
    with setup.reading() as session:
        at = session.now()
        sync = session.ledger("users").syncs.begin(observed_at=at, at=at, run_id="run-1")
        session.ledger("users").syncs.finish(sync, "failed", {}, 1, at, reason="The API is away. Try again later.")
    home = text(ana, "/")
    assert re.search("Syncing users fails since .* The API is away. Try again later. See what ran", home)
    assert home.count("The API is away.") == 1
    run = text(ana, "/activity/run/run-1")
    assert (
        "What happened users: The API is away. Try again later. What it means What was delivered stays delivered" in run
    )


def test_why_a_repair_was_held(ana: Browser, setup: SetupService) -> None:
    """Of what is no run of Dagster, and in no list of runs, the reason is next to its entity."""
    with setup.reading() as session:
        at = session.now()
        sync = session.ledger("users").syncs.begin(observed_at=at, at=at)
        session.ledger("users").syncs.finish(sync, "held", {}, 1, at, reason="20 users would be rewritten. Allow it.")
    assert re.search("last sync held .*Last sync: 20 users would be rewritten. Allow it.", text(ana, "/"))


def test_what_was_declined_is_not_advised_any_more(office: Team, ana: Browser, setup: SetupService) -> None:
    """The card of the entity and the page of the run show who declined it when and what happens next; allowed, that."""
    made = [office.clockify("POST", "/projects", {"name": f"Short-lived {number}"})["id"] for number in range(8)]
    with setup.session() as session:
        office.sync_one(session, "projects")
        for project in made:
            office.delete_project(project)
        assert office.sync_one(session, "projects").held_deletes == len(made)
    (run,) = [path for path in links(ana, "/activity?outcome=success") if path.startswith("/activity/run/")][:1]
    (asked,) = requests(setup)
    for project in made:  # people see names, the ids next to them
        assert re.search(f"Short-lived \\d {project} deleted", text(ana, f"/approvals/{asked.approval.id}"))
    assert re.search(r"Deleting 8 projects : Short-lived \d, Short-lived \d, Short-lived \d and 5 more", text(ana, "/"))
    assert "Allow or decline it under Approvals. Open approvals" in text(ana, run)
    with setup.reading() as session:  # what the terminal prints has the command, pages have buttons
        (reason,) = [row.reason for row in entity_rows(session) if row.reason]
    assert f"then allow it with `sync-pipeline approvals allow {asked.approval.id}`" in reason
    for path in ("/", run):
        shown = text(ana, path).partition("Copy for support")[0]
        assert re.search(r"8 of \d+ known projects .* these deletes are held, everything else is loaded\.", shown), path
        assert "sync-pipeline approvals" not in shown, path
    for decision, then in (("declined", "what is held stays unchanged at the target until"), ("allowed", "the next")):
        ana.post(f"/approvals/{asked.approval.id}", {"decision": decision, "back": "/"})
        for path in ("/", run):
            assert re.search(rf"\(console\) {decision} it at [-0-9: ]+ UTC: {then}", text(ana, path)), path
            assert "then allow it with" not in text(ana, path).partition("Copy for support")[0]


def test_what_is_left_of_the_hour(ana: Browser, setup: SetupService) -> None:
    """On the Free plan steps 1 and 4 state what is used, what is left and when all of it is free again."""
    assert "Requests to Clockify" not in text(ana, "/clockify")
    setup.change({"clockify.plan": "free"}, "plan", "free")
    with setup.reading() as session:
        bucket, now = session.clockify.account.bucket, session.now().timestamp()
        note_sent(session.store, bucket, PLANS["free"].windows, now, 30)
    for path in ("/clockify", "/try"):
        assert "30 of 30 used, 0 left; all are free again at" in text(ana, path)
    ana.post("/try", {"kind": "dry_run"}, of="/try")
    ana.wait("/try/progress")
    page = text(ana, "/try")
    assert "not carried out" in page
    assert "says nothing about the configuration; one that passed before still counts. Try again at" in page


def test_what_was_typed_wrong_is_typed_again(office: Team, setup_browser: Browser) -> None:
    """A key that was entered just now: no one is sent to a variable or to a stored secret, and the system's own message comes first."""
    page = look(setup_browser, office, secret=WRONG)
    text = Page(page.text).text
    assert (
        "This API key does not exist. Copy it again. Keys are made under Preferences > Advanced. (Clockify GET" in text
    )
    assert "CLOCKIFY_API_KEY" not in text


def test_what_a_key_may_not_do_is_one_sentence(office: Team, setup_browser: Browser) -> None:
    """A key that may only read: not the same sentence for each entity."""
    look(setup_browser, office)
    choose(setup_browser, office)
    text = Page(snapshots(setup_browser, office, api_key="sandbox-snapshots-read-only-key").text).text
    assert "This key or token may not write projects, users and time entries." in text


def links(browser: Browser, path: str) -> list[str]:
    """Where the links of a page lead."""
    return [found["href"] for found in browser.page(path).all("a")]


def text(browser: Browser, path: str) -> str:
    """The words of a page."""
    return browser.page(path).text


def test_a_write_whose_answer_was_lost_is_not_offered_again(office: Team, ana: Browser) -> None:
    """Its page asks to look first, and its button only shows the request."""
    here = "/settings/operations/clockify.projects.create"
    page = Page(ana.post(here, {"in.name": "Lost on the way"}).text)
    office.fault("cut_after", "POST */projects", count=1)
    sure = {"shown": page.value("shown"), "once": page.value("once"), "in.name": "Lost on the way"}
    lost = ana.post(here, sure).text
    assert "may or may not have been carried out. Look before you run it again." in lost
    assert "Show the request</button>" in lost
    assert ">Send</button>" not in lost
    assert len(office.clockify("GET", "/projects", name="Lost on the way")) == 1
