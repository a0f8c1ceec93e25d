"""Law 7: when a blocking check fails, not one byte of that batch is written anywhere but the rejects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.targeted import sync_ids
from sync_pipeline.store.rejects import NO_ID, count_rejects, list_rejects
from sync_pipeline.store.syncs import status
from sync_pipeline_tests.harness import Blocked, Json, Team, day, instant, morning, rows, tables, team
from sync_pipeline_tests.properties.invariants import converged
from sync_pipeline_tests.scenarios.mappings import write_mapping

pytestmark = pytest.mark.clock

STATE = ("records", "deliveries", "events")
BAD = 15
BECAME = ("created", "adopted", "updated", "unchanged", "rejected", "excluded", "waiting", "held", "lagging")


def _empty_entries(us: Team) -> str:
    for number in range(BAD):
        us.add_entry(us.users()[0]["id"], morning(number + 1, 22), 0)
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
    "unique_ids": _namesakes,
    "required_fields": _nameless,
}
HELD: dict[str, Callable[[Team], str]] = {"deletes": _vanished, "rewrite": _rewritten}


@pytest.mark.parametrize("check", TROUBLE)
def test_a_blocked_batch_writes_nothing_but_its_rejects(tmp_path: Path, check: str) -> None:
    """Neither API is called, the store's state is unchanged, and the rejects and the sync state why."""
    with team(tmp_path) as us:
        us.sync()
        entity = TROUBLE[check](us)
        us.add_entry(us.users()[0]["id"], morning(2), description="a good one among them")
        with us.session() as session:
            before = tables(session, *STATE)
            us.forget_stats()
            with pytest.raises(Blocked) as blocked:
                us.sync_one(session, entity)

            assert check in blocked.value.checks
            assert us.writes() == {}
            assert tables(session, *STATE) == before
            last = status(session.store, session.pair)[entity].last
            assert last.outcome == "blocked"
            assert last.counts["extracted"] == sum(last.counts[name] for name in BECAME)
            rules = {row.rule for row in list_rejects(session.store, session.pair, entity=entity)}
            assert rules == {check}


@pytest.mark.parametrize("guard", HELD)
def test_what_a_guard_holds_is_not_written_and_the_rest_is(tmp_path: Path, guard: str) -> None:
    """Neither target nor store learns of a held record, each is named, and a good one among them arrives."""
    with team(tmp_path) as us:
        us.sync()
        entity = HELD[guard](us)
        good = us.add_entry(us.users()[0]["id"], morning(2)) if guard == "deletes" else _new_project(us)
        at_target = us.at_snapshots(entity)
        with us.session() as session:
            before = {row[2]: row for row in rows(session, "records") if row[1] == entity}
            us.forget_stats()
            done = us.sync_one(session, entity)

            assert us.writes() == {entity: 1}
            now = us.at_snapshots(entity)
            assert now == {**at_target, good["id"]: now[good["id"]]}
            after = {row[2]: row for row in rows(session, "records") if row[1] == entity}
            if guard == "rewrite":
                assert {key: row for key, row in after.items() if key != good["id"]} == before
            last = status(session.store, session.pair)[entity].last
            assert last.counts["extracted"] == sum(last.counts[name] for name in BECAME)
            assert last.outcome == ("held" if guard == "rewrite" else "success")
            assert "approvals allow" in (last.reason or "")
            assert not list_rejects(session.store, session.pair, entity=entity)
        held = at_target.keys() - {row["id"] for row in (us.projects() if guard == "rewrite" else us.entries())}
        wanted = at_target.keys() if guard == "rewrite" else held
        assert us.held(entity) == {guard: sorted(wanted)}
        assert (done.held, done.held_deletes) == ((len(wanted), 0) if guard == "rewrite" else (0, len(wanted)))
        us.forget_stats()
        us.sync(entity)
        assert (us.writes(), us.held(entity)) == ({}, {guard: sorted(wanted)})


def _new_project(us: Team) -> Json:
    made: Json = us.clockify("POST", "/projects", {"name": "A good one among them"})
    return made


@pytest.mark.parametrize("check", TROUBLE)
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


def test_fewer_bad_records_are_rejected_and_the_rest_is_delivered(tmp_path: Path) -> None:
    """A few rejects block nothing, and are checked again: corrected at the source they are delivered."""
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


def test_a_reject_is_removed_though_its_record_was_corrected_on_another_day(tmp_path: Path) -> None:
    """A sync of the new day alone delivers it, and nothing is left of the old day's reason."""
    with team(tmp_path) as us:
        bad = us.add_entry(us.users()[0]["id"], morning(9), 0)
        us.sync()
        us.change_entry(bad, start=instant(morning(2)), end=instant(morning(2, 9)))
        done = us.sync("time_entries", days=Days(day(2), day(2)))["time_entries"]
        assert done.created == 1
        with us.session() as session:
            assert count_rejects(session.store, session.pair) == {}


def test_what_refers_to_a_rejected_record_reports_it(tmp_path: Path) -> None:
    """An entry whose project cannot be delivered waits for it, and is in the rejects with that reason."""
    with team(tmp_path) as us:
        write_mapping(
            us, "projects.yaml", "entity: projects\nfields:\n  project_name: {source: name, max_length: 60}\n"
        )
        project = us.clockify("POST", "/projects", {"name": "far too long " * 8})["id"]
        entry = us.add_entry(us.users()[0]["id"], morning(1), projectId=project)
        done = us.sync()
        assert (done["projects"].rejected, done["time_entries"].waiting) == (1, 1)
        with us.session() as session:
            (reject,) = list_rejects(session.store, session.pair, entity="time_entries")
            assert (reject.source_id, reject.field, reject.rule) == (entry["id"], "project_id", "references")
        verdicts = us.verify(repair=True)
        assert [name for name, verdict in verdicts.items() if not verdict.in_sync] == ["time_entries"]
        waits = verdicts["time_entries"]
        assert (waits.waiting, waits.rejected, waits.missing, waits.repaired) == (1, 0, 0, 0)
        assert [(d.kind, d.record, d.source) for d in waits.differences] == [("waiting", entry["id"], project)]
        us.clockify("PUT", f"/projects/{project}", {"name": "Short", "archived": False})
        us.sync()
        converged(us)


