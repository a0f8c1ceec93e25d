"""A list that lags: it answers no event, proves no delete, and misses nothing that was read by id."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from sync_pipeline.defs.changes import answer
from sync_pipeline.errors import SyncError
from sync_pipeline.stages.batch import Counts, Days, Options
from sync_pipeline.stages.inbox import UNANSWERED
from sync_pipeline.stages.references import FETCH_LIMIT
from sync_pipeline.stages.targeted import sync_by_id, sync_ids
from sync_pipeline.store.approvals import list_approvals
from sync_pipeline.store.events import Received, content_id, receive_many
from sync_pipeline_tests.harness import Json, Team, day, instant, morning, team

FEW = {"users": 2, "projects": 3, "clients": 1, "locations": 1, "entries": 0}
UPDATED, DELETED = "TIME_ENTRY_UPDATED", "TIME_ENTRY_DELETED"


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team without entries."""
    with team(tmp_path, **FEW) as us:
        us.changes["CLOCKIFY_READER"] = "report"
        us.sync()
        yield us


def _add(us: Team, count: int, days_ago: int = 3) -> list[Json]:
    user = us.users()[0]["id"]
    made = [
        us.add_entry(user, morning(days_ago, 1 + number % 20), description=f"old {number}") for number in range(count)
    ]
    return sorted(made, key=lambda entry: str(entry["id"]))


def _freeze(us: Team) -> None:
    us.control("POST", "lag", {"freeze": "clockify"})


def _receive(us: Team, kind: str, entity: str, body: Json) -> None:
    with us.session() as session:
        content = content_id(kind, body["id"], body)
        event = Received(content, kind, entity, body["id"], "{}", session.now())
        assert receive_many(session.store, session.pair, "clockify", [event]) == [True]


def _edit(us: Team, entry: Json) -> None:
    _receive(us, UPDATED, "time_entries", us.change_entry(entry, description="new"))


def _delete(us: Team, entry: Json) -> None:
    us.clockify("DELETE", f"/time-entries/{entry['id']}")
    _receive(us, DELETED, "time_entries", {"id": entry["id"]})


def _open(us: Team, entity: str = "time_entries") -> dict[str | None, str | None]:
    """The open events: whose, and why."""
    with us.session() as session:
        found = session.ledger(entity).events.open_events(100)
        return {event.source_id: event.reason for event in found}


def _sync(us: Team, days_ago: int = 3, **more: Any) -> Counts:
    return us.sync("time_entries", days=Days(day(days_ago), day(days_ago)), **more)["time_entries"]


def _by_id(us: Team, *entries: Json) -> Counts:
    with us.session() as session:
        spec = session.specs["time_entries"]
        return sync_ids(session, spec, [entry["id"] for entry in entries], run_id="by id").counts


def _texts(us: Team) -> list[str]:
    return sorted(row["description"] for row in us.at_snapshots("time_entries").values())


def _names(us: Team, entity: str) -> set[str]:
    return {str(row.get("project_name", row.get("name"))) for row in us.at_snapshots(entity).values()}


# -- events ------------------------------------------------------------------------------------------------------


def test_events_that_a_lagging_list_does_not_show_are_read_by_id_in_the_same_run(us: Team) -> None:
    """Of many edits and deletes the list shows nothing: all of them arrive, and their events are closed."""
    entries = _add(us, 12)
    _sync(us)
    _freeze(us)
    for number, entry in enumerate(entries):
        _delete(us, entry) if number < 4 else _edit(us, entry)
    done = _sync(us)
    assert (done.updated, done.deleted, done.unconfirmed) == (8, 4, 0)
    assert (_texts(us), _open(us)) == (["new"] * 8, {})


def test_of_two_events_about_a_record_a_list_that_shows_the_first_change_does_not_answer_the_second(us: Team) -> None:
    """The list lags by less than the time between the two edits: the record is read by id."""
    [entry] = _add(us, 1)
    _sync(us)
    _receive(us, UPDATED, "time_entries", us.change_entry(entry, description="newer"))
    _freeze(us)
    _edit(us, entry)
    _sync(us)
    assert (_texts(us), _open(us)) == (["new"], {})


def test_beyond_what_a_run_may_read_they_stay_open_with_the_reason(us: Team) -> None:
    """One of three is read by id; when the list does not lag any more, the others are answered."""
    entries = _add(us, 3)
    _sync(us)
    _freeze(us)
    for entry in entries:
        _edit(us, entry)
    _sync(us, SYNC_MAX_CONFIRMATIONS="1")
    assert len([found for found in _texts(us) if found == "new"]) == 1
    assert list(_open(us).values()) == [UNANSWERED] * 2
    us.control("DELETE", "lag")
    _sync(us, SYNC_MAX_CONFIRMATIONS="1")
    assert (_texts(us), _open(us)) == (["new"] * 3, {})


