"""The target carried the write out, but its answer never came - and then the record changes at the source."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipeline.errors import ApiError
from sync_pipeline.stages.batch import Options
from sync_pipeline_tests.harness import Team, morning, team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged


def lose_answers(us: Team, entity: str, route: str) -> None:
    """A sync whose writes are all carried out and never answered."""
    us.fault("cut_after", route)
    with pytest.raises(ApiError):
        us.sync(entity)
    us.no_faults()


def test_an_edit_that_is_undone_and_an_entry_that_is_deleted(tmp_path: Path) -> None:
    """The next sync writes the old state again, and deletes what no one knows to be there."""
    with team(tmp_path) as us:
        user = us.users()[0]["id"]
        entry = us.add_entry(user, morning(2), description="right")
        us.sync()
        us.change_entry(entry, description="wrong")
        mistake = us.add_entry(user, morning(2, 15))["id"]
        lose_answers(us, "time_entries", "POST /snapshots/time_entries/batch")
        there = us.at_snapshots("time_entries")
        assert (there[entry["id"]]["description"], mistake in there) == ("wrong", True)
        us.change_entry(entry, description="right")
        us.clockify("DELETE", f"/time-entries/{mistake}")
        assert not us.verify("time_entries")["time_entries"].foreign
        done = us.sync("time_entries")["time_entries"]
        assert (done.updated, done.deleted) == (1, 1)
        there = us.at_snapshots("time_entries")
        assert (there[entry["id"]]["description"], mistake in there) == ("right", False)
        converged(us)
        changes_nothing(us)


def test_a_delete_of_what_comes_back(tmp_path: Path) -> None:
    """It was deleted at the target without our knowing, so it is written again."""
    with team(tmp_path) as us:
        entry = us.add_entry(us.users()[0]["id"], morning(2))
        us.sync()
        us.clockify("DELETE", f"/time-entries/{entry['id']}")
        lose_answers(us, "time_entries", "DELETE /snapshots/*")
        us.control("POST", "time_entries/restore", {"ids": [entry["id"]]})
        us.sync("time_entries")
        assert entry["id"] in us.at_snapshots("time_entries")
        converged(us)
        changes_nothing(us)


@pytest.mark.parametrize("is_deleted", [False, True], ids=["renamed and back", "archived and back"])
def test_a_client_of_a_location_that_is_unchanged(tmp_path: Path, is_deleted: bool) -> None:
    """Renamed or archived without our knowing, it gets its name back and is restored."""
    with team(tmp_path, locations=2, clients=0, entries=0) as us:
        us.put_location("one", location_name="Oak")
        us.sync()
        if is_deleted:
            us.snapshots("DELETE", "/locations/one")
        else:
            us.put_location("one", location_name="Ash")
        lose_answers(us, "locations", "PUT */clients/*")
        us.put_location("one", location_name="Oak")
        us.sync("locations")
        assert us.client("Oak")["archived"] is False
        converged(us)
        changes_nothing(us)


def test_a_new_record_that_is_refused_next_time_is_still_deleted(tmp_path: Path) -> None:
    """It may be there, in the form whose answer was lost."""
    with team(tmp_path, entries=0) as us:
        us.sync()
        project = us.clockify("POST", "/projects", {"name": "Mistake"})["id"]
        lose_answers(us, "projects", "POST /snapshots/projects/batch")
        us.clockify("PUT", f"/projects/{project}", {"name": "Refused", "archived": False})
        refusal = {"results": [{"id": project, "status": "refused", "error": {"code": "no", "detail": "no"}}]}
        us.fault("status", "POST /snapshots/projects/batch", status=200, body=refusal, count=1)
        assert us.sync("projects")["projects"].rejected == 1
        us.no_faults()
        us.delete_project(project)
        assert us.sync("projects", options=Options())["projects"].deleted == 1
        converged(us)
        changes_nothing(us)
