"""Law 7: when a blocking check fails, not one byte of that batch is written anywhere but the rejects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sync_pipeline.stages.batch import Days
from sync_pipeline.store.rejects import NO_ID, count_rejects, list_rejects, show
from sync_pipeline.store.syncs import status
from sync_pipeline_tests.harness import Blocked, Team, day, instant, morning, tables, team
from sync_pipeline_tests.properties.judge import converged
from sync_pipeline_tests.scenarios.mappings import write_mapping

STATE = ("records", "deliveries", "events")
BAD = 15
BECAME = ("created", "adopted", "updated", "unchanged", "rejected", "excluded", "waiting")


def _empty_entries(us: Team) -> str:
    for number in range(BAD):
        us.add_entry(us.users()[0]["id"], morning(number + 1, 22), 0)
    return "time_entries"


def _orphans(us: Team) -> str:
    """Entries whose project is gone."""
    project = us.clockify("POST", "/projects", {"name": "Short-lived"})["id"]
    for number in range(BAD):
        us.add_entry(us.users()[0]["id"], morning(number + 1, 22), projectId=project)
    us.delete_project(project)
    return "time_entries"


def _namesakes(us: Team) -> str:
    for number in range(BAD):
        us.put_location(f"twin-{number}", location_name="One name for all", address=str(number))
    return "locations"


def _nameless(us: Team) -> str:
    """A mapping that wants what the source does not have."""
    write_mapping(us, "locations.yaml", "entity: locations\nfields:\n  address: {source: fax, required: true}\n")
    for number in range(BAD):
        us.put_location(f"no-fax-{number}", location_name=f"Site {number}")
    return "locations"


def _vanished(us: Team) -> str:
    for entry in us.entries()[:20]:
        us.clockify("DELETE", f"/time-entries/{entry['id']}")
    return "time_entries"


def _rewritten(us: Team) -> str:
    for number in range(BAD):
        us.clockify("POST", "/projects", {"name": f"Project {number}"})
    us.sync("projects")
    write_mapping(us, "projects.yaml", "entity: projects\nfields:\n  project_name: {source: name, transform: upper}\n")
    return "projects"


TROUBLE: dict[str, Callable[[Team], str]] = {
    "valid_values": _empty_entries,
    "references": _orphans,
    "unique_ids": _namesakes,
    "required_fields": _nameless,
    "volume": _vanished,
    "volume, a changed mapping": _rewritten,
}


@pytest.mark.parametrize("check", TROUBLE)
def test_a_blocked_batch_writes_nothing_but_its_rejects(tmp_path: Path, check: str) -> None:
    """Neither side hears of it, the store's state is as before, and the rejects and the sync say why."""
    with team(tmp_path) as us:
        us.sync()
        entity = TROUBLE[check](us)
        us.add_entry(us.users()[0]["id"], morning(2), description="a good one among them")
        with us.session() as session:
            before = tables(session, *STATE)
            us.forget_stats()
            with pytest.raises(Blocked) as blocked:
                us.sync_one(session, entity)

            assert check.partition(",")[0] in blocked.value.checks
            assert us.writes() == {}
            assert tables(session, *STATE) == before
            last = status(session.store, session.connection)[entity].last
            assert last.outcome == "blocked"
            assert last.counts["extracted"] == sum(last.counts[name] for name in BECAME)
            rules = {row.rule for row in list_rejects(session.store, session.connection, entity=entity)}
            assert rules == set() if check.startswith("volume") else {check}


@pytest.mark.parametrize("check", [name for name in TROUBLE if name != "volume, a changed mapping"])
def test_a_repair_is_held_back_by_the_same_checks(tmp_path: Path, check: str) -> None:
    """`verify --repair` reports a blocked batch instead of delivering what it let through."""
    with team(tmp_path) as us:
        us.sync()
        entity = TROUBLE[check](us)
        us.add_entry(us.users()[0]["id"], morning(2), description="a good one among them")
        us.put_location("good", location_name="A good one among them")
        us.forget_stats()
        verdict = us.verify(entity, repair=True)[entity]
        assert check in verdict.held_back
        assert ".." not in verdict.held_back
        assert verdict.source + verdict.rejected > 0
        assert us.writes() == {}


def test_fewer_bad_records_are_set_aside_and_the_rest_is_delivered(tmp_path: Path) -> None:
    """A few rejects block nothing, and are judged anew: mended at the source they are delivered."""
    with team(tmp_path) as us:
        us.sync()
        bad = us.add_entry(us.users()[0]["id"], morning(1), 0)
        good = us.add_entry(us.users()[0]["id"], morning(2))
        done = us.sync("time_entries")["time_entries"]
        assert (done.rejected, done.created) == (1, 1)
        assert good["id"] in us.at_snapshots("time_entries")
        us.change_entry(bad, end=us.entries()[0]["timeInterval"]["end"] and "2099-01-01T00:00:00Z")
        done = us.sync("time_entries")["time_entries"]
        assert (done.rejected, done.created) == (0, 1)
        converged(us)


