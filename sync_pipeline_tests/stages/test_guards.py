"""What is held stays held whatever run meets it next: a narrower one, one by id, or one of another entity."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipeline.settings import Settings
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.targeted import sync_ids
from sync_pipeline.store.approvals import Decision, decide, list_approvals
from sync_pipeline_tests.harness import Team, day, morning, team
from sync_pipeline_tests.scenarios.mappings import write_mapping

FEW = {"users": 2, "projects": 3, "clients": 1, "locations": 1, "entries": 0}


def _decide(us: Team, entity: str, decision: Decision) -> None:
    with us.session() as session:
        asked = list_approvals(session.store, session.pair, session.now(), limit=100)
        (request,) = [each for each in asked if each.entity == entity]
        decide(session.store, session.pair, request.id, decision, "Ana", session.now())


@pytest.mark.parametrize("decision", [None, "declined"])
def test_held_deletes_are_sent_by_no_run_that_meets_fewer_of_them(tmp_path: Path, decision: Decision | None) -> None:
    """A sync of one day and a run by id stay below the guard's share; the deletes wait anyway, until allowed."""
    with team(tmp_path, **FEW) as us:
        user = us.users()[0]["id"]
        made = [us.add_entry(user, morning(ago, hour)) for ago in (2, 3, 4, 5) for hour in (8, 10)]
        kept = [us.add_entry(user, morning(ago, 12))["id"] for ago in (2, 3)]
        us.sync()
        for entry in made:
            us.clockify("DELETE", f"/time-entries/{entry['id']}")
        assert us.sync("time_entries")["time_entries"].held_deletes == len(made)
        if decision is not None:
            _decide(us, "time_entries", decision)
        at_target = us.at_snapshots("time_entries")
        counts = us.sync("time_entries", days=Days(day(3), day(3)))["time_entries"]
        assert (counts.deleted, counts.held_deletes) == (0, 2)
        asked = {entry["id"] for entry in made[:3]}
        with us.session() as session:
            answer = sync_ids(session, session.specs["time_entries"], asked, run_id="by id")
        assert (answer.counts.deleted, set(answer.left)) == (0, asked)
        assert us.at_snapshots("time_entries") == at_target
        _decide(us, "time_entries", "allowed")
        assert us.sync("time_entries", days=Days(day(3), day(3)))["time_entries"].deleted == 2
        assert us.sync("time_entries")["time_entries"].deleted == len(made) - 2
        assert sorted(us.at_snapshots("time_entries")) == sorted(kept)


def test_a_delete_that_was_never_held_is_sent_next_to_held_ones(tmp_path: Path) -> None:
    """Another entry of the same day vanishes later: it is no part of what was asked."""
    with team(tmp_path, **FEW) as us:
        user = us.users()[0]["id"]
        made = [us.add_entry(user, morning(ago, hour)) for ago in (2, 3, 4, 5) for hour in (8, 10)]
        later = us.add_entry(user, morning(3, 12))
        us.sync()
        for entry in made:
            us.clockify("DELETE", f"/time-entries/{entry['id']}")
        us.sync("time_entries")
        us.clockify("DELETE", f"/time-entries/{later['id']}")
        counts = us.sync("time_entries", days=Days(day(3), day(3)))["time_entries"]
        assert (counts.deleted, counts.held_deletes, counts.unconfirmed) == (1, 2, 0)
        assert sorted(us.at_snapshots("time_entries")) == sorted(entry["id"] for entry in made)


def test_an_allowed_rewrite_is_used_up_by_runs_that_meet_few_of_its_records(tmp_path: Path) -> None:
    """What is rewritten on the strength of a yes counts, also where the guard would not have asked for so few."""
    with team(tmp_path, **FEW) as us:
        user = us.users()[0]["id"]
        for ago in (2, 3, 4, 5):
            for hour in (8, 10, 12):
                us.add_entry(user, morning(ago, hour))
        us.sync()
        write_mapping(
            us, "time_entries.yaml", "entity: time_entries\nfields:\n  origin: {constant: clockify, type: text}\n"
        )
        assert us.sync("time_entries")["time_entries"].held == 12
        _decide(us, "time_entries", "allowed")
        assert us.sync("time_entries", days=Days(day(5), day(3)))["time_entries"].updated == 9
        with us.session() as session:
            (allowed,) = list_approvals(session.store, session.pair, session.now(), limit=100)
            assert (allowed.decision, allowed.shown, allowed.used) == ("allowed", 12, 9)
            assert us.sync("time_entries")["time_entries"].updated == 3
            assert list_approvals(session.store, session.pair, session.now(), limit=100) == []  # used up


