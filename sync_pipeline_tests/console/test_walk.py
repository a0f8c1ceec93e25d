"""The whole way through the console in a real browser: from an empty database to live syncing, against the sandbox."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from playwright.sync_api import Browser, expect

from sync_pipeline.console.sessions import IDLE_SECONDS
from sync_pipeline.definitions import build
from sync_pipeline.defs.first_sync import NAME as FIRST_SYNC
from sync_pipeline.session.session import open_session
from sync_pipeline.settings import load_settings
from sync_pipeline.stages.verify import verify
from sync_pipeline_tests.console.browsing import Time, consoling
from sync_pipeline_tests.console.walk import Walker, elsewhere, walking
from sync_pipeline_tests.defs.live import Live
from sync_pipeline_tests.generate import ROOT
from sync_pipeline_tests.harness import ENTITIES, Team, team
from sync_pipeline_tests.scenarios.developing import Developing, developing, wait_for

MEMBER_KEY = "sandbox-clockify-member-key"
READ_ONLY_KEY = "sandbox-snapshots-read-only-key"
ARRIVES_SECONDS = 120.0


@pytest.mark.undocumented  # the address of another API is typed on purpose
def test_from_an_empty_database_to_live(
    chrome: Browser, tmp_path: Path, office: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step with its mistakes first and a reload after each; then Dagster syncs, both sides agree, and off is off."""
    with consoling(tmp_path / "home") as console, walking(chrome, console.link(), office) as ana:
        expect(ana.heading).to_have_text("Overview")
        ana.follow("Connect accounts")
        step_1(ana)
        step_2(ana)
        step_3(ana)
        step_4(ana)
        assert office.writes() == {}, "nothing is written before the switch is on"
        step_5(ana)
        with dagster(office, tmp_path, monkeypatch) as daemon:
            elsewhere(lambda: the_first_sync_runs(daemon))
            the_home_page_shows_it(ana)
            ana.page.get_by_role("switch").click()
            ana.sees_notice("Live syncing is off")
            elsewhere(lambda: nothing_happens_by_itself(daemon))
        the_trail_tells_it(ana)


def step_1(ana: Walker) -> None:
    """A wrong key and a plain member's are reported next to their fields; then the workspace is picked."""
    ana.look_up("nobody-ever-made-this-key")
    ana.is_refused_at("secret", "does not exist")
    ana.reload()
    ana.is_refused_at("secret", "does not exist")
    expect(ana.page.get_by_label("Key or token")).to_have_value("")

    ana.look_up(MEMBER_KEY)
    ana.sees("Xiomara Kim")
    ana.sees("This key belongs to a plain member")
    expect(ana.page.get_by_label("Polaris Field Services - paid - member: needs an admin's key")).to_be_disabled()
    expect(ana.page.get_by_role("button", name="Connect this workspace")).to_have_count(0)
    ana.follow("Use another key")
    expect(ana.page.get_by_label("Region")).to_have_value("custom")

    ana.look_up()
    ana.reload()
    ana.page.get_by_label("Polaris Field Services - paid - admin").check()
    ana.press("Connect this workspace")
    ana.sees_notice("Clockify is connected.")
    ana.is_at("/setup/snapshots")
    ana.reload()


def step_2(ana: Walker) -> None:
    """A wrong address, a wrong key and missing scopes are distinguished; consent is refused, then given."""
    assert ana.us is not None
    ana.try_snapshots_key(base_url=ana.us.sandbox.clockify)
    ana.is_refused_at("base_url", "no such address")
    ana.try_snapshots_key("nobody-ever-made-this-key")
    ana.is_refused_at("api_key", "401")
    ana.try_snapshots_key(READ_ONLY_KEY)
    ana.is_refused_at("api_key", "Grant projects.write, users.write and time_entries.write to this key or token.")
    ana.reload()

    ana.ask_for_consent()
    ana.again()
    ana.press("Refuse")
    ana.is_refused_at("auth", "Consent was refused")
    ana.to("/snapshots")
    ana.reload()
    ana.sees("A person has to grant access there.")
    ana.press("Authorize")
    ana.reload()
    ana.follow("Go to the consent page")
    ana.press("Allow")
    ana.sees_notice("access was allowed")
    ana.is_at("/mapping")
    ana.to("/snapshots")
    ana.sees("Access is granted.")


