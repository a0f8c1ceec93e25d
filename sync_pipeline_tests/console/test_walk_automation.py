"""From two words in the catalogue to a project that is made for each new location, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from playwright.sync_api import Browser, expect

from sync_pipeline_tests.console.browsing import consoling
from sync_pipeline_tests.console.walk import Walker, elsewhere, walking
from sync_pipeline_tests.defs.live import Live, live
from sync_pipeline_tests.harness import Team, morning, team

NAME, NEW = "starter_projects", "Harbour House"
OPERATION = "clockify.projects.from-template"


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """Three locations that are clients already, and a project that is a template."""
    with team(tmp_path, locations=3, clients=0, projects=1, users=1, entries=0) as made:
        yield made


def test_from_two_words_to_a_project_for_each_new_location(
    chrome: Browser, us: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found, read, tried, switched on; then a location leads to one client and one project, however often it is heard of."""
    with live(us, tmp_path, monkeypatch) as daemon:
        elsewhere(us.sync)
        with consoling(us.home, None, **us.environ) as console, walking(chrome, console.link(), us) as ana:
            finds_and_reads(ana)
            tries_it(ana, us)
            switches_it_on(ana)
            us.put_location("harbour", location_name=NEW)
            elsewhere(lambda: hears_of_it_often(daemon))
            (client,) = [each for each in us.clients() if each["name"] == NEW]
            (project,) = [each for each in us.projects() if each["name"] == NEW]
            assert project["clientId"] == client["id"]
            sees_it(ana)
            us.add_entry(us.users()[0]["id"], morning(1), 2, projectId=project["id"])
            elsewhere(us.sync)
            ana.to("/dashboard")
            ana.press("Compute now")
            expect(ana.page.get_by_role("row").filter(has_text=NEW).first).to_contain_text("2.0")


def finds_and_reads(ana: Walker) -> None:
    """Two words; what it needs is on its page, and the automation that does it."""
    ana.to("/settings/operations")
    ana.page.get_by_label("Words").fill("project template")
    ana.press("Search")
    ana.page.locator("tbody th a").first.click()
    expect(ana.heading).to_have_text(OPERATION)
    inputs = ana.page.get_by_role("table", name="Inputs")
    for name in ("name", "templateProjectId"):
        expect(inputs.get_by_role("row").filter(has=ana.page.get_by_text(name, exact=True))).to_contain_text("yes")
    expect(ana.page.get_by_role("definition").filter(has_text="A location is new")).to_be_visible()


def tries_it(ana: Walker, us: Team) -> None:
    """The request is shown, then sent: a project is there, without the automation."""
    (template,) = [each["id"] for each in us.projects() if each["template"]]
    ana.page.get_by_label("name (required)", exact=True).fill("Tried by hand")
    ana.page.get_by_label("templateProjectId (required)").fill(template)
    ana.press("Show the request")
    ana.press("Send")
    ana.sees("sent")
    assert [each["template"] for each in us.projects() if each["name"] == "Tried by hand"] == [False]


def switches_it_on(ana: Walker) -> None:
    """The template is chosen; what exists is counted and left alone."""
    ana.follow("A location is new")
    ana.page.locator("select").select_option(index=1)
    ana.press("Preview")
    ana.sees("3 locations exist")
    ana.audit()
    ana.press("Switch on")
    ana.sees_notice("What exists already, 3 locations, is left alone.")
    ana.follow("Automations")
    ana.sees("0 made")
    ana.audit()


def hears_of_it_often(daemon: Live) -> None:
    """The asset is in the lineage, after that of the locations; the sensors run until nothing is left."""
    daemon.renew()
    graph = daemon.defs.resolve_asset_graph()
    asset = dg.AssetKey(NAME)
    assert dg.AssetKey("locations") in graph.get_ancestor_asset_keys(asset)
    for number in range(3):
        daemon.event("LOCATION_CREATED", "locations", {"id": "harbour", "number": number})
        daemon.drain("locations", NAME)


def sees_it(ana: Walker) -> None:
    """On the page of automations, and in the history of the record."""
    ana.to("/automations")
    ana.follow("1 made")
    ana.follow(NEW)
    ana.sees(re.compile("[Cc]reate"))