def test_a_reject_goes_though_its_record_was_mended_on_another_day(tmp_path: Path) -> None:
    """A sync of the new day alone delivers it, and nothing is left of the old day's reason."""
    with team(tmp_path) as us:
        bad = us.add_entry(us.users()[0]["id"], morning(9), 0)
        us.sync()
        us.change_entry(bad, start=instant(morning(2)), end=instant(morning(2, 9)))
        done = us.sync("time_entries", days=Days(day(2), day(2)))["time_entries"]
        assert done.created == 1
        with us.session() as session:
            assert count_rejects(session.store, session.connection) == {}


def test_what_refers_to_a_record_that_was_set_aside_says_so(tmp_path: Path) -> None:
    """An entry whose project cannot be delivered waits for it, and stands in the rejects with that reason."""
    with team(tmp_path) as us:
        write_mapping(
            us, "projects.yaml", "entity: projects\nfields:\n  project_name: {source: name, max_length: 60}\n"
        )
        project = us.clockify("POST", "/projects", {"name": "far too long " * 8})["id"]
        entry = us.add_entry(us.users()[0]["id"], morning(1), projectId=project)
        done = us.sync()
        assert (done["projects"].rejected, done["time_entries"].waiting) == (1, 1)
        with us.session() as session:
            (told,) = list_rejects(session.store, session.connection, entity="time_entries")
            assert (told.source_id, told.field, told.rule) == (entry["id"], "project_id", "references")
        verdicts = us.verify(repair=True)
        assert all(verdict.in_sync and not verdict.repaired for verdict in verdicts.values())
        assert verdicts["time_entries"].rejected == 1
        us.clockify("PUT", f"/projects/{project}", {"name": "Short", "archived": False})
        us.sync()
        converged(us)


def test_a_project_that_only_its_entries_brought_in_is_set_aside_with_its_reason(tmp_path: Path) -> None:
    """A sync of time entries alone looks it up, finds it wanting, and says so."""
    with team(tmp_path) as us:
        write_mapping(
            us, "projects.yaml", "entity: projects\nfields:\n  project_name: {source: name, max_length: 60}\n"
        )
        us.sync()
        project = us.clockify("POST", "/projects", {"name": "far too long " * 8})["id"]
        us.add_entry(us.users()[0]["id"], morning(1), projectId=project)
        assert us.sync("time_entries")["time_entries"].waiting == 1
        with us.session() as session:
            (told,) = list_rejects(session.store, session.connection, entity="projects")
            assert (told.source_id, told.field) == (project, "project_name")
        us.sync("time_entries")
        assert us.verify("time_entries")["time_entries"].in_sync


def test_entries_of_a_deleted_project_are_set_aside_and_block_nothing(tmp_path: Path) -> None:
    """However many they are: the source is as it should be. Their last good state stays, and new entries arrive."""
    with team(tmp_path, projects=2) as us:
        user = us.users()[0]["id"]
        us.sync()
        project = us.clockify("POST", "/projects", {"name": "Short-lived"})["id"]
        entries = [us.add_entry(user, morning(n), projectId=project)["id"] for n in range(1, 19)]
        us.sync()
        us.sandbox.world.db.execute("DELETE FROM projects WHERE id = ?", (project,))
        late = us.add_entry(user, morning(4, 15))["id"]
        done = us.sync()["time_entries"]
        assert (done.rejected, done.created, done.deleted) == (18, 1, 0)
        assert {late, *entries} <= us.at_snapshots("time_entries").keys()
        with us.session() as session:
            told = list_rejects(session.store, session.connection, entity="time_entries")
            assert {(row.rule, row.reason) for row in told} == {
                ("deleted_reference", "this one of the projects was deleted")
            }
        assert us.verify("time_entries")["time_entries"].in_sync


def test_records_without_an_id_are_set_aside_one_by_one(tmp_path: Path) -> None:
    """Two that say the same are two rejects, under one name; the next read judges them anew and writes nothing."""
    with team(tmp_path, projects=3, entries=0) as us:
        nameless = [{**project, "id": None, "name": "Nobody"} for project in us.projects()[:2]]
        answer = {"status": 200, "body": [*us.projects(), *nameless], "headers": {"Last-Page": "true"}}
        us.fault("status", "GET /clockify/*/projects", **answer)
        with us.session() as session:
            assert us.sync_one(session, "projects").rejected == 2
            told = show(session.store, session.connection, "projects", NO_ID)
            assert [(row.source_id, row.field) for row in told] == [(NO_ID, "project_id")] * 2
            before = tables(session, "rejects")
            assert us.sync_one(session, "projects").rejected == 2
            assert tables(session, "rejects") == before
