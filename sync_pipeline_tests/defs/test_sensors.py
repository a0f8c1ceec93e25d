"""Sensors: an event becomes a run, the run closes it, and what it was about has arrived."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path

import dagster as dg
import orjson
import pytest

from sync_pipeline.defs import sensors
from sync_pipeline.hosting.queue import in_the_way
from sync_pipeline_tests.defs.live import Live, metadata_of
from sync_pipeline_tests.harness import Json, Team, instant, morning, team
from sync_pipeline_tests.properties.invariants import converged

pytestmark = pytest.mark.clock

ENTRY = "GET /clockify/api/v1/workspaces/{ws}/time-entries/{id}"


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team that is in step."""
    with team(tmp_path / "team") as opened:
        opened.sync()
        opened.forget_stats()
        yield opened


def stopped(us: Team) -> list[Json]:
    """The stopped entries."""
    return [entry for entry in us.entries() if entry["timeInterval"]["end"]]


def test_an_edit_arrives_by_one_read_and_one_write(us: Team, on: Live) -> None:
    """One event: a targeted run that reads and writes once, closes it and reports what it did; the next tick is quiet."""
    entry = stopped(us)[0]
    edited = us.change_entry(entry, description="edited")
    on.event("TIME_ENTRY_UPDATED", "time_entries", edited)
    us.forget_stats()
    tick = on.tick("time_entries")
    assert tick.jobs == ["changes_time_entries"]
    assert us.requests()[ENTRY] == 1
    assert us.writes() == {"time_entries": 1}
    assert us.at_snapshots("time_entries")[entry["id"]]["description"] == "edited"
    metadata = metadata_of(tick.runs[0], "time_entries")
    assert (metadata["updated"], metadata["records"], metadata["events"]) == (1, entry["id"], "1")
    assert on.inbox("time_entries").open == 0
    assert on.tick("time_entries").requests == []


def test_a_targeted_run_marks_no_partition_and_makes_no_batch_stale(us: Team, on: Live) -> None:
    """A batch that was read before it is loaded after it anyway, and the newer row stays."""
    entry = stopped(us)[0]
    with us.session() as session:
        older = us.validated(session, "time_entries")
    on.event("TIME_ENTRY_UPDATED", "time_entries", us.change_entry(entry, description="newer"))
    (run,) = on.tick("time_entries").runs
    assert not run.asset_materializations_for_node("time_entries_load")
    with us.session() as session:
        us.load(session, "time_entries", older)
    assert us.at_snapshots("time_entries")[entry["id"]]["description"] == "newer"
    converged(us)


def test_a_targeted_read_that_finds_nothing_new_is_newer_all_the_same(us: Team, on: Live) -> None:
    """Changed while a batch was read and changed back before it is loaded: what was read last stays."""
    entry = stopped(us)[0]
    us.change_entry(entry, description="for a moment")
    with us.session() as session:
        older = us.validated(session, "time_entries")
    back = us.change_entry(entry, description=entry["description"])
    on.event("TIME_ENTRY_UPDATED", "time_entries", back)
    on.tick("time_entries")
    with us.session() as session:
        us.load(session, "time_entries", older)
    converged(us)


def test_a_new_entry_brings_its_new_project_along(us: Team, on: Live) -> None:
    """What an entry refers to is delivered first, whatever the other sensors do."""
    user, project = us.users()[0]["id"], us.clockify("POST", "/projects", {"name": "Brand new"})
    entry = us.add_entry(user, morning(1), projectId=project["id"])
    on.event("NEW_TIME_ENTRY", "time_entries", entry)
    on.tick("time_entries")
    assert us.at_snapshots("time_entries")[entry["id"]]["project_id"] == project["id"]
    assert project["id"] in us.at_snapshots("projects")


def test_a_delete_follows_and_is_confirmed(us: Team, on: Live) -> None:
    """The entry, a witness that lives, and the proof that the key sees everything: then one delete."""
    deleted = stopped(us)[0]
    us.clockify("DELETE", f"/time-entries/{deleted['id']}")
    on.event("TIME_ENTRY_DELETED", "time_entries", deleted)
    us.forget_stats()
    on.drain("time_entries")
    assert us.requests()[ENTRY] == 2
    assert deleted["id"] not in us.at_snapshots("time_entries")
    converged(us)


