"""The pages that are read: overview, activity, one run, records and one record, as an operator uses them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import playwright.sync_api
import pytest
from playwright.sync_api import expect

from sync_pipeline.setup import trial
from sync_pipeline.setup.records import pages_of
from sync_pipeline.setup.service import SetupService
from sync_pipeline.setup.switching import turn_on
from sync_pipeline.store.deliveries import Refused
from sync_pipeline.store.health import note_ok
from sync_pipeline.store.record_search import rows_of
from sync_pipeline.store.rejects import Reject
from sync_pipeline.store.syncs import Cause
from sync_pipeline_tests.console.browsing import Browser, Page, browsing, consoling
from sync_pipeline_tests.console.setting_up import connect
from sync_pipeline_tests.console.walk import walking
from sync_pipeline_tests.harness import Team

RUN = "0b0a4c1e-0000-4000-8000-000000000001"
"""A run as Dagster would call it."""


@dataclass
class Live:
    """A set-up that is live, its console, and a signed-in browser."""

    browser: Browser
    setup: SetupService
    rejected: str
    """The user without an e-mail address."""
    user: dict[str, Any]
    """Another one."""

    def text(self, path: str) -> str:
        """The words of a page."""
        return self.browser.page(path).text

    def links(self, path: str) -> set[str]:
        """Where the links of a page lead."""
        return {found["href"] for found in self.browser.page(path).all("a")}


@pytest.fixture(scope="module")
def live(office: Team, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Connected, live, synced twice; one user has no e-mail address, so that time entries wait for him or her."""
    root = tmp_path_factory.mktemp("live")
    setup = SetupService("Ana (test)", root=root, environ={"SYNC_HOME": str(root / "home")})
    with consoling(root / "home") as console, browsing(console) as browser:
        browser.sign_in()
        connect(browser, office)
        trial.run(setup, trial.begin(setup, "dry_run"), "dry_run")
        turn_on(setup)
        rejected, user = office.users()[:2]
        office.sandbox.world.db.execute("UPDATE users SET email = 'no address' WHERE id = ?", (rejected["id"],))
        with setup.session() as session:
            session.cause = Cause("console", "Ana")
            for entity in (*session.specs, *session.specs):
                office.sync_one(session, entity)
        yield Live(browser, setup, str(rejected["id"]), user)


def run_of(us: Live, entity: str) -> str:
    """The address of the first run that wrote records of an entity."""
    lines = us.browser.page(f"/activity?entity={entity}&changes=1").all("a")
    return [found["href"] for found in lines if found["href"].startswith("/activity/run/")][-1]


def test_the_overview(live: Live, office: Team) -> None:
    """One sentence, what needs attention with a button each, a card an entity with links to its records, the last runs."""
    page = live.browser.page("/")
    with live.setup.reading() as session:
        note_ok(session.store, session.pair, "daemon")
        note_ok(session.store, session.pair, "verify:projects")
    page = live.browser.page("/")
    assert "Live, but one problem needs attention." in page.text
    assert "Some users are rejected" in page.text
    assert "1 of the users is not delivered. They are checked again at every sync." in page.text, "beside See why"
    links = {found["href"] for found in page.all("a")}
    assert {
        "/records?state=rejected&entity=users",
        "/records?entity=projects",
        "/records?entity=time_entries&state=waiting",
    } <= links
    assert (
        "Projects Clockify to Snapshots Records 5 records of projects Changed today 5 Pending 0 Rejected 0" in page.text
    )
    assert re.search(r"Next full read in \d+ (h|min)", page.text)
    assert re.search(r"Verified equal just now", page.text)
    assert f"{len(office.users()) - 1} records of users" in page.text


def test_the_overview_refreshes_itself(live: Live) -> None:
    """By a part that is requested every five seconds, and continues."""
    answer = live.browser.get("/overview/progress")
    assert (answer.status_code, answer.headers["x-under-way"]) == (200, "yes")
    assert "Status of each entity" in answer.text
    assert "<html" not in answer.text
    (part,) = [found for found in live.browser.page("/").all("div") if "data-poll" in found]
    assert (part["data-poll"], part["data-every"]) == ("/overview/progress", "5000")


