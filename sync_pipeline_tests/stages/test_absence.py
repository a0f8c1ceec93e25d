"""Worked time of people who were removed: only the report still has it, and no other read proves that it was deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipeline.stages.batch import Days, Options
from sync_pipeline.stages.targeted import sync_ids
from sync_pipeline_tests.harness import Team, day, instant, morning, team
from sync_pipeline_tests.properties.invariants import changes_nothing

FEW = {"users": 3, "projects": 1, "clients": 1, "locations": 1, "entries": 0}
READERS = ("report", "users", "auto")
REPORT = "* */reports/detailed"


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """Two people with three entries each, synced; one of them was removed since."""
    with team(tmp_path, **FEW) as us:
        for person in us.users()[:2]:
            for hour in (6, 8, 10):
                us.add_entry(person["id"], morning(3, hour), description=person["name"])
        us.sync()
        us.control("POST", "users", {"id": us.users()[1]["id"], "remove": True})
        yield us


def _theirs(us: Team) -> list[str]:
    """The ids of the entries of the one who was removed, at the target."""
    there = {user["id"] for user in us.users()}
    return sorted(key for key, row in us.at_snapshots("time_entries").items() if row["user_id"] not in there)


def _many(us: Team) -> list[str]:
    """Twelve more of their entries, which are all there is on their day."""
    user = us.users()[1]["id"]
    return sorted(us.add_entry(user, morning(5, hour))["id"] for hour in range(1, 13))


def _delete(us: Team, entry: str) -> None:
    """Delete an entry that its owner cannot be asked for any more."""
    us.sandbox.world.db.execute("DELETE FROM time_entries WHERE id = ?", (entry,))


@pytest.mark.parametrize("reader", READERS)
def test_no_reader_deletes_their_entries(us: Team, reader: str) -> None:
    """The list of a former user is empty, and each of their entries reads as deleted: they stay at the target."""
    theirs = _theirs(us)
    assert len(theirs) == 3
    done = us.sync("time_entries", CLOCKIFY_READER=reader)["time_entries"]
    assert (done.deleted, done.unconfirmed, done.updated) == (0, 0, 0)
    assert _theirs(us) == theirs
    us.changes["CLOCKIFY_READER"] = reader
    us.sync()
    changes_nothing(us)


@pytest.mark.parametrize("reader", READERS)
def test_no_one_is_asked_to_delete_many_of_them(tmp_path: Path, reader: str) -> None:
    """The whole day of someone who left is where it was."""
    with team(tmp_path, **FEW) as us:
        many = _many(us)
        us.sync()
        us.control("POST", "users", {"id": us.users()[1]["id"], "remove": True})
        done = us.sync("time_entries", CLOCKIFY_READER=reader)["time_entries"]
        assert (done.held_deletes, done.deleted, done.unconfirmed, done.unchanged) == (0, 0, 0, 12)
        assert _theirs(us) == many


@pytest.mark.parametrize("reader", READERS)
def test_a_read_by_id_deletes_none_of_them(us: Team, reader: str) -> None:
    """As for an event about one of them; and it leaves nothing to try again."""
    theirs = _theirs(us)
    with us.session(CLOCKIFY_READER=reader) as session:
        answer = sync_ids(session, session.specs["time_entries"], theirs[:1], run_id="event")
    assert (answer.counts.deleted, answer.left, _theirs(us)) == (0, {}, theirs)


def test_without_the_report_they_stay_unconfirmed(us: Team) -> None:
    """No one can tell whether they exist: nothing is deleted, and the reason names the report."""
    theirs = _theirs(us)
    us.fault("status", REPORT, status=403, body={"code": 403})
    us.changes["CLOCKIFY_READER"] = "users"
    done = us.sync("time_entries")["time_entries"]
    assert (done.deleted, done.unconfirmed, _theirs(us)) == (0, 3, theirs)
    with us.session() as session:
        answer = sync_ids(session, session.specs["time_entries"], theirs[:1], run_id="event")
    assert answer.counts.deleted == 0
    assert "only the report can show" in answer.left[theirs[0]]
    us.no_faults()
    assert us.sync("time_entries")["time_entries"].unconfirmed == 0


@pytest.mark.parametrize("reader", READERS)
def test_one_that_was_deleted_is_deleted(us: Team, reader: str) -> None:
    """The report does not have it on any day."""
    removed, *others = _theirs(us)
    _delete(us, removed)
    done = us.sync("time_entries", CLOCKIFY_READER=reader)["time_entries"]
    assert (done.deleted, done.unconfirmed, _theirs(us)) == (1, 0, others)


@pytest.mark.parametrize("reader", READERS)
def test_one_that_was_moved_to_another_day_is_not_deleted(tmp_path: Path, reader: str) -> None:
    """Missing from the days that were read, it is in the report of all days: it is updated."""
    with team(tmp_path, **FEW) as us:
        user = us.users()[1]["id"]
        stays, moved = (us.add_entry(user, morning(3, hour)) for hour in (6, 8))
        us.sync()
        start = instant(morning(9))
        us.change_entry(moved, start=start, end=instant(morning(9, 9)))
        us.control("POST", "users", {"id": user, "remove": True})
        us.sync("time_entries", days=Days(day(3), day(3)), CLOCKIFY_READER=reader)
        there = us.at_snapshots("time_entries")
        assert there.keys() == {stays["id"], moved["id"]}
        assert there[moved["id"]]["start_time"] == start


@pytest.mark.parametrize("reader", READERS)
def test_deletes_of_others_are_proven_while_their_entries_are_in_the_batch(us: Team, reader: str) -> None:
    """No entry of a former user is a witness: whichever is deleted, the delete is confirmed."""
    us.changes["CLOCKIFY_READER"] = reader
    deleted = next(entry["id"] for entry in sorted(us.entries(), key=lambda entry: entry["id"]))
    us.clockify("DELETE", f"/time-entries/{deleted}")
    done = us.sync("time_entries")["time_entries"]
    assert (done.deleted, done.unconfirmed, len(_theirs(us))) == (1, 0, 3)


@pytest.mark.parametrize("how", ["batch", "by id"])
def test_their_entries_are_no_witness(us: Team, how: str) -> None:
    """With nothing else left that is known to live, deletes are proven anyway."""
    deleted = [entry["id"] for entry in us.entries()]
    for entry in deleted:
        us.clockify("DELETE", f"/time-entries/{entry}")
    if how == "batch":
        us.sync("time_entries", options=Options(allow_deletes=True))
        assert us.at_snapshots("time_entries").keys() == set(_theirs(us))
    else:
        with us.session() as session:
            answer = sync_ids(session, session.specs["time_entries"], deleted[:1], run_id="event")
        assert answer.counts.deleted == 0  # nothing was readable: implausible, and it reports that
        assert "It reads as deleted" in answer.left[deleted[0]]


@pytest.mark.parametrize("reader", READERS)
def test_verify_compares_with_what_the_report_has(us: Team, reader: str) -> None:
    """In sync as long as the entries are at the target; one that is not is missing, whatever a read by id returns."""
    us.changes["CLOCKIFY_READER"] = reader
    assert us.verify("time_entries")["time_entries"].in_sync
    us.snapshots("DELETE", f"/time_entries/{_theirs(us)[0]}")
    verdict = us.verify("time_entries")["time_entries"]
    assert (verdict.in_sync, verdict.missing) == (False, 1)