def test_an_allowed_first_contact_of_one_entity_is_none_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held and declined ones stay so after it has started, read in full or by id; each is sent when it is allowed."""
    monkeypatch.setattr(Settings, "is_remote", True)
    with team(tmp_path, **FEW) as us:
        entry = us.add_entry(us.users()[0]["id"], morning(2))
        us.sync()
        _decide(us, "projects", "allowed")
        _decide(us, "time_entries", "declined")
        us.forget_stats()
        counts = us.sync()
        assert {name: each.held for name, each in counts.items()} == {
            "locations": 1,
            "projects": 0,
            "users": 2,
            "time_entries": 1,
        }
        with us.session() as session:
            answer = sync_ids(session, session.specs["time_entries"], [entry["id"]], run_id="by id")
        assert (answer.counts.held, "None of the time_entries" in answer.left[entry["id"]]) == (1, True)
        assert us.writes() == {"projects": 3}
        for entity in ("users", "time_entries"):
            _decide(us, entity, "allowed")
        assert {name: each.held for name, each in us.sync().items() if each.held} == {"locations": 1}
        assert us.at_snapshots("time_entries").keys() == {entry["id"]}


def test_what_entries_refer_to_is_not_written_along_while_its_first_contact_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Declined users stay unwritten: the entry waits for its user, and is sent with it once the user is allowed."""
    monkeypatch.setattr(Settings, "is_remote", True)
    with team(tmp_path, **FEW) as us:
        entry = us.add_entry(us.users()[0]["id"], morning(2))
        us.sync()
        _decide(us, "users", "declined")
        _decide(us, "time_entries", "allowed")
        us.forget_stats()
        counts = us.sync("time_entries")["time_entries"]
        assert (counts.waiting, us.writes()) == (1, {})
        with us.session() as session:
            answer = sync_ids(session, session.specs["time_entries"], [entry["id"]], run_id="by id")
        assert (answer.counts.waiting, us.writes()) == (1, {})
        _decide(us, "users", "allowed")
        us.sync("users", "time_entries")
        assert us.at_snapshots("time_entries").keys() == {entry["id"]}


def test_a_held_rewrite_is_sent_by_no_read_by_id(tmp_path: Path) -> None:
    """An event about such an entry stays open with the reason; one about an entry that is new is answered."""
    with team(tmp_path, **FEW) as us:
        user, mappings = us.users()[0]["id"], us.home / "mappings"
        made = [us.add_entry(user, morning(3, hour), description="old") for hour in range(8, 14)]
        us.sync()
        mappings.mkdir()
        (mappings / "time_entries.yaml").write_text(
            "entity: time_entries\nfields:\n  description: {source: description, transform: upper}\n"
        )
        us.changes["SYNC_MAPPINGS_DIR"] = str(mappings)
        assert us.sync("time_entries")["time_entries"].held == len(made)
        new = us.add_entry(user, morning(3, 15), description="new")
        ids = [entry["id"] for entry in (*made, new)]
        with us.session() as session:
            answer = sync_ids(session, session.specs["time_entries"], ids, run_id="by id")
        assert (answer.counts.held, answer.counts.created) == (len(made), 1)
        assert set(answer.left) == {entry["id"] for entry in made}
        assert all("approvals" in why for why in answer.left.values())
        at_target = {key: row["description"] for key, row in us.at_snapshots("time_entries").items()}
        assert at_target == {entry["id"]: "old" for entry in made} | {new["id"]: "NEW"}
        _decide(us, "time_entries", "allowed")
        with us.session() as session:
            answer = sync_ids(session, session.specs["time_entries"], ids, run_id="by id")
        assert (answer.left, answer.counts.updated) == ({}, len(made))


def test_what_a_load_sets_free_is_held_as_a_whole_and_not_read_by_each_run(tmp_path: Path) -> None:
    """Projects that nothing refers to any more: too many for one run, so none is read until someone allows it."""
    with team(tmp_path, **FEW | {"projects": 10}) as us:
        user, projects = us.users()[0]["id"], us.projects()[:8]
        made = [us.add_entry(user, morning(2, 6 + n), projectId=each["id"]) for n, each in enumerate(projects)]
        us.sync()
        for project in projects:
            us.delete_project(project["id"])
        us.sync("projects")
        for entry in made:
            us.change_entry(entry, projectId=None)
        us.forget_stats()
        us.sync("time_entries")
        assert not [route for route in us.requests() if route.startswith("GET") and "/projects/" in route]
        assert set(us.held("projects")["deletes"]) == {project["id"] for project in projects}
        _decide(us, "projects", "allowed")
        us.change_entry(made[0], projectId=None, description="changed")
        us.sync("time_entries", SYNC_MAX_CONFIRMATIONS="6")
        assert len(us.at_snapshots("projects")) == 4
        us.change_entry(made[0], projectId=None, description="again")
        us.sync("time_entries", SYNC_MAX_CONFIRMATIONS="6")
        assert len(us.at_snapshots("projects")) == 2