def test_a_project_that_only_its_entries_brought_in_is_rejected_with_its_reason(tmp_path: Path) -> None:
    """A sync of time entries alone looks it up, finds it invalid, and reports it."""
    with team(tmp_path) as us:
        write_mapping(
            us, "projects.yaml", "entity: projects\nfields:\n  project_name: {source: name, max_length: 60}\n"
        )
        us.sync()
        project = us.clockify("POST", "/projects", {"name": "far too long " * 8})["id"]
        us.add_entry(us.users()[0]["id"], morning(1), projectId=project)
        assert us.sync("time_entries")["time_entries"].waiting == 1
        with us.session() as session:
            (reject,) = list_rejects(session.store, session.pair, entity="projects")
            assert (reject.source_id, reject.field) == (project, "project_name")
        us.sync("time_entries")
        assert us.verify("time_entries")["time_entries"].waiting == 1


def test_entries_of_a_deleted_project_arrive_and_block_nothing(tmp_path: Path) -> None:
    """However many they are: the source is as it should be. A project never known is no reason to hold them either."""
    with team(tmp_path, projects=2) as us:
        user = us.users()[0]["id"]
        us.sync()
        project = us.clockify("POST", "/projects", {"name": "Short-lived"})["id"]
        entries = [us.add_entry(user, morning(n), projectId=project)["id"] for n in range(1, 19)]
        us.sync()
        us.sandbox.world.db.execute("DELETE FROM projects WHERE id = ?", (project,))
        unknown = us.clockify("POST", "/projects", {"name": "Shorter-lived"})["id"]
        late = [us.add_entry(user, morning(n, 15), projectId=unknown)["id"] for n in range(1, 19)]
        us.delete_project(unknown)
        done = us.sync()
        assert (done["time_entries"].rejected, done["time_entries"].created, done["projects"].deleted) == (0, 18, 0)
        assert {*late, *entries} <= us.at_snapshots("time_entries").keys()
        assert project in us.at_snapshots("projects")
        with us.session() as session:
            assert list_rejects(session.store, session.pair) == []
        assert all(verdict.in_sync for verdict in us.verify().values())


def test_records_without_an_id_are_rejected_one_by_one(tmp_path: Path) -> None:
    """Two with the same content are two rejects, under one name; the next read checks them again and writes nothing."""
    with team(tmp_path, projects=3, entries=0) as us:
        nameless = [{**project, "id": None, "name": "Nobody"} for project in us.projects()[:2]]
        answer = {"status": 200, "body": [*us.projects(), *nameless], "headers": {"Last-Page": "true"}}
        us.fault("status", "GET /clockify/*/projects", **answer)
        with us.session() as session:
            assert us.sync_one(session, "projects").rejected == 2
            rejects = session.ledger("projects").rejects.show(NO_ID)
            assert [(row.source_id, row.field) for row in rejects] == [(NO_ID, "project_id")] * 2
            before = tables(session, "rejects")
            assert us.sync_one(session, "projects").rejected == 2
            assert tables(session, "rejects") == before


BY_DESCRIPTION = """\
entity: time_entries
fields:
  time_entry_id: {source: description, type: text, unique: false, max_length: 100}
"""


def test_two_records_that_the_target_cannot_distinguish_are_rejected(tmp_path: Path) -> None:
    """A mapping gives one id to two entries: both are named in the reason, the third arrives, nothing else fails."""
    with team(tmp_path, entries=0) as us:
        write_mapping(us, "time_entries.yaml", BY_DESCRIPTION)
        user = us.users()[0]["id"]
        twins = [us.add_entry(user, morning(number), description="twin")["id"] for number in (1, 2)]
        us.add_entry(user, morning(3), description="single")
        done = us.sync()["time_entries"]
        assert (done.created, done.rejected) == (1, 2)
        assert us.at_snapshots("time_entries").keys() == {"single"}
        with us.session() as session:
            rejects = list_rejects(session.store, session.pair)
        assert {reject.source_id for reject in rejects} == set(twins)
        assert all(reject.rule == "unique_ids" and all(twin in reject.reason for twin in twins) for reject in rejects)


def test_what_is_at_the_target_is_not_taken_by_another_record(tmp_path: Path) -> None:
    """On another day, or read by id: the one that was delivered keeps the id, and goes on syncing."""
    with team(tmp_path, entries=0) as us:
        write_mapping(us, "time_entries.yaml", BY_DESCRIPTION)
        user = us.users()[0]["id"]
        first = us.add_entry(user, morning(1), description="taken")
        us.sync()
        second = us.add_entry(user, morning(5), description="taken")
        with us.session() as session:
            assert (
                sync_ids(session, session.specs["time_entries"], [second["id"]], run_id="targeted").counts.rejected == 1
            )
        only = Days(day(5), day(5))
        assert us.sync("time_entries", days=only)["time_entries"].rejected == 1
        us.change_entry(first, start=instant(morning(1, hour=7)))
        done = us.sync("time_entries")["time_entries"]
        assert (done.updated, done.rejected) == (1, 1)
        us.change_entry(second, description="another")
        done = us.sync("time_entries")["time_entries"]
        assert (done.created, done.rejected) == (1, 0)
        assert us.at_snapshots("time_entries").keys() == {"taken", "another"}
