"""Guards that are off unless they are switched on: too many creates, and deletes that each need a yes."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipeline.stages import guards
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.preview import preview
from sync_pipeline.stages.targeted import sync_ids
from sync_pipeline.store.approvals import decide, list_approvals
from sync_pipeline_tests.harness import Team, day, morning, team
from sync_pipeline_tests.properties.killing import Killed, killing

FEW = {"SYNC_MAX_CREATES": "3"}


def allow(us: Team, guard: str) -> None:
    """Someone approves what is held."""
    with us.session() as session:
        asked = list_approvals(session.store, session.pair, session.now(), limit=10)
        (request,) = [one for one in asked if one.guard == guard and one.decision is None]
        decide(session.store, session.pair, request.id, "allowed", "Ana", session.now())


def test_without_the_setting_creates_are_not_held(tmp_path: Path) -> None:
    """A first load and a new team are many creates: an upgrade holds nothing that was not held before."""
    with team(tmp_path, entries=0) as us:
        assert us.sync("projects")["projects"].created == 5


def test_too_many_creates_are_held_until_they_are_approved(tmp_path: Path) -> None:
    """All of them, once; updates and deletes continue, and so do fewer creates than are allowed."""
    with team(tmp_path, entries=0, projects=2) as us:
        us.changes |= FEW
        assert us.sync("projects")["projects"].created == 2
        made = [us.clockify("POST", "/projects", {"name": f"New {n}"})["id"] for n in range(5)]
        us.clockify("PUT", f"/projects/{us.projects()[0]['id']}", {"name": "Renamed"})
        counts = us.sync("projects")["projects"]
        assert (counts.held, counts.created, counts.updated) == (5, 0, 1)
        assert sorted(us.held("projects")["creates"]) == sorted(made)
        with us.session() as session:
            found = preview(session, session.specs["projects"], None)
            assert (found.counts.held, {change.held for change in found.changes}) == (5, {True})
            answer = sync_ids(session, session.specs["projects"], made[:1], run_id="by id")
            assert answer.held == {made[0]}
            assert "approvals allow" in answer.left[made[0]]
        assert not set(made) & us.at_snapshots("projects").keys()
        allow(us, "creates")
        assert us.sync("projects")["projects"].created == 5
        assert us.held("projects") == {}
        us.clockify("POST", "/projects", {"name": "One more"})
        assert us.sync("projects")["projects"].created == 1


@pytest.mark.parametrize("named", [1000, 1])
def test_a_read_of_days_withdraws_what_is_held_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: int
) -> None:
    """One of all days that a request is about, or more; also where the request does not name all its records."""
    monkeypatch.setattr(guards, "EXAMPLES", named)
    with team(tmp_path, entries=0, projects=0) as us:
        user = us.users()[0]["id"]
        us.add_entry(user, morning(9))
        us.sync()
        us.changes |= FEW
        made = [us.add_entry(user, morning(ago, hour)) for ago in (3, 4, 5) for hour in (8, 9)]
        assert us.sync("time_entries")["time_entries"].held == 6
        for entry in made[:4]:
            us.clockify("DELETE", f"/time-entries/{entry['id']}")
        for some in (Days(day(4), day(3)), Days(day(5), day(4))):
            us.sync("time_entries", days=some)
            assert us.held("time_entries").keys() == {"creates"}
        us.sync("time_entries", days=Days(day(5), day(3)))
        assert us.held("time_entries") == {}
        assert us.at_snapshots("time_entries").keys() >= {entry["id"] for entry in made[4:]}


def test_what_refers_to_a_held_record_waits(tmp_path: Path) -> None:
    """It is not created behind the guard's back, for an entry that needs it."""
    with team(tmp_path, entries=0, projects=0) as us:
        us.sync()
        us.changes |= FEW
        made = [us.clockify("POST", "/projects", {"name": f"New {n}"})["id"] for n in range(5)]
        us.add_entry(us.users()[0]["id"], morning(2), projectId=made[0])
        us.sync("projects")
        assert us.sync("time_entries")["time_entries"].waiting == 1
        assert us.at_snapshots("projects") == {}
        allow(us, "creates")
        us.sync()
        assert made[0] in us.at_snapshots("projects")
        assert len(us.at_snapshots("time_entries")) == 1


def test_a_killed_run_needs_no_second_approval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed anywhere after the approval, the rest is created by the next sync."""
    with team(tmp_path, entries=0) as us:
        us.changes |= FEW
        us.sync("projects")
        allow(us, "creates")
        with killing(monkeypatch) as killer:
            for steps in range(1, 40):
                killer.arm(steps)
                try:
                    us.sync("projects")
                except Killed:
                    pass
                finally:
                    killer.arm(None)
                assert us.held("projects") == {}
        assert us.sync("projects")["projects"].held == 0
        assert len(us.at_snapshots("projects")) == 5
        with us.session() as session:
            (request,) = list_approvals(session.store, session.pair, session.now(), limit=10, every=True)
        assert (request.shown, request.used) == (5, 5)


def test_each_delete_waits_where_the_mapping_requires_it(tmp_path: Path) -> None:
    """However few they are; approved, they are deleted, and the next one is asked about again."""
    with team(tmp_path, entries=0) as us:
        mappings = tmp_path / "mappings"
        mappings.mkdir()
        us.sync("projects")
        (mappings / "projects.yaml").write_text("entity: projects\ntarget: {deletes: approve}\n")
        us.changes["SYNC_MAPPINGS_DIR"] = str(mappings)
        first, second = (project["id"] for project in us.projects()[:2])
        us.delete_project(first)
        counts = us.sync("projects")["projects"]
        assert (counts.held_deletes, counts.deleted, counts.updated) == (1, 0, 0)
        assert us.held("projects") == {"deletes": [first]}
        with us.session() as session:
            reason = preview(session, session.specs["projects"], None).held[0].reason
            assert "the mapping says `deletes: approve`" in reason
            answer = sync_ids(session, session.specs["projects"], [first], run_id="by id")
            assert answer.held == {first}
        allow(us, "deletes")
        assert us.sync("projects")["projects"].deleted == 1
        us.delete_project(second)
        assert us.sync("projects")["projects"].held_deletes == 1
        assert second in us.at_snapshots("projects")
