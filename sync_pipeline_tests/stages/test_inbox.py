"""Which events a read answers: those that were there when it began, and no others."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import orjson
import pytest

from sync_pipeline.clock import utc_now
from sync_pipeline.stages.batch import Options
from sync_pipeline.store.approvals import decide, list_approvals
from sync_pipeline.store.events import Received, content_id, receive_many
from sync_pipeline_tests.defs.live import Live
from sync_pipeline_tests.harness import Json, Team, morning
from sync_pipeline_tests.properties.invariants import converged

pytestmark = pytest.mark.clock


def stopped(us: Team) -> list[Json]:
    """The stopped entries."""
    return [entry for entry in us.entries() if entry["timeInterval"]["end"]]


def failure_of(run: dg.ExecuteInProcessResult) -> str:
    """The error of the failed step of a run."""
    (event,) = [event for event in run.all_events if event.is_step_failure]
    found = event.step_failure_data.user_failure_data
    assert found is not None
    return str(found.description)


def reasons(us: Team, entity: str) -> list[tuple[int, str | None]]:
    """Attempts and reason of each open event."""
    with us.session() as session:
        return [(one.attempts, one.reason) for one in session.ledger(entity).events.open_events(100)]


def test_the_same_words_during_a_read_are_news(us: Team, on: Live) -> None:
    """A user's event does not hold the status: what changes while the list is read has the same body, and is not lost."""
    user = us.users()[1]
    body = {"id": user["id"], "email": user["email"], "name": user["name"]}
    on.event("USER_UPDATED", "users", body)
    with us.session() as session:
        validated = us.validated(session, "users")
        us.clockify("PUT", f"/users/{user['id']}", {"status": "INACTIVE"})
        assert on.event("USER_UPDATED", "users", body)
        us.load(session, "users", validated)
    assert on.inbox("users").open == 2  # the first one, too: a list that shows nothing new may lag behind it
    on.retry_policy(0)
    on.drain("users")
    assert on.inbox("users").open == 0
    assert us.verify("users")["users"].in_sync


def test_the_clock_of_the_receiver_does_not_matter(us: Team, on: Live) -> None:
    """Stamped a minute before the read began, received after it: the load leaves it open."""
    entry = stopped(us)[0]
    with us.session() as session:
        validated = us.validated(session, "time_entries")
        edited = us.change_entry(entry, description="after the read")
        text, at = orjson.dumps(edited).decode(), utc_now() - timedelta(minutes=1)
        kind, key = "TIME_ENTRY_UPDATED", entry["id"]
        content = content_id(kind, key, edited)
        event = Received(content, kind, "time_entries", key, text, at)
        receive_many(session.store, session.pair, "clockify", [event])
        us.load(session, "time_entries", validated)
    assert on.inbox("time_entries").open == 1
    on.drain("time_entries")
    converged(us)


def test_a_load_closes_what_was_there_when_its_read_began(us: Team, on: Live) -> None:
    """Whatever the receiver's clock shows: what came in before the read is answered by it."""
    on.event("TIME_ENTRY_UPDATED", "time_entries", us.change_entry(stopped(us)[0], description="before"))
    us.sync("time_entries")
    assert on.inbox("time_entries").open == 0


def test_a_dry_run_takes_nothing_up(us: Team, on: Live) -> None:
    """It leaves the inbox unchanged."""
    on.event("TIME_ENTRY_UPDATED", "time_entries", us.change_entry(stopped(us)[0], description="dry"))
    with us.session() as session:
        us.validated(session, "time_entries", options=Options(dry_run=True))
    assert reasons(us, "time_entries") == [(0, None)]