def test_the_activity(live: Live) -> None:
    """Runs and changes with their filters in the address; what changed nothing is folded."""
    text = live.text("/activity")
    assert "Live on:" in text
    assert "Clockify connected: workspace" in text
    assert re.search(r"Checked .* times since .*: nothing changed\.", text)
    text = live.text("/activity?entity=projects&changes=1")
    assert "Synced projects" in text
    assert "Live on:" not in text
    assert "nothing changed" not in text
    assert "Nothing matches these filters." in live.text("/activity?outcome=failed")
    assert "Synced" not in live.text("/activity?kind=change")
    text = live.text("/activity?trigger=console")
    assert "Synced projects Console Ana" in text
    assert "Live on:" not in text
    assert "Nothing matches these filters." in live.text("/activity?trigger=schedule")
    assert "Nothing matches" in live.text("/activity?to=2001-01-01")
    assert "Synced projects" in live.text("/activity?from=nonsense&before=nonsense&kind=nonsense")
    assert live.browser.get("/activity?entity=nope").status_code == 200


def test_the_activity_as_a_file(live: Live) -> None:
    """With the filters of the page; a line a run, times in UTC."""
    answer = live.browser.get("/activity/csv?entity=projects&changes=1")
    assert answer.headers["content-type"].startswith("text/csv")
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["what"], row["outcome"], row["created"]) == ("Synced projects", "success", "5")
    assert (row["trigger"], row["requested_by"]) == ("console", "Ana")
    assert datetime.strptime(row["when"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def test_a_run(live: Live, office: Team) -> None:
    """Figures that lead to its records, what it rejected, its requests, buttons that repeat it, and a text for support."""
    path = run_of(live, "projects")
    page = live.browser.page(path)
    run_id = path.rpartition("/")[2]
    assert f"/records?run={run_id}&action=created&entity=projects" in {found["href"] for found in page.all("a")}
    assert f"run {run_id}: success" in page.text
    assert "Sync projects again" in page.text
    created = live.text(f"/records?run={run_id}&action=created&entity=projects")
    assert all(project["name"] in created for project in office.projects())
    with live.setup.reading() as session:
        sync, at = session.ledger("users").syncs, session.now()
        number = sync.begin(observed_at=at, at=at, run_id=RUN)
        sync.finish(number, "failed", {}, 1, at, reason="jana@example.com is 'wrong'. Try again later.")
        good = sync.begin(observed_at=at, at=at, run_id="after")
        sync.finish(good, "success", {}, 1, at)
    text = live.text(f"/activity/run/{RUN}")
    assert "Sync of users failed" in text
    assert "What happened users: jana@example.com is 'wrong'. Try again later." in text
    assert "What it means What was delivered stays delivered" in text
    assert "What to do Correct the cause" in text
    support = text.partition("Copy for support")[2]
    assert "jana@example.com" not in support
    assert "*** is ***. Try again later." in support
    assert live.browser.get("/activity/run/nope").status_code == 404
    assert "Retry rejected users" in live.text(run_of(live, "users"))


def test_a_run_of_single_records_that_delivered_nothing_is_no_success(live: Live) -> None:
    """It is failed in the list, under its filter and on its page, with what waits."""
    with live.setup.reading() as session:
        sync, at = session.ledger("time_entries").syncs, session.now()
        number = sync.begin(observed_at=at, at=at, run_id="refused", targeted=True)
        sync.finish(number, "targeted", {"extracted": 1, "waiting": 1}, 2, at, reason="The key was revoked.")
    text = live.text("/activity?outcome=failed&entity=time_entries")
    assert "Sync of time entries failed" in text
    text = live.text("/activity/run/refused")
    assert "time entries failed 1 0 0 0 0 0 0 1" in text.lower()
    assert "What happened time_entries: The key was revoked." in text
    rows = list(csv.DictReader(io.StringIO(live.browser.get("/activity/csv?outcome=failed&entity=time_entries").text)))
    assert [(row["outcome"], row["waiting"]) for row in rows if row["by"] == "refused"] == [("failed", "1")]
    with live.setup.reading() as session:
        after = session.ledger("time_entries").syncs
        after.finish(after.begin(observed_at=at, at=at, run_id="later"), "success", {}, 1, at)


@pytest.mark.parametrize("words", ["id", "email", "name", "target"])
def test_a_record_is_found(live: Live, words: str) -> None:
    """By its id, an address, the beginning of a name; people see the name, and the id small next to it."""
    user = live.user
    asked = {"id": user["id"], "email": user["email"], "name": user["name"][:-2].lower(), "target": user["id"]}[words]
    page = live.browser.page(f"/records?q={quote(asked)}")
    assert f"/records/users/{user['id']}" in {found["href"] for found in page.all("a")}
    assert f"{user['name']} {user['id']} users in step" in page.text


def test_a_rejected_record_is_found(live: Live, office: Team) -> None:
    """Also where nothing of it was ever stored: by its id, its wrong value, its name."""
    name = next(user["name"] for user in office.users() if user["id"] == live.rejected)
    for words in (live.rejected, "no address", name[:-2].upper()):
        assert f"/records/users/{live.rejected}" in live.links(f"/records?q={quote(words)}")


def test_one_record(live: Live) -> None:
    """Both sides with what differs, why it is rejected, its history with links to the runs."""
    user = live.user
    text = live.text(f"/records/users/{user['id']}")
    assert text.startswith(user["name"])
    assert "The target is up to date." in text
    assert f"email email {user['email']} {user['email']}" in text
    assert "Delivery: create" in text
    text = live.text(f"/records/users/{live.rejected}")
    assert "Why it is rejected email is not an e-mail address no address" in text
    assert live.browser.get("/records/users/nope").status_code == 404
    assert live.browser.get("/records/nope/1").status_code == 404
    assert live.browser.get("/records?entity=nope").status_code == 409, "it is switched off, or there is none"


def test_a_record_that_is_rejected_after_its_delivery(live: Live, office: Team) -> None:
    """What is shown is its last accepted version, and called that, also while its reject is ignored."""
    user = office.users()[-1]
    with live.setup.reading() as session:
        session.ledger("users").rejects.replace(
            None, [Reject(user["id"], "email", "email", "is not an e-mail address", "not-an-address")], None,
            session.now(), source_ids=[user["id"]], read_no=10_000,
        )  # fmt: skip
    chosen = {"source_id": user["id"], "record": user["id"]}
    for path, note in (("", ""), ("/records/users/ignore", "An old account")):
        if path:
            live.browser.post(path, {**chosen, "note": note})
        text = live.text(f"/records/users/{user['id']}")
        assert "The target keeps the version that was last accepted." in text
        assert "Field Last accepted Target" in text
        assert "up to date" not in text
        assert "as the source has them" not in text
    with live.setup.reading() as session:
        session.ledger("users").rejects.replace(None, [], None, session.now(), source_ids=[user["id"]], read_no=10_001)


def test_no_comparison_is_promised_where_the_source_cannot_read_one_record(live: Live, office: Team) -> None:
    """Of users there is only a list: the target alone is read, and the page says so."""
    text = live.text(f"/records/users/{live.user['id']}")
    assert "Read the target now" in text
    assert "it cannot read a single record by its id" in text
    assert "Compare now" not in text
    asked = {"source_id": live.user["id"]}
    shown = Page(live.browser.post("/records/users/compare", asked, of="/mapping/users").text)
    assert "Read now at the target" in shown.text
    text = live.text(f"/records/projects/{office.projects()[0]['id']}")
    assert "Compare now reads them" in text
    assert "Read the target now" not in text


def test_what_differs_is_marked(live: Live, office: Team) -> None:
    """A record that changed since: the old value is at the target, the new one is wanted, and it is pending."""
    project = office.projects()[0]
    with live.setup.reading() as session:
        ledger = session.ledger("projects")
        row = ledger.lookup([project["id"]])[project["id"]]
        fields = row.fields.replace(project["name"], "Renamed")
        ledger.replace_fields({row.source_id: (fields, "another hash")}, 10_000)
    text = live.text(f"/records/projects/{project['id']}")
    assert "pending" in text
    assert "Renamed" in text


def test_rejects_by_reason(live: Live, office: Team) -> None:
    """Grouped; retried together where the target refused them; ignored with a note, which the audit keeps."""
    with live.setup.reading() as session:
        ledger, at = session.ledger("projects"), session.now()
        ids = [project["id"] for project in office.projects()[:2]]
        known = ledger.lookup(ids)
        ledger.mark_refused(
            [Refused(key, known[key].fields_hash, "update", "no such <b>client</b>") for key in ids], None, at
        )
    text = live.text("/records?state=rejected&entity=projects")
    assert "no such <b>client</b> projects, rejected by the target 2" in text
    answer = live.browser.post("/records/projects/retry", {"reason": "no such reason"})
    assert "nothing to send again" in answer.text
    answer = live.browser.post("/records/projects/retry", {"reason": "no such <b>client</b>"})
    assert "2 records are offered again by the next sync." in answer.text
    path, chosen = "/records/users/ignore", {"source_id": live.rejected, "record": live.rejected}
    assert "Say why these records are ignored." in live.browser.post(path, chosen).text
    answer = live.browser.post(path, {**chosen, "note": "An old account"})
    assert "1 reject is ignored until the record or the reason changes." in answer.text
    assert answer.url.path == f"/records/users/{live.rejected}"
    assert "An old account" in live.text("/settings/audit")
    assert "No record of users is rejected." in live.text("/records?state=rejected&entity=users")
    assert "is not an e-mail address" in live.text("/records?state=ignored")
    live.browser.post(path, {"reason": "is not an e-mail address", "stop": "1"})
    assert "is not an e-mail address" in live.text("/records?state=rejected")


def test_records_as_a_file(live: Live) -> None:
    """With the filters of the page; nothing in it is a formula to a spreadsheet."""
    with live.setup.reading() as session:
        found = [Reject("=1+1", "email", "email", "=HYPERLINK(1)", "x")]
        session.ledger("locations").rejects.replace(None, found, None, session.now(), read_no=10_000)
    rows = list(csv.DictReader(io.StringIO(live.browser.get("/records/csv?state=rejected&entity=locations").text)))
    assert [(row["id"], row["reason"]) for row in rows] == [("'=1+1", "'=HYPERLINK(1)")]


def test_pages_at_the_vendors(live: Live, office: Team) -> None:
    """Where a mapping names them, and the system is no server on this machine."""
    location = next(iter(office.at_snapshots("locations")))
    with live.setup.reading() as session:
        row = rows_of(session.store, session.pair, [("locations", location)])[0]
        spec = session.spec("locations")
        assert pages_of(session, spec, row) == {}
        real: dict[str, Any] = {"clockify_base_url": "https://api.clockify.me/api/v1", "snapshots_profile": "highlevel"}
        session.settings = replace(session.settings, **real, snapshots_base_url="https://services.example")
        assert pages_of(session, spec, row) == {
            "snapshots": f"https://app.gohighlevel.com/v2/location/{location}/dashboard",
            "clockify": "https://app.clockify.me/clients",
        }


def test_the_pages_in_a_browser(live: Live, chrome: playwright.sync_api.Browser) -> None:
    """Wide and narrow, light and dark: nothing serious for axe, no wider than a phone; the time is the reader's."""
    paths = ["/", "/activity", run_of(live, "users"), "/records?state=rejected", f"/records/users/{live.rejected}"]
    paths += [f"/records/users/{live.user['id']}", "/connections", "/settings/audit", "/help"]
    with walking(chrome, live.browser.console.link()) as ana:
        for path in paths:
            ana.to(path)
            ana.audit()
        ana.to("/activity")
        moment = ana.page.locator("time").first
        expect(moment).to_have_attribute("title", re.compile(r"\d\d:\d\d:\d\d UTC$"))
        expect(moment.locator("span")).to_have_text(re.compile(r"^(\d{4}-\d\d-\d\d )?\d\d:\d\d$"))
        ana.to("/")
        ana.tabs_to(ana.page.get_by_role("link", name="Activity", exact=True))
        ana.page.keyboard.press("Enter")
        expect(ana.heading).to_have_text("Activity")


COVERED = """() => {
  const boxOf = (node) => { const all = document.createRange(); all.selectNodeContents(node); return all.getBoundingClientRect(); };
  const texts = [...document.querySelectorAll('.places a')].map((link) => [link.textContent, boxOf(link)]);
  const badges = [...document.querySelectorAll('.places .count')].map((badge) => badge.getBoundingClientRect());
  // Four pixels of a line's box are above its letters.
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom - 4 && b.top + 4 < a.bottom;
  return [badges.length, texts.filter(([, text]) => badges.some((badge) => meet(badge, text))).map(([name]) => name)];
}"""
"""How many badges the header has, and the names of the places that one of them covers."""


def test_nothing_is_covered_or_cut(live: Live, chrome: playwright.sync_api.Browser) -> None:
    """The badges cover no letter, wide and on a phone; there a month has room for its year, and two buttons do not touch."""
    live.browser.console.console.badges.forget()
    with walking(chrome, live.browser.console.link()) as ana:
        for width in (1280, 390):
            ana.page.set_viewport_size({"width": width, "height": 800})
            ana.to("/")
            count, covered = ana.page.evaluate(COVERED)
            assert (count >= 1, covered) == (True, []), width
        ana.to("/dashboard")
        for name in ("from", "to"):
            box = ana.page.locator(f"#{name}").bounding_box()
            assert box is not None
            assert box["width"] > 200
        # The same form as on the page of a draft that rewrites records.
        ana.page.locator("main").evaluate(
            "(main) => main.insertAdjacentHTML('beforeend', '<div class=actions><form><button>A</button> <button>B</button></form></div>')"
        )
        first, second = (ana.page.get_by_role("button", name=name, exact=True).bounding_box() for name in "AB")
        assert first is not None
        assert second is not None
        assert second["y"] - (first["y"] + first["height"]) >= 4


def test_a_record_is_compared_now(live: Live, office: Team) -> None:
    """Both systems are read: what differs, and every field's current value, folded; nothing of it is stored."""
    project = office.projects()[0]
    path = f"/records/projects/{project['id']}"
    shown = Page(live.browser.post("/records/projects/compare", {"source_id": project["id"]}, of="/mapping/users").text)
    assert "Both sides are the same." in shown.text
    assert "All fields of the source" in shown.text
    assert f'"workspaceId": "{project["workspaceId"]}"' in shown.text
    assert shown.faults == []
    office.snapshots("PUT", f"/projects/{project['id']}", {"project_name": "Something else"})
    shown = Page(live.browser.post("/records/projects/compare", {"source_id": project["id"]}, of="/mapping/users").text)
    assert "1 field differs between both sides." in shown.text
    assert "Something else" in shown.text
    office.snapshots("PUT", f"/projects/{project['id']}", {"project_name": project["name"]})
    assert "Read now on both sides" not in live.text(path)
    office.fault("status", "GET */projects/*", status=401)
    refused = live.browser.post("/records/projects/compare", {"source_id": project["id"]}, of="/mapping/users")
    office.no_faults()
    assert refused.status_code == 422
    assert "Source and target" in refused.text