@pytest.mark.parametrize("entity", ["projects", "users"])
def test_of_an_entity_without_days_too(us: Team, entity: str) -> None:
    """A project is read by id; a user cannot be, so that its event stays open until a list can show it."""
    record = us.projects()[0] if entity == "projects" else us.users()[1]
    _freeze(us)
    if entity == "projects":
        us.clockify("PUT", f"/projects/{record['id']}", {"name": "Renamed"})
    else:
        us.control("POST", "users", {"id": record["id"], "name": "Renamed"})
    _receive(us, "PROJECT_UPDATED" if entity == "projects" else "USER_UPDATED", entity, {"id": record["id"]})
    us.sync(entity)
    assert _open(us, entity) == ({} if entity == "projects" else {record["id"]: UNANSWERED})
    assert ("Renamed" in _names(us, entity)) is (entity == "projects")
    us.control("DELETE", "lag")
    us.sync(entity)
    assert (_open(us, entity), "Renamed" in _names(us, entity)) == ({}, True)


def test_a_run_for_a_few_records_does_not_answer_by_a_lagging_list_either(us: Team) -> None:
    """Users cannot be read by id: the event stays open until the list shows the change."""
    record = us.users()[1]
    _freeze(us)
    us.control("POST", "users", {"id": record["id"], "name": "Renamed"})
    _receive(us, "USER_UPDATED", "users", {"id": record["id"]})
    for is_lagging in (True, False):
        if not is_lagging:
            us.control("DELETE", "lag")
        with us.session() as session:
            answer(session, session.specs["users"], [record["id"]], "run")
        assert _open(us, "users") == ({record["id"]: UNANSWERED} if is_lagging else {})
        assert ("Renamed" in _names(us, "users")) is not is_lagging


def test_an_older_event_is_answered_by_a_list(us: Team) -> None:
    """A list shows what was ten minutes ago: no read by id is spent on what came in before that."""
    (entry,) = _add(us, 1)
    _sync(us)
    _receive(us, UPDATED, "time_entries", entry)
    with us.session() as session, session.store.writing() as tx:
        tx.execute(text("UPDATE events SET stored_at = :at"), {"at": session.now() - timedelta(minutes=11)})
    us.forget_stats()
    _sync(us)
    assert _open(us) == {}
    assert not [route for route in us.requests() if "time-entries/{id}" in route]


def test_an_event_on_a_day_that_a_newer_read_loaded_is_not_closed_by_an_older_one(us: Team) -> None:
    """The older batch leaves the day out, and cannot know that the newer one showed the change."""
    (entry,) = _add(us, 1)
    _sync(us)
    _freeze(us)
    with us.session() as session:
        newer = us.validated(session, "time_entries")
        _edit(us, entry)
        older = us.validated(session, "time_entries")
        newer.notes["read_no"], older.notes["read_no"] = older.notes["read_no"], newer.notes["read_no"]
        us.load(session, "time_entries", newer)
        us.load(session, "time_entries", older)
    assert (_texts(us), _open(us)) == (["new"], {})


# -- absence -----------------------------------------------------------------------------------------------------


def test_what_came_by_id_while_a_list_lags_is_not_missing(us: Team) -> None:
    """Many entries came in by their events: the list that lacks them asks no one to delete them."""
    _freeze(us)
    made = _add(us, 12)
    assert _by_id(us, *made).created == 12
    done = _sync(us)
    assert (done.held_deletes, done.unconfirmed, done.deleted) == (0, 0, 0)
    with us.session() as session:
        assert list_approvals(session.store, session.pair, session.now(), limit=10) == []
    assert len(_texts(us)) == 12


def test_beyond_what_a_run_may_read_it_is_kept_as_it_was_read_by_id(us: Team) -> None:
    """Not missing, not unconfirmed: lagging."""
    _freeze(us)
    _by_id(us, *_add(us, 4))
    done = _sync(us, SYNC_MAX_CONFIRMATIONS="1")
    assert (done.lagging, done.unconfirmed, done.deleted, done.unchanged) == (3, 0, 0, 1)
    assert len(_texts(us)) == 4


def test_what_is_missing_by_id_as_well_counts_as_missing(us: Team) -> None:
    """Read by id minutes ago and deleted since: more than a run may delete are held, a few are deleted."""
    entries = _add(us, 8)
    _by_id(us, *entries)
    for entry in entries[:7]:
        us.clockify("DELETE", f"/time-entries/{entry['id']}")
    done = _sync(us)
    assert (done.held_deletes, done.deleted, len(_texts(us))) == (7, 0, 8)
    done = _sync(us, options=Options(allow_deletes=True))
    assert (done.held_deletes, done.deleted, len(_texts(us))) == (0, 7, 1)


def test_what_a_newer_read_has_stored_is_not_missing_from_an_older_batch(us: Team) -> None:
    """Created while the days were read and synced by their events: they are not in the batch, nor missing from it."""
    with us.session() as session:
        batch = us.validated(session, "time_entries")
        made = _add(us, 12)
        _by_id(us, *made)
        with session.store.writing() as tx:  # ten minutes later
            tx.execute(text("UPDATE records SET by_id_at = NULL"))
        done = us.load(session, "time_entries", batch).counts
    assert (done.held_deletes, done.unconfirmed, done.deleted) == (0, 0, 0)
    with us.session() as session, session.store.reading() as tx:
        assert not tx.scalar(text("SELECT count(*) FROM records WHERE unconfirmed_at IS NOT NULL"))
    assert len(_texts(us)) == 12