def test_an_id_of_another_workspace_confirms_nothing(us: Team, on: Live) -> None:
    """When an existing entry reads as deleted, too, the deleted one stays - unconfirmed."""
    entry = stopped(us)[0]
    on.event("TIME_ENTRY_DELETED", "time_entries", entry)
    us.fault("status", "GET */time-entries/*", status=400, body={"code": 501, "message": "TIMEENTRY doesn't belong"})
    (run,) = on.tick("time_entries").runs
    assert metadata_of(run, "time_entries")["unconfirmed"] == 1
    assert entry["id"] in us.at_snapshots("time_entries")
    assert on.inbox("time_entries").open == 1
    assert "wait for their next try" in on.tick("time_entries").said
    us.no_faults()
    on.retry_policy(0)
    on.drain("time_entries")
    assert on.inbox("time_entries").open == 0
    converged(us)


def test_a_witness_that_is_deleted_as_well_is_no_witness(us: Team, on: Live) -> None:
    """Another entry was deleted without an event: the delete we received is confirmed by one that still exists."""
    silent, reported = sorted(stopped(us), key=lambda entry: str(entry["id"]))[:2]
    for entry in (silent, reported):
        us.clockify("DELETE", f"/time-entries/{entry['id']}")
    on.event("TIME_ENTRY_DELETED", "time_entries", reported)
    on.drain("time_entries")
    assert reported["id"] not in us.at_snapshots("time_entries")
    assert silent["id"] in us.at_snapshots("time_entries")
    assert on.inbox("time_entries").open == 0
    us.sync("time_entries")
    converged(us)


def test_deletes_beyond_what_a_run_may_look_up_do_not_wait_for_the_next_full_read(us: Team, on: Live) -> None:
    """More entries of a day vanished than one run may confirm: the events of the others stay open until they are, too."""
    us.changes |= {"SYNC_MAX_CONFIRMATIONS": "3", "SYNC_MAX_DELETE_SHARE": "1"}
    on.renew()
    deleted = stopped(us)[:25]
    for entry in deleted:
        us.clockify("DELETE", f"/time-entries/{entry['id']}")
    on.events("TIME_ENTRY_DELETED", "time_entries", deleted)
    on.drain("time_entries")
    assert on.inbox("time_entries").open == 0
    assert not us.at_snapshots("time_entries").keys() & {entry["id"] for entry in deleted}
    converged(us)


def test_a_moved_entry_keeps_its_row(us: Team, on: Live) -> None:
    """From one day to another: its partition changes, nothing is deleted or created."""
    entry = stopped(us)[0]
    start = morning(9, 3)
    moved = us.change_entry(entry, start=instant(start), end=instant(start.replace(hour=4)))
    on.event("TIME_ENTRY_UPDATED", "time_entries", moved)
    (run,) = on.tick("time_entries").runs
    metadata = metadata_of(run, "time_entries")
    assert (metadata["updated"], metadata.get("created"), metadata.get("deleted")) == (1, None, None)
    with us.session() as session:
        known = session.ledger("time_entries").lookup([entry["id"]])
        assert known[entry["id"]].partition == start.date().isoformat()
    converged(us)


def test_what_is_invalid_is_rejected_and_checked_again(us: Team, on: Live) -> None:
    """A targeted run checks exactly its own records: their rejects come and go, those of others stay."""
    project = us.projects()[0]
    us.fault("status", f"GET */projects/{project['id']}", status=200, body={**project, "name": "x" * 251}, count=1)
    on.event("PROJECT_UPDATED", "projects", project)
    (run,) = on.tick("projects").runs
    assert metadata_of(run, "projects")["rejected"] == 1
    on.event("PROJECT_UPDATED", "projects", {**project, "again": True})
    on.tick("projects")
    with us.session() as session:
        assert session.ledger("projects").rejects.show(project["id"]) == []


def test_a_failed_run_swallows_no_event_and_is_tried_again(us: Team, on: Live) -> None:
    """The run fails, the event stays open with the reason; the next try has another key, not before its time."""
    edited = us.change_entry(stopped(us)[0], description="later")
    on.event("TIME_ENTRY_UPDATED", "time_entries", edited)
    us.fault("status", "GET */time-entries/*", status=503)
    first = on.tick("time_entries")
    assert not first.runs[0].success
    assert (on.inbox("time_entries").open, on.inbox("time_entries").failed) == (1, 1)
    waiting = on.tick("time_entries")
    assert waiting.requests == []
    assert "1 events failed before and wait for their next try" in waiting.said
    us.no_faults()
    on.retry_policy(0)
    second = on.tick("time_entries")
    assert second.requests[0].run_key != first.requests[0].run_key
    assert on.inbox("time_entries").open == 0
    assert us.at_snapshots("time_entries")[edited["id"]]["description"] == "later"


