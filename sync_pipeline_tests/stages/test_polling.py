"""Polling: what no event reported is requested, within the plan's budget, and becomes events like any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import orjson
import pytest

from sync_pipeline.clock import clock_from, utc_now
from sync_pipeline.connectors.clockify import changes
from sync_pipeline.connectors.clockify.account import PLANS
from sync_pipeline.connectors.ports import Pace
from sync_pipeline.hosting.launch import RANGE_END, RANGE_START
from sync_pipeline.stages import polling
from sync_pipeline.stages.polling import KEPT_FOR_RUNS, poll_seconds
from sync_pipeline.store.rate import reserve
from sync_pipeline.store.rejects import list_rejects
from sync_pipeline_tests.defs.live import Live, live
from sync_pipeline_tests.harness import ENTITIES, Team, morning, team
from sync_pipeline_tests.properties.invariants import converged

pytestmark = pytest.mark.clock

FEEDS = "GET */entities/*"


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team that is in step, whose data is older than what is polled."""
    with team(tmp_path / "team", age_days=2) as opened:
        with minutes_ago(opened, 2 * 24 * 60):
            opened.sync()
        yield opened


@pytest.fixture
def on(us: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Its sensors, which poll at every tick; the last poll was an hour ago."""
    with live(us, tmp_path / "live", monkeypatch, SYNC_POLL_SECONDS="1") as switched_on:
        for entity in ENTITIES:
            switched_on.cursors[entity] = polled(60)
        yield switched_on


def polled(minutes_ago: int) -> str:
    """The cursor of a sensor that polled then."""
    return orjson.dumps({"polled": (utc_now() - timedelta(minutes=minutes_ago)).isoformat()}).decode()


@contextmanager
def minutes_ago(us: Team, minutes: int) -> Iterator[None]:
    """What is done here was done a while ago, as far as Clockify is concerned."""
    us.sandbox.world.clock.advance(timedelta(minutes=-minutes))
    try:
        yield
    finally:
        us.sandbox.world.clock.reset()


@pytest.mark.parametrize("base", [0, 1])
def test_the_feed_finds_what_no_webhook_reported(us: Team, on: Live, base: Literal[0, 1]) -> None:
    """Created, updated and deleted entries arrive, whichever number the feed's first page has."""
    us.sandbox.world.options.entity_changes_page_base = base
    entries = [entry for entry in us.entries() if entry["timeInterval"]["end"]]
    with minutes_ago(us, 20):
        us.add_entry(us.users()[0]["id"], morning(1))
        us.change_entry(entries[0], description="changed")
        us.clockify("DELETE", f"/time-entries/{entries[1]['id']}")
    on.drain("time_entries")
    converged(us)
    assert on.inbox("time_entries").open == 0
    us.forget_stats()
    assert on.tick("time_entries").requests == []
    assert us.writes() == {}


def test_overlapping_windows_report_nothing_twice(us: Team, on: Live) -> None:
    """The same change in two windows is one event."""
    entry = next(entry for entry in us.entries() if entry["timeInterval"]["end"])
    with minutes_ago(us, 5):
        us.change_entry(entry, description="changed")
    on.tick("time_entries")
    closed = on.inbox("time_entries").closed
    on.tick("time_entries")
    on.cursors["time_entries"] = polled(60)  # as if the daemon had died before it could keep the cursor
    on.tick("time_entries")
    assert on.inbox("time_entries").closed == closed > 0


def test_the_feed_in_its_older_shape(us: Team, on: Live) -> None:
    """A list under `response`, deleted records with `documentCode`: read anyway."""
    entry = next(entry for entry in us.entries() if entry["timeInterval"]["end"])
    us.clockify("DELETE", f"/time-entries/{entry['id']}")
    row = {"id": entry["id"], "documentCode": "TIME_ENTRY", "deletedAt": "2026-01-01T00:00:00Z", "document": {}}
    us.fault("status", "GET */entities/deleted", status=200, body={"response": [row]}, count=1)
    on.drain("time_entries")
    converged(us)


def test_projects_and_clients_have_feeds_too(us: Team, on: Live) -> None:
    """A renamed project arrives; an edited client is corrected."""
    project, client = us.projects()[0], us.client(next(iter(us.at_snapshots("locations").values()))["location_name"])
    with minutes_ago(us, 20):
        us.clockify("PUT", f"/projects/{project['id']}", {"name": "Renamed there"})
        us.clockify("PUT", f"/clients/{client['id']}", {"name": client["name"], "address": "Elsewhere"})
    on.drain("projects", "locations", most=5)
    assert us.at_snapshots("projects")[project["id"]]["project_name"] == "Renamed there"
    assert us.client(client["name"])["address"] == client["address"]
    converged(us)


def test_people_are_compared_with_the_list(us: Team, on: Live) -> None:
    """No feed knows them: a row whose hash is another one is dirty, and nothing else is."""
    user = next(user for user in us.users() if user["status"] == "ACTIVE")
    assert "compared with the list: 0 changed" in on.tick("users").said
    us.clockify("PUT", f"/users/{user['id']}", {"status": "INACTIVE"})
    on.cursors["users"] = polled(60)
    tick = on.tick("users")
    assert tick.jobs == ["changes_users"]
    assert us.at_snapshots("users")[user["id"]]["status"] == "INACTIVE"
    converged(us)


def rejected_users(us: Team) -> list[tuple[str, str | None, str | None]]:
    """Each open reject of a user: whose, of which field, and the value."""
    with us.session() as session:
        found = list_rejects(session.store, session.pair, entity="users")
        return [(one.source_id, one.field, one.value) for one in found]


def test_a_user_that_becomes_invalid_is_rejected_by_the_next_poll(us: Team, on: Live) -> None:
    """Once: a record that stays rejected causes no further run, and one with another invalid value does."""
    user = next(user for user in us.users() if user["status"] == "ACTIVE")
    for email in ("not-an-address", "neither-is-this"):
        us.control("POST", "users", {"id": user["id"], "email": email})
        on.cursors["users"] = polled(60)
        assert on.tick("users").jobs == ["changes_users"]
        assert rejected_users(us) == [(user["id"], "email", email)]
        on.cursors["users"] = polled(60)
        again = on.tick("users")
        assert ("compared with the list: 0 changed" in again.said, again.requests) == (True, [])


@pytest.mark.parametrize("address", ["corrected@example.com", ""])
def test_a_rejected_user_that_was_corrected_is_delivered_by_the_next_poll(us: Team, on: Live, address: str) -> None:
    """With a new valid value, and with the one that was delivered before."""
    user = next(user for user in us.users() if user["status"] == "ACTIVE")
    for email in ("not-an-address", address or user["email"]):
        us.control("POST", "users", {"id": user["id"], "email": email})
        on.cursors["users"] = polled(60)
        assert on.tick("users").jobs == ["changes_users"]
    assert rejected_users(us) == []
    assert us.at_snapshots("users")[user["id"]]["email"] == (address or user["email"])
    converged(us)


def test_a_plan_that_refuses_the_feed_is_read_otherwise(us: Team, on: Live) -> None:
    """Projects by their list, clients by theirs, entries by the days around today; the feed is not asked again soon."""
    us.fault("status", FEEDS, status=403, body={"message": "Not in your plan", "code": 403})
    project, client = us.projects()[0], us.client(next(iter(us.at_snapshots("locations").values()))["location_name"])
    us.clockify("PUT", f"/projects/{project['id']}", {"name": "Renamed there"})
    us.clockify("PUT", f"/clients/{client['id']}", {"name": client["name"], "address": "Elsewhere"})
    us.add_entry(us.users()[0]["id"], morning(1))
    assert on.tick("time_entries").jobs == ["sync_time_entries"]
    assert on.tick("projects").jobs == ["changes_projects"]
    assert on.tick("locations").jobs == ["sync_locations"]
    converged(us)
    us.forget_stats()
    for entity in ("time_entries", "projects", "locations"):
        on.cursors[entity] = orjson.dumps({**orjson.loads(on.cursors[entity] or ""), "polled": None}).decode()
        assert on.tick(entity).requests == []
    assert not [route for route in us.requests() if "/entities/" in route]


def test_a_plan_without_room_is_not_asked(us: Team, on: Live) -> None:
    """On the Free plan polling leaves requests for the runs; it reports that and keeps its cursor."""
    us.changes["CLOCKIFY_PLAN"] = "free"
    on.renew()
    before = on.cursors["projects"]
    with us.session() as session:
        for _ in range(30 - KEPT_FOR_RUNS):
            reserve(
                session.store, session.clockify.account.bucket, PLANS["free"].windows, session.now().timestamp() - 60
            )
    us.forget_stats()
    assert "request budget is nearly used up" in on.tick("projects").said
    assert us.requests() == {}
    assert on.cursors["projects"] == before


def test_polling_and_schedules_fit_the_free_plan(us: Team) -> None:
    """What an idle hour costs: three feeds each, a list of people - far below thirty requests."""
    with us.session(CLOCKIFY_PLAN="free") as session:
        hourly = sum(
            (1 if entity == "users" else 3) * 3600 / poll_seconds(session, session.specs[entity]) for entity in ENTITIES
        )
    assert hourly < 6


def test_an_unreadable_cursor_costs_one_poll(us: Team, on: Live) -> None:
    """Whatever the cursor holds, the sensor continues."""
    on.cursors["time_entries"] = "{broken"
    assert "asked what changed" in on.tick("time_entries").said
    assert orjson.loads(on.cursors["time_entries"] or "")["polled"]
    assert us.users()


@pytest.fixture
def small_pages(on: Live) -> None:
    """One poll reads twenty changes, as it were ten thousand."""
    on.patch.setattr(changes, "PAGE_SIZE", 10)
    on.patch.setitem(PLANS, "paid", replace(PLANS["paid"], pace=Pace(feed_pages=2)))


def catch_up(on: Live) -> None:
    """Tick until a poll has reached the present, and then until nothing more is asked for."""
    for _ in range(100):
        on.tick("time_entries")
        if "since" not in orjson.loads(on.cursors["time_entries"] or ""):
            on.drain("time_entries")
            return
    raise AssertionError(f"a hundred polls do not reach the present: {on.cursors['time_entries']}")


@pytest.mark.usefixtures("small_pages")
def test_more_changes_than_one_poll_reads_are_read_in_shorter_windows(us: Team, on: Live) -> None:
    """An import of old entries: every one arrives, and the cursor does not move past what was not read."""
    user = us.users()[0]["id"]
    for ago in (55, 35, 15):
        with minutes_ago(us, ago):
            for number in range(15):
                us.add_entry(user, morning(8 + number % 3, hour=6 + number % 12))
    tick = on.tick("time_entries")
    assert tick.requests == []
    assert "more changed from" in tick.said
    catch_up(on)
    converged(us)


@pytest.mark.usefixtures("small_pages")
def test_changes_of_one_moment_are_read_to_their_end(us: Team, on: Live) -> None:
    """No window is short enough to hold fewer of them."""
    user = us.users()[0]["id"]
    with minutes_ago(us, 20):
        us.sandbox.world.clock.set(us.sandbox.world.clock.now(), frozen=True)
        for number in range(45):
            us.add_entry(user, morning(8 + number % 3, hour=6 + number % 12))
    catch_up(on)
    converged(us)


@pytest.mark.usefixtures("small_pages")
def test_a_feed_that_does_not_end_is_reported_and_passed(us: Team, on: Live) -> None:
    """Its pages repeat forever: the recent days are read instead, once, and the sensor reports it and continues after it."""
    entry = us.entries()[0]
    rows = [{"id": entry["id"], "auditMetadata": {"updatedAt": "2026-01-01T00:00:00Z"}, "document": entry}] * 10
    us.fault("status", "GET */entities/updated", status=200, body={"response": rows})
    looks = [on.tick("time_entries", run=False) for _ in range(15)]
    asked = [request for look in looks for request in look.requests]
    assert [request.job_name for request in asked] == ["sync_time_entries"]
    first, last = (asked[0].tags[name] for name in (RANGE_START, RANGE_END))
    moment = utc_now() - timedelta(hours=1, minutes=10)
    assert first <= (moment - timedelta(days=5)).date().isoformat() < moment.date().isoformat() <= last
    before = orjson.loads(on.cursors["time_entries"] or "")
    message = on.tick("time_entries", run=False).said
    assert "does not end" in message
    assert "the 7 days before are read once instead" in message
    assert orjson.loads(on.cursors["time_entries"] or "")["since"] > before["since"]


@pytest.mark.usefixtures("small_pages")
def test_more_changes_at_one_moment_than_the_feed_gives(us: Team, on: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """They arrive by a read of their days, and polling continues behind that moment."""
    monkeypatch.setattr(polling, "PAGES_OF_NARROWEST", 1)
    user = us.users()[0]["id"]
    with minutes_ago(us, 20):
        us.sandbox.world.clock.set(us.sandbox.world.clock.now(), frozen=True)
        for number in range(45):
            us.add_entry(user, morning(2 + number % 3, hour=6 + number % 12))
    catch_up(on)
    converged(us)
    us.change_entry(us.entries()[0], description="changed afterwards")
    with clock_from(utc_now() + timedelta(minutes=10)):  # later than any poll so far has looked
        on.drain("time_entries")
    converged(us)


@pytest.mark.parametrize("entity", ["time_entries", "projects"])
def test_a_clock_that_was_set_back_stops_no_poll(us: Team, on: Live, entity: str) -> None:
    """What was noted two hours ahead of now is no reason to wait, and the feed is read as if it were not."""
    on.cursors[entity] = polled(-120)
    us.clockify("PUT", f"/projects/{us.projects()[0]['id']}", {"name": "Renamed there"})
    with minutes_ago(us, 5):
        us.change_entry(next(entry for entry in us.entries() if entry["timeInterval"]["end"]), description="changed")
    said = on.tick(entity)
    assert said.requests or "asked what changed" in said.said
    assert orjson.loads(on.cursors[entity] or "")["polled"] < (utc_now() + timedelta(minutes=1)).isoformat()


@pytest.mark.parametrize("minutes", [-60, -15, 15, 60])
def test_a_clock_that_differs_from_clockifys_loses_no_change(us: Team, on: Live, minutes: int) -> None:
    """The feed uses Clockify's clock, which its answers state: each edit is found by a poll soon after it."""
    entries = [entry for entry in us.entries() if entry["timeInterval"]["end"]]
    on.cursors["time_entries"] = None
    wrong, clock = timedelta(minutes=minutes), us.sandbox.world.clock
    for passed in range(0, 21, 3):
        clock.advance(timedelta(minutes=passed))
        if passed in (3, 9, 12):
            us.change_entry(entries[passed], description=f"edit {passed}")
        clock.advance(-wrong)  # the sandbox's clock follows this process's, which is wrong from here on
        with clock_from(utc_now() + timedelta(minutes=passed) + wrong):
            clock.advance(timedelta(minutes=-passed))
            on.tick("time_entries")
        clock.reset()
    there = {row["description"] for row in us.at_snapshots("time_entries").values()}
    assert {f"edit {passed}" for passed in (3, 9, 12)} <= there


def test_what_changed_while_nothing_ran_for_days_is_asked_for(us: Team, on: Live) -> None:
    """After three days without a daemon the first poll goes back to the last one."""
    entry = next(entry for entry in us.entries() if entry["timeInterval"]["end"])
    on.cursors["time_entries"] = polled(3 * 24 * 60)
    with minutes_ago(us, 36 * 60):
        us.change_entry(entry, description="changed meanwhile")
    on.drain("time_entries")
    converged(us)


def test_a_feed_of_unknown_form_is_reported_and_not_passed(us: Team, on: Live) -> None:
    """Rows without ids name no record: the sensor reports it, and the cursor stays where it was."""
    us.fault("status", "GET */entities/updated", status=200, body=[{"entityId": "x"}])
    before = on.cursors["time_entries"]
    assert "a form that is not known" in on.tick("time_entries", run=False).said
    assert on.cursors["time_entries"] == before