def step_3(ana: Walker) -> None:
    """A mistake is shown while it is typed; a field is added from a source field, changed, removed, and restored."""
    assert ana.us is not None
    ana.to("/mapping")
    ana.page.get_by_label("Time entries from").fill(ana.us.days.first.isoformat())
    ana.press("Save")
    ana.sees_notice("Saved.")
    ana.reload()
    expect(ana.page.get_by_label("Time entries from")).to_have_value(ana.us.days.first.isoformat())

    ana.page.get_by_role("link", name="users", exact=True).click()
    ana.page.get_by_text("source fields are not used").click()
    ana.page.get_by_role("link", name=re.compile("Add as a field ?: activeWorkspace")).click()
    expect(ana.page.get_by_label("Name at the target")).to_have_value("active_workspace")
    transform = ana.page.get_by_label("New transform", exact=True)
    transform.select_option("truncate")
    ana.page.get_by_label("Argument of the new transform").fill("many")
    expect(ana.page.locator("#transform-problem")).to_contain_text("many")
    expect(ana.page.locator("[data-verdict]")).to_have_text("Not valid yet.")
    ana.page.get_by_label("Argument of the new transform").fill("")
    transform.select_option("upper")
    expect(ana.page.locator("[data-verdict]")).to_have_text("Valid.")
    choice, shown = ana.page.get_by_label("Preview with"), ana.page.locator("#preview article")
    expect(choice.get_by_role("option")).to_have_count(4)  # all the users there are
    expect(shown.locator("ins")).to_contain_text(re.compile("[0-9A-F]{24}"))
    first = shown.get_by_role("heading", level=3).inner_text()
    choice.select_option("2")
    expect(shown.get_by_role("heading", level=3)).not_to_have_text(first)
    expect(shown.locator("ins")).to_contain_text(re.compile("[0-9A-F]{24}"))
    ana.press("Save the field")
    ana.sees_notice("The field active_workspace is saved.")
    ana.reload()

    ana.page.get_by_role("link", name="Change active_workspace").click()
    ana.page.get_by_label("Transform 1", exact=True).select_option("lower")
    ana.press("Save the field")
    ana.sees_notice("The field active_workspace is saved.")
    ana.page.get_by_role("button", name="Remove time_zone").click()
    ana.sees_notice("is no longer delivered")
    ana.page.get_by_role("button", name="Restore time_zone").click()
    ana.sees_notice("has its default again")
    ana.reload()

    ana.to("/mapping/time_entries/description")
    ana.page.get_by_label("New transform", exact=True).select_option("upper")
    ana.press("Add")
    expect(ana.page.get_by_label("Transform 1", exact=True)).to_have_value("upper")
    expect(ana.page.get_by_label("Preview with").get_by_role("option").nth(4)).to_be_attached()
    expect(ana.page.locator("#preview del").first).to_be_visible()


def step_4(ana: Walker) -> None:
    """It continues when the page is loaded again in the middle, and ends with every record and its reasons."""
    ana.to("/live")
    expect(ana.page.get_by_text("missing")).to_have_count(2)
    ana.to("/try")
    ana.press("Preview")
    ana.again()
    ana.again()
    ana.sees("passed")
    ana.reload()
    expect(ana.page.get_by_role("row", name=re.compile("^users 4 4 0"))).to_be_visible()
    ana.page.get_by_text("Record by record: 4 changes").last.click()
    users = ana.page.get_by_role("table", name="Changes of users")
    expect(users.get_by_role("row")).to_have_count(5)
    expect(users).to_contain_text("active_workspace")
    ana.follow("Continue to step 5")


def step_5(ana: Walker) -> None:
    """Everything is fulfilled; the switch turns it on, and the home page reports it."""
    ana.is_at("/setup/live")
    ana.go_live()
    ana.reload()
    expect(ana.page.get_by_role("switch")).to_be_checked()
    ana.follow("Overview")
    ana.sees("Mode: live")
    ana.reload()