def test_after_an_outage_many_changes_are_few_runs_again(us: Team, on: Live) -> None:
    """Runs over many changes failed since Clockify was away: they are not read one by one for it, a few at a time."""
    user = us.users()[0]["id"]
    made = [us.add_entry(user, morning(1 + n % 3, n // 3)) for n in range(45)]
    on.events("NEW_TIME_ENTRY", "time_entries", made)
    us.fault("status", "*clockify*", status=503)
    assert {run.success for run in on.tick("time_entries").runs} == {False}
    us.no_faults()
    on.retry_policy(0)
    us.forget_stats()
    (tick,) = on.drain("time_entries")
    assert sorted(tick.jobs) == ["changes_time_entries", "sync_time_entries"]
    assert us.requests()[ENTRY] <= 20
    assert on.inbox("time_entries").open == 0
    converged(us)


def test_a_run_that_is_under_way_is_waited_for(us: Team, on: Live) -> None:
    """Back-pressure: while a run of ours is queued nothing more is asked for, and no event is lost."""
    entry = stopped(us)[0]
    on.event("TIME_ENTRY_UPDATED", "time_entries", entry)
    request = on.tick("time_entries", run=False).requests[0]
    queued = on.queue(request)
    on.event("TIME_ENTRY_UPDATED", "time_entries", stopped(us)[1])
    assert "is queued or running" in on.tick("time_entries").said
    on.instance.report_run_canceled(queued)
    on.drain("time_entries")
    assert on.inbox("time_entries").open == 0


def test_a_repeated_tick_is_harmless(us: Team, on: Live) -> None:
    """The same events ask for the same run under the same key, which fires once."""
    on.event("TIME_ENTRY_UPDATED", "time_entries", stopped(us)[0])
    first, again = on.look("time_entries"), on.look("time_entries")
    assert [r.run_key for r in first.requests] == [r.run_key for r in again.requests]


def test_many_changes_become_few_runs(us: Team, on: Live) -> None:
    """Thirty dirty entries: runs over their days, coalesced; each event closed, each change arrived, by few reads."""
    entries = stopped(us)[:30]
    assert len(entries) == 30
    bodies = [us.change_entry(entry, description=f"bulk {n}") for n, entry in enumerate(entries)]
    on.events("TIME_ENTRY_UPDATED", "time_entries", bodies)
    us.forget_stats()
    ticks = on.drain("time_entries")
    assert {job for tick in ticks for job in tick.jobs} == {"sync_time_entries"}
    assert sum(len(tick.runs) for tick in ticks) <= 2
    assert ENTRY not in us.requests()
    assert on.inbox("time_entries").open == 0
    converged(us)


def test_many_deletes_of_what_we_never_had_end(us: Team, on: Live) -> None:
    """Events about entries no one knows: their days are read, then they are looked up one by one, and all are closed."""
    user = us.users()[0]["id"]
    made = [us.add_entry(user, morning(2, hour)) for hour in range(23)]
    for entry in made:
        us.clockify("DELETE", f"/time-entries/{entry['id']}")
    on.events("TIME_ENTRY_DELETED", "time_entries", made)
    ticks = on.drain("time_entries")
    assert [job for tick in ticks for job in tick.jobs] == ["sync_time_entries", "changes_time_entries"] + [
        "changes_time_entries"
    ] * (len(ticks) - 2)
    assert on.inbox("time_entries").open == 0
    converged(us)


def test_an_event_that_names_no_record_ends(us: Team, on: Live) -> None:
    """An entry without an id is closed; people without one make the list be read again."""
    on.event("TIME_ENTRY_UPDATED", "time_entries", {"x": 1}, None)
    on.event("USERS_INVITED_TO_WORKSPACE", "users", {"emails": []}, None)
    assert on.tick("time_entries").requests == []
    assert on.tick("users").jobs == ["sync_users"]
    assert (on.inbox("time_entries").open, on.inbox("users").open) == (0, 0)
    assert us.users()


def while_it_listens(us: Team, on: Live, happens: Callable[[], object]) -> None:
    """Sensors are to look every second; what happens does so while one waits for the end of its tick."""
    us.changes["SYNC_SENSOR_SECONDS"] = "1"
    on.renew()
    once = iter([happens])
    on.patch.setattr("sync_pipeline.defs.sensors.sleep", lambda _: next(once, lambda: None)())


def test_a_sensor_that_listens_is_notified_immediately(us: Team, on: Live) -> None:
    """An event that comes in during a tick is answered by that tick."""
    edited = us.change_entry(stopped(us)[0], description="at once")
    while_it_listens(us, on, lambda: on.event("TIME_ENTRY_UPDATED", "time_entries", edited))
    assert on.tick("time_entries").jobs == ["changes_time_entries"]
    assert us.at_snapshots("time_entries")[edited["id"]]["description"] == "at once"


def test_a_sensor_that_listens_notices_the_end_of_a_run(us: Team, on: Live) -> None:
    """What a run blocked is requested as soon as it has ended."""
    on.event("TIME_ENTRY_UPDATED", "time_entries", stopped(us)[0])
    queued = on.queue(on.tick("time_entries", run=False).requests[0])
    on.event("TIME_ENTRY_UPDATED", "time_entries", stopped(us)[1])
    while_it_listens(us, on, lambda: on.instance.report_run_canceled(queued))
    assert on.tick("time_entries").jobs == ["changes_time_entries"]
    assert on.inbox("time_entries").open == 0


@pytest.mark.parametrize("seconds", ["1", "30"])
def test_a_stream_of_events_does_not_hold_a_tick(us: Team, on: Live, seconds: str) -> None:
    """Events come in at every look while a run is in the way: the tick ends anyway, and looks no faster for it."""
    entry, other = stopped(us)[:2]
    on.event("TIME_ENTRY_UPDATED", "time_entries", entry)
    queued = on.queue(on.tick("time_entries", run=False).requests[0])
    looks = iter(range(8))

    def and_another(instance: dg.DagsterInstance, jobs: Iterable[str]) -> str | None:
        number = next(looks, None)
        assert number is not None, "it looks without a pause"
        on.event("TIME_ENTRY_UPDATED", "time_entries", {**other, "number": number})
        return in_the_way(instance, jobs)

    us.changes["SYNC_SENSOR_SECONDS"] = seconds
    on.renew()
    clock = count()
    on.patch.setattr(sensors, "in_the_way", and_another)
    on.patch.setattr(sensors, "monotonic", lambda: next(clock))
    on.patch.setattr(sensors, "sleep", lambda _: None)
    assert queued.run_id in on.tick("time_entries").said


def test_a_sensor_that_looks_rarely_does_not_listen(us: Team, on: Live) -> None:
    """It looks once and is done: with the usual interval no one waits for seconds."""
    on.patch.setattr("sync_pipeline.defs.sensors.sleep", lambda _: pytest.fail("it waits"))
    assert on.tick("time_entries").said == "nothing new"
    assert us.users()


def test_a_sensor_that_cannot_reach_clockify_says_why_and_recovers_alone(us: Team, on: Live) -> None:
    """The error's words are the reason to skip; the cursor stays; as soon as Clockify answers, all is caught up."""
    us.changes["SYNC_POLL_SECONDS"] = "1"
    on.renew()
    before = on.cursors["users"] = orjson.dumps({"polled": "2026-01-01T00:00:00+00:00"}).decode()
    us.fault("status", "GET *", status=503)
    tick = on.tick("users")
    assert "the API reports a server error" in tick.said
    assert on.cursors["users"] == before
    us.no_faults()
    assert "0 changed" in on.tick("users").said
    assert on.cursors["users"] != before


def test_a_clockify_that_hangs_is_reported_in_time(us: Team, on: Live) -> None:
    """It takes the request and is silent: the tick ends before Dagster would end it, reports it, and keeps its cursor."""
    us.changes["SYNC_POLL_SECONDS"] = "1"
    on.renew()
    before = on.cursors["users"] = orjson.dumps({"polled": "2026-01-01T00:00:00+00:00"}).decode()
    us.fault("stall", "GET *", seconds=30)
    on.patch.setattr(sensors, "TICK_SECONDS", 0.1)
    assert "No answer came" in on.tick("users").said
    assert on.cursors["users"] == before
    us.no_faults()
    on.patch.setattr(sensors, "TICK_SECONDS", 40.0)
    assert "0 changed" in on.tick("users").said
    assert on.cursors["users"] != before


def test_a_wrong_key_is_reported(us: Team, on: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad settings reach the UI as words, not as a traceback; the secret does not."""
    monkeypatch.setenv("CLOCKIFY_API_KEY", "wrong-key-s3cret")
    on.cursors["projects"] = None
    said = on.tick("projects").said
    assert "Check CLOCKIFY_API_KEY" in said
    assert "s3cret" not in said
    assert us.users()
