"""Locations that become Clockify's projects or tasks by a mapping alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipeline.errors import MappingFileError
from sync_pipeline.stages.batch import Counts, Options
from sync_pipeline.store.rejects import list_rejects
from sync_pipeline_tests.harness import Json, Team, team
from sync_pipeline_tests.scenarios.dying import refuse
from sync_pipeline_tests.scenarios.mappings import write_mapping

PROJECTS = """
entity: locations
target: {kind: projects}
fields:
  address: drop
  name: {max_length: 250}
  clientId: {source: customer}
"""
TASKS = """
entity: locations
target: {kind: tasks}
fields:
  address: drop
  note: drop
  archived: drop
  projectId: {%s, required: true}
  status: {constant: ACTIVE}
"""


def synced(us: Team) -> Counts:
    """Sync the locations; what a few deletes would hold is allowed."""
    return us.sync("locations", options=Options(allow_deletes=True))["locations"]


def settled(us: Team) -> None:
    """Both sides agree, and a second sync writes nothing."""
    assert us.verify("locations")["locations"].in_sync
    us.forget_stats()
    synced(us)
    assert us.writes() == {}


def tasks(us: Team, project: str) -> dict[str, Json]:
    """The tasks of a project by name."""
    return {task["name"]: task for task in us.clockify("GET", f"/projects/{project}/tasks")}


def test_locations_become_projects(tmp_path: Path) -> None:
    """Adopted or created, renamed round, archived when deleted and active again when they return; never deleted."""
    with team(tmp_path, locations=0, clients=0, projects=0, entries=0) as us:
        write_mapping(us, "locations.yaml", PROJECTS)
        client = us.clockify("POST", "/clients", {"name": "Customer"})["id"]
        theirs = us.clockify("POST", "/projects", {"name": "Oak", "clientId": client, "note": "mine", "billable": True})
        other = us.clockify(
            "POST", "/projects", {"name": "Elm", "clientId": client}
        )  # a name is free in another client
        us.put_location("one", location_name="Oak", customer=client)
        us.put_location("two", location_name="Elm")
        done = synced(us)
        assert (done.adopted, done.created, done.rejected) == (1, 1, 0)
        found = {project["id"]: project for project in us.projects()}
        assert len(found) == 3
        assert (found[theirs["id"]]["note"], found[theirs["id"]]["billable"]) == ("mine", True)
        assert found[other["id"]] == other
        settled(us)
        us.put_location("two", location_name="Fir", customer=client)
        us.put_location("one", location_name="Elm tree")
        synced(us)
        settled(us)
        us.put_location("one", location_name="Fir", customer=client)
        us.put_location("two", location_name="Elm tree", customer=client)
        assert synced(us).updated == 2
        with us.session() as session:
            own = {key: target for target, key in session.ledger("locations").linked().items()}
        assert own["one"] == theirs["id"]
        assert {key: us.clockify("GET", f"/projects/{own[key]}")["name"] for key in own} == {
            "one": "Fir",
            "two": "Elm tree",
        }
        us.snapshots("DELETE", "/locations/one")
        assert synced(us).deleted == 1
        archived = us.clockify("GET", f"/projects/{own['one']}")
        assert (archived["archived"], archived["billable"]) == (True, True)
        settled(us)
        us.put_location("one", location_name="Fir", customer=client)
        synced(us)
        assert us.clockify("GET", f"/projects/{own['one']}")["archived"] is False
        assert len(us.projects()) == 3
        settled(us)


def test_locations_become_tasks(tmp_path: Path) -> None:
    """Of the project that the mapping names: adopted, created once, and done when their location is deleted."""
    with team(tmp_path, locations=0, projects=0, entries=0) as us:
        project = us.clockify("POST", "/projects", {"name": "Sites"})["id"]
        elsewhere = us.clockify("POST", "/projects", {"name": "Elsewhere"})["id"]
        write_mapping(us, "locations.yaml", TASKS % f"constant: {project}")
        theirs = us.clockify("POST", f"/projects/{project}/tasks", {"name": "Oak", "billable": True})
        foreign = us.clockify("POST", f"/projects/{elsewhere}/tasks", {"name": "Elm"})
        us.put_location("one", location_name="Oak")
        us.put_location("two", location_name="Elm")
        us.fault("cut_after", "POST */tasks", count=1)
        done = synced(us)
        assert (done.adopted, done.rejected, done.created + done.updated) == (1, 0, 1)
        found = tasks(us, project)
        assert found.keys() == {"Oak", "Elm"}
        assert (found["Oak"]["id"], found["Oak"]["billable"]) == (theirs["id"], True)
        settled(us)
        us.snapshots("DELETE", "/locations/one")
        assert synced(us).deleted == 1
        assert tasks(us, project)["Oak"]["status"] == "DONE"
        settled(us)
        us.put_location("one", location_name="Oak")
        synced(us)
        assert {task["status"] for task in tasks(us, project).values()} == {"ACTIVE"}
        assert tasks(us, elsewhere) == {"Elm": foreign}
        settled(us)


def test_a_task_whose_location_names_another_project_is_made_there(tmp_path: Path) -> None:
    """The old one is done; a location without a project waits as a reject, with that reason."""
    with team(tmp_path, locations=0, projects=0, entries=0) as us:
        first, second = (us.clockify("POST", "/projects", {"name": name})["id"] for name in ("First", "Second"))
        write_mapping(us, "locations.yaml", TASKS % "source: customer")
        us.put_location("one", location_name="Oak", customer=first)
        us.put_location("two", location_name="Elm", customer=first)
        us.put_location("none", location_name="Fir")
        done = synced(us)
        assert (done.created, done.rejected) == (2, 1)
        us.put_location("one", location_name="Oak", customer=second)
        synced(us)
        assert tasks(us, first)["Oak"]["status"] == "DONE"
        assert tasks(us, second)["Oak"]["status"] == "ACTIVE"
        settled(us)
        refuse(us, "POST */tasks")
        us.put_location("three", location_name="Yew", customer=second)
        assert synced(us).rejected == 2
        with us.session() as session:
            rows = list_rejects(session.store, session.pair, entity="locations")
        reasons = {str(row.source_id): row.reason for row in rows}
        assert "not this one" in reasons["three"]
        us.no_faults()
        us.put_location("three", location_name="Yew tree", customer=second)
        assert synced(us).created == 1
        settled(us)


@pytest.mark.parametrize("kind", ["projects", "tasks"])
@pytest.mark.parametrize("delete", ["delete", "unreferenced"])
def test_time_is_not_deleted_with_a_location(tmp_path: Path, kind: str, delete: str) -> None:
    """A mapping that would delete projects or tasks is refused, with what may be written instead."""
    with team(tmp_path, locations=0, clients=0, projects=0, entries=0) as us:
        text = PROJECTS if kind == "projects" else TASKS % "constant: p1"
        write_mapping(us, "locations.yaml", text.replace(f"kind: {kind}", f"kind: {kind}, delete: {delete}"))
        with pytest.raises(MappingFileError, match=f"{kind} are never deleted.*`archive` or `keep`"), us.session():
            pass


def test_a_task_belongs_to_a_project(tmp_path: Path) -> None:
    """A mapping that names none is refused."""
    with team(tmp_path, locations=0, clients=0, projects=0, entries=0) as us:
        write_mapping(us, "locations.yaml", (TASKS % "constant: p").replace("projectId:", "estimate:"))
        with pytest.raises(MappingFileError, match="a task belongs to a project"), us.session():
            pass


@pytest.mark.parametrize("kind", ["projects", "tasks"])
def test_another_kind_on_accounts_that_were_synced(tmp_path: Path, kind: str) -> None:
    """Each location gets a record of the new kind; the clients of before stay unchanged."""
    with team(tmp_path, clients=0, projects=0, entries=0) as us:
        us.sync("locations")
        clients = us.clients()
        project = us.clockify("POST", "/projects", {"name": "Sites"})["id"]
        write_mapping(us, "locations.yaml", PROJECTS if kind == "projects" else TASKS % f"constant: {project}")
        done = us.sync("locations", options=Options(accept_rewrite=True))["locations"]
        assert done.created == len(clients) > 0
        assert us.clients() == clients
        settled(us)


@pytest.mark.parametrize(("before", "after"), [("clients", "projects"), ("projects", "clients")])
def test_another_kind_with_the_same_fields(tmp_path: Path, before: str, after: str) -> None:
    """What was delivered as the one kind is not there as the other, though its fields are the same."""
    with team(tmp_path, locations=0, clients=0, projects=0, entries=0) as us:
        same = PROJECTS.replace("  clientId: {source: customer}\n", "").replace("kind: projects", "kind: %s")
        write_mapping(us, "locations.yaml", same % before)
        us.put_location("one", location_name="Oak")
        assert synced(us).created == 1
        write_mapping(us, "locations.yaml", same % after)
        us.sync("locations", options=Options(allow_deletes=True, accept_rewrite=True))
        assert [record["name"] for record in (us.projects() if after == "projects" else us.clients())] == ["Oak"]
        settled(us)


@pytest.mark.parametrize("after", ["projects", "clients"])
def test_another_kind_after_tasks(tmp_path: Path, after: str) -> None:
    """The link of a task names no record of another kind: the location gets one of that kind."""
    with team(tmp_path, locations=0, clients=0, projects=0, entries=0) as us:
        project = us.clockify("POST", "/projects", {"name": "Sites"})["id"]
        write_mapping(us, "locations.yaml", TASKS % f"constant: {project}")
        us.put_location("one", location_name="Oak")
        assert synced(us).created == 1
        same = PROJECTS.replace("  clientId: {source: customer}\n", "").replace("kind: projects", f"kind: {after}")
        write_mapping(us, "locations.yaml", same)
        us.sync("locations", options=Options(allow_deletes=True, accept_rewrite=True))
        assert "Oak" in {record["name"] for record in (us.projects() if after == "projects" else us.clients())}
        settled(us)