def test_a_blocked_run_is_noted_at_its_events_and_holds_up_no_others(us: Team, on: Live) -> None:
    """Days that a check blocks: each event has the reason, is read by id next, and other days are read immediately."""
    user = us.users()[0]["id"]
    made = [us.add_entry(user, morning(1, 1) + timedelta(minutes=n), hours=0) for n in range(25)]
    on.events("NEW_TIME_ENTRY", "time_entries", made)
    assert [run.success for run in on.tick("time_entries").runs] == [False]
    ((attempts, reason),) = set(reasons(us, "time_entries"))
    assert attempts == 1
    assert "nothing is loaded" in str(reason)
    other = next(e for e in stopped(us) if e["timeInterval"]["start"][:10] != made[0]["timeInterval"]["start"][:10])
    on.event("TIME_ENTRY_UPDATED", "time_entries", us.change_entry(other, description="fine"))
    on.tick("time_entries")
    assert us.at_snapshots("time_entries")[other["id"]]["description"] == "fine"
    on.retry_policy(0)
    assert on.tick("time_entries").jobs == ["changes_time_entries"]


def test_a_record_that_cannot_be_read_holds_up_no_other(us: Team, on: Live) -> None:
    """The others arrive in the same run; its own event stays open with the reason, and is tried again alone, later."""
    bad, *good = stopped(us)[:6]
    us.fault("status", f"GET */time-entries/{bad['id']}", status=500)
    for entry in (bad, *good):
        on.event("TIME_ENTRY_UPDATED", "time_entries", us.change_entry(entry, description="new"))
    (run,) = on.tick("time_entries").runs
    assert not run.success
    assert "1 of the records could not be synced and will be tried again: " in failure_of(run)
    there = us.at_snapshots("time_entries")
    assert {there[entry["id"]]["description"] for entry in good} == {"new"}
    ((attempts, reason),) = reasons(us, "time_entries")
    assert attempts == 1
    assert "500" in str(reason)
    assert "wait for their next try" in on.tick("time_entries").said
    on.retry_policy(0)
    assert [run.success for run in on.tick("time_entries").runs] == [False]
    fresh = us.change_entry(good[0], description="newer")
    on.event("TIME_ENTRY_UPDATED", "time_entries", fresh)
    assert [run.success for run in on.tick("time_entries").runs] == [True]
    us.no_faults()
    on.retry_policy(0)
    on.drain("time_entries")
    converged(us)


def test_deletes_that_the_guard_holds_are_reported(us: Team, on: Live) -> None:
    """Too many records deleted together: their events stay open and name the request that lets them through."""
    deleted = stopped(us)[:8]
    for entry in deleted:
        us.clockify("DELETE", f"/time-entries/{entry['id']}")
    on.events("TIME_ENTRY_DELETED", "time_entries", deleted)
    on.tick("time_entries")
    ((attempts, reason),) = set(reasons(us, "time_entries"))
    assert attempts == 1
    assert "--allow-deletes" in str(reason)
    assert us.held("time_entries") == {"deletes": sorted(entry["id"] for entry in deleted)}
    assert us.at_snapshots("time_entries").keys() >= {entry["id"] for entry in deleted}
    with us.session() as session:
        (request,) = list_approvals(session.store, session.pair, session.now(), limit=10)
        assert f"approvals allow {request.id}" in str(reason)
        decide(session.store, session.pair, request.id, "allowed", "ann", session.now())
    on.retry_policy(0)
    on.drain("time_entries")
    assert on.inbox("time_entries").open == 0
    converged(us)


def test_accounts_of_the_environment_wait_for_an_approval(us: Team, on: Live) -> None:
    """Unless SYNC_MODE makes them live, a sensor asks for nothing and states why; the event waits."""
    del us.changes["SYNC_MODE"]
    on.patch.delenv("SYNC_MODE")
    on.renew()
    on.event("TIME_ENTRY_UPDATED", "time_entries", stopped(us)[0])
    tick = on.tick("time_entries")
    assert not tick.requests
    assert "live syncing is off" in tick.said
    assert on.inbox("time_entries").open == 1


def test_a_budget_that_is_used_up_is_reported(us: Team, on: Live) -> None:
    """Clients cannot be looked at within the hour's budget: the sensor reports how many events wait."""
    us.changes["CLOCKIFY_PLAN"] = "free"
    on.renew()
    with us.session() as session:
        for _ in range(25):
            session.call(session.clockify.me)
    client = us.clients()[0]
    on.event("CLIENT_UPDATED", "locations", {"id": client["id"], "name": client["name"]})
    assert "the hour's request budget is nearly used up: 1 events wait" in on.tick("locations").said