# -- allowed deletes ---------------------------------------------------------------------------------------------


def test_allowed_deletes_are_proven_one_by_one_by_as_many_runs_as_it_takes(us: Team) -> None:
    """One was deleted, eleven were moved: the list of their day proves nothing, and the approval lasts."""
    deleted, *moved = _add(us, 12, days_ago=4)
    _add(us, 2, days_ago=4)
    us.sync("time_entries")
    us.clockify("DELETE", f"/time-entries/{deleted['id']}")
    for entry in moved:
        us.change_entry(entry, start=instant(morning(3, 5)), end=instant(morning(3, 6)))
    limit = {"SYNC_MAX_CONFIRMATIONS": "3"}
    done = _sync(us, 4, options=Options(allow_deletes=True), **limit)
    assert (done.deleted, done.unconfirmed, done.held_deletes) == (1, 9, 0)
    for left in (6, 3, 0):
        done = _sync(us, 4, **limit)
        assert (done.deleted, done.unconfirmed, done.held_deletes) == (0, left, 0)
    assert len(_texts(us)) == 13


def _refer(us: Team, projects: list[str]) -> list[Json]:
    """An entry for each of these projects."""
    user = us.users()[0]["id"]
    return [us.add_entry(user, morning(3, 1 + nr), projectId=key) for nr, key in enumerate(projects)]


def _make_projects(us: Team, count: int) -> list[str]:
    return [us.clockify("POST", "/projects", {"name": f"Project {number}"})["id"] for number in range(count)]


@pytest.mark.parametrize("others", [FETCH_LIMIT - 1, FETCH_LIMIT])
def test_a_project_that_was_read_by_id_as_deleted_is_not_brought_back_by_what_refers_to_it(
    us: Team, others: int
) -> None:
    """However many unknown projects entries name, by id or in a list that still has it: only the others are created."""
    deleted = us.clockify("POST", "/projects", {"name": "Gone"})["id"]
    us.sync("projects")
    unknown = _make_projects(us, others)
    entries = _refer(us, [deleted, *unknown])
    _freeze(us)
    us.delete_project(deleted)
    with us.session() as session:
        sync_ids(session, session.specs["projects"], [deleted], run_id="by id")
    assert deleted not in us.at_snapshots("projects")
    assert _sync(us).created == len(entries)
    assert us.at_snapshots("projects").keys() & {deleted, *unknown} == {*unknown}
    with us.session() as session:
        assert session.ledger("projects").lookup([deleted])[deleted].deleted_at is not None


@pytest.mark.parametrize("others", [FETCH_LIMIT - 1, FETCH_LIMIT])
def test_what_others_refer_to_is_delivered_as_it_was_read_by_id(us: Team, others: int) -> None:
    """A renamed project that waits to be delivered again, and a list that has its old name."""
    projects = _make_projects(us, 1 + others)
    _freeze(us)
    us.clockify("PUT", f"/projects/{projects[0]}", {"name": "Renamed"})
    us.fault("status", "POST /snapshots/projects/batch", status=503)
    with us.session(SYNC_MAX_ATTEMPTS="1") as session, pytest.raises(SyncError):
        sync_ids(session, session.specs["projects"], projects[:1], run_id="by id")
    us.no_faults()
    with us.session() as session:
        assert sync_by_id(session, session.specs["projects"], projects) == {*projects}
    assert us.at_snapshots("projects")[projects[0]]["project_name"] == "Renamed"


def test_what_others_refer_to_is_not_replaced_by_a_list_that_lags_behind_it(us: Team) -> None:
    """It was read by id when an entry was the first to name it: an older name in a list is not believed for a while."""
    projects = _make_projects(us, 1)
    _freeze(us)
    us.clockify("PUT", f"/projects/{projects[0]}", {"name": "Renamed"})
    with us.session() as session:
        sync_by_id(session, session.specs["projects"], projects)
    us.sync("projects")
    assert us.at_snapshots("projects")[projects[0]]["project_name"] == "Renamed"


def test_what_remains_is_named(us: Team) -> None:
    """The run reports which records are missing and not proven deleted."""
    entries = _add(us, 3)
    us.sync("time_entries")
    for entry in entries[:2]:
        us.clockify("DELETE", f"/time-entries/{entry['id']}")
    notes: list[str] = []
    with us.session(report=lambda progress: notes.append(progress.note), SYNC_MAX_CONFIRMATIONS="1") as session:
        us.sync_one(session, "time_entries", Days(day(3), day(3)))
    (named,) = [note for note in notes if "not proven deleted" in note]
    assert entries[1]["id"] in named
