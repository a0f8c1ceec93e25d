"""Automations, from the switch to what is made: once for each record, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipeline.setup.automations import list_automations, preview_automation, show_automation, switch_off, switch_on
from sync_pipeline.setup.service import SetupService
from sync_pipeline.stages.batch import Counts
from sync_pipeline_tests.harness import Json, Team, team

NAME = "starter_projects"
TEMPLATE = {"templateProjectId": ""}


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team with three locations, and one project that is a template."""
    with team(tmp_path, locations=3, clients=0, entries=0, users=1, projects=0) as made:
        yield made


def service(us: Team) -> SetupService:
    """Who works on the team's set-up."""
    return SetupService("a person", us.home, us.environ)


def template(us: Team) -> dict[str, str]:
    """A project that is a template, as the automation asks for it."""
    made = us.clockify("POST", "/projects", {"name": "Template"})
    us.clockify("PATCH", f"/projects/{made['id']}/template", {"isTemplate": True})
    return {"templateProjectId": made["id"]}


def synced(us: Team) -> dict[str, Counts]:
    """A sync of the locations and of what is made for them."""
    return us.sync("locations", NAME)


def made_for(us: Team) -> list[Json]:
    """The projects besides the template."""
    return [project for project in us.projects() if project["name"] != "Template"]


def test_a_new_location_gets_one_project_and_what_exists_gets_none(us: Team) -> None:
    """Renamed, the client is renamed and the project stays; removed by a person, it stays removed, and verify says so."""
    setup, values = service(us), template(us)
    assert NAME not in us.sync()
    assert preview_automation(setup, NAME, values).records == 3
    assert switch_on(setup, NAME, values) == 3
    assert synced(us)[NAME].excluded == 3
    assert made_for(us) == []
    us.put_location("new", location_name="Harbour")
    assert synced(us)[NAME].created == 1
    (project,) = made_for(us)
    assert (project["name"], project["clientId"]) == ("Harbour", us.client("Harbour")["id"])
    assert synced(us)[NAME].writes == 0
    us.put_location("new", location_name="Harbour House")
    done = synced(us)
    assert (done["locations"].updated, done[NAME].writes) == (1, 0)
    assert us.client("Harbour House")["id"] == project["clientId"]
    assert made_for(us) == [{**project, "clientName": "Harbour House"}]
    verdict = us.verify(NAME)[NAME]
    assert (verdict.in_sync, verdict.source, verdict.target, verdict.removed) == (True, 1, 1, 0)
    us.delete_project(project["id"])
    assert synced(us)[NAME].writes == 0
    verdict = us.verify(NAME, repair=True)[NAME]
    assert (verdict.in_sync, verdict.target, verdict.removed) == (True, 0, 1)
    assert "stay removed" in verdict.explanation
    assert synced(us)[NAME].writes == 0
    assert made_for(us) == []
    shown = show_automation(setup, NAME)
    assert (shown.is_on, shown.made, shown.rejected) == (True, 1, 0)
    switch_off(setup, NAME)
    assert NAME not in us.settings().automations
    assert not list_automations(setup)[0].is_on
