"""What waits for another record is checked again as soon as that is there, although it did not change itself."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from sync_pipeline.connectors.profile_files import BUILT_IN
from sync_pipeline.session.session import Session
from sync_pipeline.store.rejects import Reject, list_rejects
from sync_pipeline.store.scope import draw
from sync_pipeline_tests.defs.live import Live
from sync_pipeline_tests.harness import Team, morning, team
from sync_pipeline_tests.properties.invariants import converged
from sync_pipeline_tests.scenarios.mappings import write_mapping

OLD_RULES = {
    "deleted_reference": "this one of the projects was deleted",
    "references": "the source does not know this one of the projects",
}


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team whose project names may not be long."""
    with team(tmp_path / "team") as opened:
        write_mapping(
            opened, "projects.yaml", "entity: projects\nfields:\n  project_name: {source: name, max_length: 60}\n"
        )
        opened.sync()
        yield opened


def rejected(us: Team) -> set[tuple[str, str]]:
    """Entity and id of every reject."""
    with us.session() as session:
        return {(row.entity, row.source_id) for row in list_rejects(session.store, session.pair)}


def rejected_before(session: Session, entry: str, project: str, rule: str) -> None:
    """A reject as the version before wrote it."""
    found = [Reject(entry, "project_id", rule, OLD_RULES[rule], project, morning(1).date().isoformat())]
    number, now = draw(session.store), session.now()
    session.ledger("time_entries").rejects.replace(None, found, None, now, source_ids=[entry], read_no=number)


def test_an_entry_arrives_as_soon_as_its_project_can_be_delivered(us: Team, on: Live) -> None:
    """The project is renamed; no one touches the entry."""
    project = us.clockify("POST", "/projects", {"name": "far too long " * 8})["id"]
    entry = us.add_entry(us.users()[0]["id"], morning(12), projectId=project)["id"]
    us.sync()
    assert on.drain("projects", "time_entries") == []
    assert rejected(us) == {("projects", project), ("time_entries", entry)}
    renamed = us.clockify("PUT", f"/projects/{project}", {"name": "Short", "archived": False})
    on.event("PROJECT_UPDATED", "projects", renamed)
    ticks = on.drain("projects", "time_entries")
    assert [tick.jobs for tick in ticks] == [["changes_projects"], ["changes_time_entries"]]
    assert entry in us.at_snapshots("time_entries")
    assert rejected(us) == set()
    converged(us)


def test_an_entry_whose_project_turns_out_to_be_undeliverable_is_rejected_immediately(us: Team, on: Live) -> None:
    """Nothing was known of the project before: the entry's own run finds out, and it is checked again like the others."""
    project = us.clockify("POST", "/projects", {"name": "far too long " * 8})["id"]
    entry = us.add_entry(us.users()[0]["id"], morning(12), projectId=project)
    on.event("NEW_TIME_ENTRY", "time_entries", entry)
    on.drain("time_entries")
    assert rejected(us) == {("projects", project), ("time_entries", entry["id"])}
    renamed = us.clockify("PUT", f"/projects/{project}", {"name": "Short", "archived": False})
    on.event("PROJECT_UPDATED", "projects", renamed)
    on.drain("projects", "time_entries")
    assert entry["id"] in us.at_snapshots("time_entries")
    assert rejected(us) == set()


@pytest.mark.parametrize("rule", OLD_RULES)
def test_what_an_earlier_version_rejected_is_checked_again(us: Team, on: Live, rule: str) -> None:
    """Of a project that is deleted, or that no one ever knew: the entry arrives with the bare id, and that is that."""
    project = us.clockify("POST", "/projects", {"name": "Short-lived"})["id"]
    entry = us.add_entry(us.users()[0]["id"], morning(12), projectId=project)["id"]
    us.delete_project(project)
    with us.session() as session:
        rejected_before(session, entry, project, rule)
    (tick,) = on.drain("time_entries")
    assert tick.jobs == ["changes_time_entries"]
    assert us.at_snapshots("time_entries")[entry]["project_id"] == project
    assert rejected(us) == set()


def test_one_that_cannot_be_read_now_is_asked_for_once(us: Team, on: Live) -> None:
    """Its event stays open, is tried again after a pause like any other, and no tick adds one."""
    project = us.clockify("POST", "/projects", {"name": "Short-lived"})["id"]
    entry = us.add_entry(us.users()[0]["id"], morning(12), projectId=project)["id"]
    us.delete_project(project)
    with us.session() as session:
        rejected_before(session, entry, project, "deleted_reference")
    us.fault("status", f"GET */time-entries/{entry}", status=503)
    assert not on.tick("time_entries").runs[0].success
    for _ in range(3):
        assert on.tick("time_entries").requests == []
    assert on.inbox("time_entries").open == 1
    us.no_faults()
    on.retry_policy(0)
    on.drain("time_entries")
    assert entry in us.at_snapshots("time_entries")


def test_one_that_waits_in_vain_is_not_asked_for(us: Team, on: Live, tmp_path: Path) -> None:
    """The target takes no unknown id: the entry waits until the project is there, and no tick asks for it before."""
    strict = tmp_path / "strict.yaml"
    shipped = (resources.files(BUILT_IN) / "generic.yaml").read_text()
    strict.write_text(shipped.replace("checks_references: false", "checks_references: true"))
    us.changes["SNAPSHOTS_PROFILE"] = str(strict)
    on.renew()
    project = us.clockify("POST", "/projects", {"name": "Short-lived"})
    entry = us.add_entry(us.users()[0]["id"], morning(12), projectId=project["id"])["id"]
    us.delete_project(project["id"])
    us.sync()
    assert rejected(us) == {("time_entries", entry)}
    assert on.drain("time_entries") == []
    assert on.inbox("time_entries").open == 0


def test_a_user_is_deleted_with_their_last_entry(us: Team, on: Live) -> None:
    """An entry is deleted, as its event reports: the project that was kept for it is deleted in the same run."""
    project = us.clockify("POST", "/projects", {"name": "Short-lived"})["id"]
    entry = us.add_entry(us.users()[0]["id"], morning(12), projectId=project)
    us.sync()
    us.delete_project(project)
    us.sync("projects")
    assert project in us.at_snapshots("projects")
    us.sandbox.world.db.execute("DELETE FROM time_entries WHERE id = ?", (entry["id"],))
    on.event("TIME_ENTRY_DELETED", "time_entries", entry)
    on.drain("time_entries")
    assert project not in us.at_snapshots("projects")
    converged(us)
