"""The steps: from an empty home to live syncing, and every way to get a form wrong."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from sync_pipeline.errors import ConfigError
from sync_pipeline_tests.console.browsing import PAGES, Browser, Page, browsing, consoling
from sync_pipeline_tests.console.setting_up import choose, connect, look, snapshots
from sync_pipeline_tests.harness import CLOCKIFY_KEY, SNAPSHOTS_KEY, Team
from sync_pipeline_tests.setup.services import write_document

SCRIPT = "<script>alert(1)</script>"


def test_from_nothing_to_live(setup_browser: Browser, office: Team) -> None:
    """Connect both, add a field, try, go live, turn it off; all of it is in the audit trail under one name."""
    browser = setup_browser
    connect(browser, office)
    field = {"is_new": "1", "name": "nick", "source": "name", "transform": "upper"}
    assert "The field nick is saved." in browser.post("/mapping/users", field, of="/mapping/new/users").text
    assert "cannot be turned on" in browser.post("/live", {"on": "1"}).text

    assert browser.post("/try", {"kind": "dry_run"}).url.path == "/setup/preview"
    browser.wait("/try/progress")
    tried = browser.page("/try")
    assert "passed Dry run on the accounts" in tried.text
    assert tried.faults == []

    before = browser.page("/live").text
    assert "What going live writes" in before
    assert "locations to Clockify, Polaris Field Services" in before
    assert "how many is not known yet" in before
    assert "Live syncing is on" in browser.post("/live", {"on": "1"}).text
    assert "Mode: live" in browser.page("/").text
    assert "Live syncing is off" in browser.post("/live", {"on": ""}).text
    trail = browser.page("/trail").text
    assert all(
        what in trail
        for what in ("clockify connected", "snapshots connected", "mapping changed", "live on", "live off")
    )
    assert trail.count(f"@{platform.node()} (console)") >= 6


def test_a_changed_mapping_asks_for_another_trial(setup_browser: Browser, office: Team) -> None:
    """What was tried is no more what would run."""
    browser = setup_browser
    connect(browser, office)
    browser.post("/try", {"kind": "dry_run"})
    browser.wait("/try/progress")
    browser.post("/live", {"on": "1"})
    browser.console.console.setup.change({"mappings.users.fields.time_zone": "drop"}, "mapping changed", "by a script")

    assert "Mode: dry run" in browser.page("/").text
    assert "preview it again" in browser.page("/try").text
    assert browser.post("/live", {"on": "1"}).status_code == 422


def test_a_wrong_key_is_reported_next_to_the_key(setup_browser: Browser, office: Team) -> None:
    """What was typed stays, but for the secret."""
    answer = look(setup_browser, office, secret="no-such-key-at-all")
    page = Page(answer.text)

    assert answer.status_code == 422
    assert [found["id"] for found in page.all("input") if found.get("aria-invalid")] == ["secret"]
    assert page.value("base_url") == office.sandbox.clockify
    assert "no-such-key-at-all" not in answer.text


@pytest.mark.parametrize("around", [' "{}" ', "'{}'\t", "\u201c{}\u201d", "\u00a0{}\r\n"])
def test_a_secret_is_freed_of_what_copying_adds(setup_browser: Browser, office: Team, around: str) -> None:
    """Blanks, quotes and line ends around it are no part of a key."""
    assert look(setup_browser, office, secret=around.format(CLOCKIFY_KEY)).status_code == 200
    assert snapshots(setup_browser, office, api_key=around.format(SNAPSHOTS_KEY)).url.path == "/mapping"


def test_a_wrong_address_is_reported_next_to_the_address(setup_browser: Browser, office: Team) -> None:
    """Of either system."""
    first = Page(look(setup_browser, office, base_url="not an address").text)
    second = Page(snapshots(setup_browser, office, base_url="http://127.0.0.1:9/").text)

    for page in (first, second):
        assert [found["id"] for found in page.all("input") if found.get("aria-invalid")] == ["base_url"]


def test_the_first_half_of_step_1_survives_a_reload(setup_browser: Browser, office: Team) -> None:
    """The key just typed waits on our side until the workspace is chosen, or another key is wanted."""
    look(setup_browser, office)

    assert "Polaris" in setup_browser.page("/clockify").text
    for path in ("/clockify?again=1", "/clockify"):  # the key is forgotten, region and addresses are not
        page = setup_browser.page(path)
        assert "Look up workspaces" in page.text
        assert [found["value"] for found in page.all("option") if "selected" in found] == ["custom"]
        assert page.value("base_url") == office.sandbox.clockify
        assert page.value("secret") == ""


def test_a_plain_members_key_is_reported_before_it_is_connected(setup_browser: Browser, office: Team) -> None:
    """Its workspace cannot be chosen, and why is next to it; sent anyway, it is refused."""
    page = Page(look(setup_browser, office, secret="sandbox-clockify-member-key").text)

    assert [found for found in page.all("input") if found.get("name") == "workspace" and "disabled" not in found] == []
    assert "member: needs an admin's key" in page.text
    assert "Connect this workspace" not in page.text
    assert "belongs to a plain member" in Page(choose(setup_browser, office).text).text


def test_the_profile_is_chosen_and_the_return_address_copied(setup_browser: Browser) -> None:
    """Of the known profiles, each with what it is; another one is refused, next to it."""
    page = setup_browser.page("/snapshots")

    assert "Generic: A REST API with one resource per entity" in page.text
    (address,) = [found for found in page.all("input") if found.get("id") == "redirect_uri"]
    assert address["value"].startswith("http://127.0.0.1:")
    assert "readonly" in address
    assert "name" not in address
    wrong = Page(setup_browser.post("/snapshots", {"region": "custom", "profile": "nope"}, of="/snapshots").text)
    assert [found["id"] for found in wrong.all("select") if found.get("aria-invalid")] == ["profile"]


def test_an_empty_secret_keeps_the_stored_one(setup_browser: Browser, office: Team) -> None:
    """The page states on which day it was stored."""
    connect(setup_browser, office)

    assert "Stored on 20" in setup_browser.page("/clockify").text
    assert look(setup_browser, office, secret="").status_code == 200
    assert choose(setup_browser, office).url.path == "/setup/snapshots"
    assert snapshots(setup_browser, office, api_key="").url.path == "/mapping"


def test_secrets_never_come_back(setup_browser: Browser, office: Team) -> None:
    """Not in any page, header, redirect or error, whatever was typed where."""
    browser = setup_browser
    wrong = "sentinel-9f8e7d"
    look(browser, office, secret=wrong)
    snapshots(browser, office, api_key=wrong)
    snapshots(browser, office, auth="client_credentials", client_id="nobody", client_secret=wrong)
    for url in (f"https://ana:{wrong}@api.example/v1", f"https://api.example/v1?key={wrong}"):
        assert look(browser, office, base_url=url).status_code == 422
        assert look(browser, office, reports_url=url).status_code == 422
        assert snapshots(browser, office, base_url=url).status_code == 422
    connect(browser, office)
    browser.post("/clockify", {"secret": wrong, "since": "stale", "action": "look"}, of="/clockify")
    for path in PAGES:
        browser.get(path)
    browser.post("/check")
    browser.wait("/check/progress")
    browser.get("/check")

    hints = (f"is {CLOCKIFY_KEY}.", f"is {SNAPSHOTS_KEY}.")  # the sandbox's own keys, which the pages show
    seen = "\n".join(browser.seen)
    for hint in hints:
        seen = seen.replace(hint, "")
    for secret in (wrong, CLOCKIFY_KEY, SNAPSHOTS_KEY):
        assert secret not in seen


def test_a_stale_form_overwrites_nothing(setup_browser: Browser, office: Team) -> None:
    """In a second tab: what was typed stays on the page, and the set-up is as the other left it."""
    browser = setup_browser
    connect(browser, office)
    stale = browser.page("/mapping/new/users").value("since")
    browser.post("/mapping/users", {"is_new": "1", "name": "nick", "source": "name"}, of="/mapping/new/users")
    before = browser.console.console.setup.settings().setup_document

    late = browser.post("/mapping/users", {"is_new": "1", "name": "other", "source": "email", "since": stale})
    page = Page(late.text)
    assert late.status_code == 422
    assert "changed in the meantime" in page.text
    assert (page.value("name"), page.value("source")) == ("other", "email")
    assert page.value("since") not in ("", stale)
    assert "changed in the meantime" in snapshots(browser, office, since=stale).text
    assert "changed in the meantime" in browser.post("/mapping", {"entities": ["users"], "since": stale}).text
    assert (
        "changed in the meantime"
        in browser.post("/connections/clockify/disconnect", {"name": "Clockify", "since": stale}).text
    )
    assert browser.console.console.setup.settings().setup_document == before


def test_entities_are_switched_with_what_they_need(setup_browser: Browser, office: Team) -> None:
    """A missing dependency is reported; a good choice is kept."""
    connect(setup_browser, office)

    refused = setup_browser.post("/mapping", {"entities": ["time_entries"], "start_date": "2026-02-01"})
    assert refused.status_code == 422
    assert "time_entries needs" in refused.text
    assert (
        "Saved." in setup_browser.post("/mapping", {"entities": ["users", "projects"], "start_date": "2026-02-01"}).text
    )
    page = setup_browser.page("/mapping")
    assert [found["value"] for found in page.all("input") if "checked" in found] == ["projects", "users"]
    assert page.value("start_date") == "2026-02-01"
    assert setup_browser.post("/mapping", {"entities": ["users"], "start_date": "soon"}).status_code == 422


def test_a_field_is_dropped_and_restored(setup_browser: Browser, office: Team) -> None:
    """Both from the list of fields."""
    connect(setup_browser, office)

    assert (
        "is no longer delivered"
        in setup_browser.post("/mapping/drop/users", {"name": "email"}, of="/mapping/users").text
    )
    assert "not delivered" in setup_browser.page("/mapping/users").text
    assert (
        "has its default again"
        in setup_browser.post("/mapping/restore/users", {"name": "email"}, of="/mapping/users").text
    )
    assert setup_browser.post("/mapping/drop/users", {"name": "user_id"}, of="/mapping/users").status_code == 422
    assert setup_browser.post("/mapping/drop/users", {"name": "nope"}, of="/mapping/users").status_code == 422


def test_what_the_environment_gives_is_shown_and_cannot_be_changed(tmp_path: Path, office: Team) -> None:
    """The field is read-only and names the variable; the key itself is not in the page."""
    given: dict[str, Any] = {
        "CLOCKIFY_API_KEY": CLOCKIFY_KEY,
        "CLOCKIFY_WORKSPACE_ID": office.sandbox.workspace,
        "CLOCKIFY_BASE_URL": office.sandbox.clockify,
        "CLOCKIFY_REPORTS_URL": office.sandbox.reports,
        "SNAPSHOTS_BASE_URL": office.sandbox.snapshots,
        "SNAPSHOTS_API_KEY": "sandbox-snapshots-key",
    }
    with consoling(tmp_path / "home", **given) as console, browsing(console) as browser:
        browser.sign_in()
        page = browser.page("/clockify")
        (secret,) = [found for found in page.all("input") if found.get("name") == "secret"]
        assert "readonly" in secret
        assert "Set by CLOCKIFY_API_KEY in the environment" in page.text
        assert "from the environment" in browser.page("/").text
        assert page.faults == []


def test_a_broken_set_up_is_reported_on_every_page(setup_browser: Browser) -> None:
    """With the line that is wrong; no page breaks, and all is well when it is corrected."""
    given = setup_browser.console.console.setup.settings()
    write_document(given, "start_date: 2026-02-01\nnonsense: 1\n")
    for path in PAGES:
        answer = setup_browser.get(path)
        assert answer.status_code == 409, path
        assert "set-up:2: nonsense" in answer.text
        assert Page(answer.text).faults == []
    write_document(given, "start_date: 2026-02-01\n")
    assert setup_browser.page("/mapping").value("start_date") == "2026-02-01"


def test_one_sided_credentials_start_no_console(tmp_path: Path) -> None:
    """What is missing is named immediately."""
    with (
        pytest.raises(ConfigError, match="SNAPSHOTS_API_KEY"),
        consoling(tmp_path / "home", CLOCKIFY_API_KEY="x" * 20),
    ):
        pass


def test_disconnecting_forgets(setup_browser: Browser, office: Team) -> None:
    """The system is not set up any more, and its key is deleted."""
    connect(setup_browser, office)

    page = "/connections/snapshots/disconnect"
    assert "forgotten" in setup_browser.post("/snapshots/disconnect", {"name": "Snapshots API"}, of=page).text
    assert snapshots(setup_browser, office, api_key="").status_code == 422
    assert "not set up" in setup_browser.page("/connections").text
    assert "Not connected yet." in setup_browser.page("/").text


def test_rejects_are_listed_with_reasons_and_offered_again(setup_browser: Browser, office: Team) -> None:
    """Counted on the overview and listed; what the target refused is offered again, what a check rejected is checked again."""
    browser = setup_browser
    connect(browser, office)
    us = replace(office, home=browser.console.console.setup.settings().home, changes={"SYNC_MODE": "live"})
    for number in range(2):
        us.put_location(f"twin-{number}", location_name=SCRIPT, address=str(number))
    us.sync("locations", "users")
    with us.session() as session, session.store.writing() as own:
        own.execute(text("UPDATE records SET delivered_hash = NULL, refused_hash = fields_hash WHERE entity = 'users'"))
    us.sync("users")

    assert "/records?state=rejected&entity=locations" in {found["href"] for found in browser.page("/").all("a")}
    twins = browser.get("/rejects/locations")
    assert "another record has the same name" in twins.text
    assert SCRIPT not in twins.text
    assert Page(twins.text).faults == []
    assert "nothing to send again" in browser.post("/rejects/locations").text
    assert "users" in browser.page("/rejects/users").text
    refused = len(us.users())
    assert f"{refused} records are offered again" in browser.post("/rejects/users").text
    assert "4 refused records of users" in browser.page("/trail").text


def test_scripts_in_records_are_shown_as_text(setup_browser: Browser, office: Team) -> None:
    """In examples, previews and trials."""
    connect(setup_browser, office)
    office.put_location("evil", location_name=SCRIPT, address=f'"><img src=x onerror=alert(1)>{SCRIPT}')
    setup_browser.post("/try", {"kind": "dry_run"})
    setup_browser.wait("/try/progress")

    for path in ("/try", "/mapping/locations", "/mapping/new/locations"):
        answer = setup_browser.get(path)
        assert SCRIPT not in answer.text
        assert "<img" not in answer.text
        assert Page(answer.text).faults == []
    assert "alert(1)" in setup_browser.page("/try").text


def test_the_start_date_of_a_stale_form_is_not_taken(setup_browser: Browser) -> None:
    """Also when the entities are unchanged."""
    everything = {"entities": ["locations", "users", "projects", "time_entries"]}
    assert "Saved." in setup_browser.post("/mapping", {**everything, "start_date": "2026-02-01"}).text

    late = setup_browser.post("/mapping", {**everything, "start_date": "2026-03-01", "since": ""})
    assert "changed in the meantime" in late.text
    assert setup_browser.page("/mapping").value("start_date") == "2026-02-01"


@pytest.mark.parametrize("kind", ["sandbox", "dry_run", "nonsense"])
def test_a_trial_of_any_kind_is_followed_to_its_end(setup_browser: Browser, kind: str) -> None:
    """On the untouched sandbox it is always the sandbox that is tried; the page is well-formed all the way."""
    setup_browser.post("/try", {"kind": kind})
    answer = setup_browser.wait("/try/progress")

    assert Page(answer.text).faults == []
    page = setup_browser.page("/try")
    assert page.faults == []
    assert "passed In the sandbox" in page.text
    assert "Record by record" in page.text