@contextmanager
def dagster(us: Team, root: Path, patch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Dagster over the same home, which knows nothing but what the console stored."""
    patch.setenv("SYNC_HOME", str(root / "home"))
    patch.setenv("SYNC_MAX_ATTEMPTS", "1")
    patch.setenv("DAGSTER_HOME", str(root / "dagster"))
    (root / "dagster").mkdir()
    shutil.copy(ROOT / "dagster.yaml", root / "dagster" / "dagster.yaml")
    with dg.DagsterInstance.get() as instance:
        yield Live(us, instance, build(load_settings(root=root)), patch)


def the_first_sync_runs(daemon: Live) -> None:
    """The sensor asks for runs until everything was synced once; then both sides agree."""
    ticks = daemon.drain(FIRST_SYNC)
    assert {job for tick in ticks for job in tick.jobs} == {f"sync_{entity}" for entity in ENTITIES}
    assert all(run.success for tick in ticks for run in tick.runs)
    with open_session(load_settings(root=daemon.team.home)) as session:
        for entity, spec in session.specs.items():
            verdict = verify(session, spec, daemon.team.days if spec.partitioned else None)
            assert verdict.in_sync, f"{entity}: {verdict.differences[:5]}"
    there, here = daemon.team.at_snapshots("users"), daemon.team.users()
    assert {user["id"]: user["activeWorkspace"].lower() for user in here} == {
        key: user["active_workspace"] for key, user in there.items()
    }


def nothing_happens_by_itself(daemon: Live) -> None:
    """No sensor asks for a run, and each states why."""
    for name in (FIRST_SYNC, *ENTITIES):
        tick = daemon.look(name)
        assert tick.requests == []
        assert "live syncing is off" in tick.said.lower()


def the_home_page_shows_it(ana: Walker) -> None:
    """Each entity's success and the runs."""
    ana.to("/")
    cards = ana.page.locator(".flows section")
    expect(cards).to_have_count(4)
    expect(cards.filter(has_text="never")).to_have_count(0)
    expect(ana.page.get_by_role("table", name="What happened").get_by_text("success").first).to_be_visible()


def the_trail_tells_it(ana: Walker) -> None:
    """Who did what, in order."""
    ana.to("/trail")
    for what in ("clockify connected", "snapshots connected", "mapping changed", "live on", "live off"):
        expect(ana.page.get_by_role("cell", name=what, exact=True).first).to_be_visible()
    expect(ana.page.get_by_role("row").filter(has_not_text=f"@{platform.node()} (console)")).to_have_count(
        1
    )  # the heads


def test_a_session_that_ended_is_taken_up_again(chrome: Browser, tmp_path: Path, office: Team) -> None:
    """What was being typed is not accepted, and a notice states that; a fresh link leads back, and every step is where it was."""
    time = Time()
    with consoling(tmp_path / "home", time) as console, walking(chrome, console.link(), office) as ana:
        ana.connect_clockify()
        ana.to("/snapshots")
        time.at += IDLE_SECONDS + 1
        ana.press("Connect")
        expect(ana.heading).to_have_text("Signed out")
        ana.sees("Nothing was changed.")
        ana.sees("sync-pipeline console link")
        ana.audit()

        ana.page.goto(console.link())
        expect(ana.heading).to_have_text("Overview")
        ana.to("/clockify")
        ana.sees("connected")
        ana.connect_snapshots()
        ana.press("Sign out")
        expect(ana.heading).to_have_text("Sign in")
        ana.page.go_back()
        expect(ana.heading).to_have_text("Signed out")


def test_from_make_dev_to_records_at_the_target(chrome: Browser, tmp_path: Path) -> None:
    """With `dev` running, nothing but the browser: what is made while live is off waits, and arrives when it is on."""
    with developing(tmp_path) as us:
        said = (tmp_path / "dev.log").read_text()
        link = next(word for word in said.split() if word.startswith(f"{us.console}/sign-in?token="))
        with walking(chrome, link) as ana:
            ana.connect_clockify()
            ana.ask_for_consent()
            ana.press("Allow")
            ana.sees_notice("access was allowed")
            ana.follow("Overview")
            ana.sees("Live syncing is off for this configuration.")

            name = "Somebody made this project"
            project = us.clockify("POST", "/projects", {"name": name})["id"]
            ana.try_it()
            expect(ana.page.get_by_text(name)).to_have_count(2)  # the record by its name, and the field
            assert not is_at_target(us, project)
            ana.go_live()
            ana.follow("Overview")
            expect(ana.page.get_by_role("switch")).to_be_checked()
            wait_for(lambda: is_at_target(us, project), ARRIVES_SECONDS)

            wait_for(lambda: last_success_everywhere(ana), ARRIVES_SECONDS)
            ana.to("/activity?changes=1&kind=run")
            ana.page.get_by_role("link", name=re.compile("^Synced")).first.click()
            to_a_run = ana.page.get_by_role("link", name=re.compile("Open in Dagster")).first
            expect(to_a_run).to_have_attribute("href", re.compile(f"{us.ui}/runs/[0-9a-f-]{{36}}"))


def is_at_target(us: Developing, project: str) -> bool:
    """Whether the project is a record of the Snapshots system."""
    key = {"X-Api-Key": "sandbox-snapshots-key"}
    return us.client.get(f"{us.sandbox}/snapshots/projects/{project}", headers=key).is_success


def last_success_everywhere(ana: Walker) -> bool:
    """The home page reports no entity as never synced."""
    ana.again()
    return ana.page.locator(".flows").get_by_text("never").count() == 0


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """An office nothing was ever written to."""
    with team(tmp_path_factory.mktemp("office")) as us:
        yield us
