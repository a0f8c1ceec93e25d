"""What is HighLevel's own: a search that lags or lies, creates that are never safe to repeat, days that are used up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from sync_pipeline.clock import clock_from, utc_now
from sync_pipeline.errors import FatalApiError, NotAuthorized, RetryableApiError, SyncError
from sync_pipeline.stages.batch import Options
from sync_pipeline.stages.verify import VerifyResult, verify
from sync_pipeline.store.rejects import list_rejects
from sync_pipeline.store.schema import records as stored_records
from sync_pipeline_tests.harness import morning
from sync_pipeline_tests.highlevel import HOME, HighLevelTeam, highlevel_team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged
from sync_pipeline_tests.properties.killing import Killed, killing

pytestmark = pytest.mark.clock

FEW = {"entries": 0, "users": 2, "projects": 1, "clients": 1, "highlevel_locations": 2}
SEARCH, CREATE = "POST */clockify_time_entries/records/search", "POST */custom_objects.clockify_time_entries/records"
WAIT, PATIENCE = 30, 30.5
"""How long the pipeline waits for what a create has made, and for what a refused create reports as existing."""


@pytest.fixture
def us(tmp_path: Path) -> Iterator[HighLevelTeam]:
    """A team with one time entry, whose users and projects are at HighLevel."""
    with highlevel_team(tmp_path, **FEW) as us:
        us.sync("projects", "users")
        us.add_entry(us.users()[0]["id"], morning(2), description="Draft of the landing page", billable=True)
        yield us


def records(us: HighLevelTeam) -> int:
    """How many records of time entries there are, twice or not."""
    return len(us.stored("time_entries"))


def repaired(us: HighLevelTeam) -> VerifyResult:
    """A verify that may repair and delete."""
    with us.session() as session:
        options = Options(allow_deletes=True)
        return verify(session, session.specs["time_entries"], us.days, repair=True, options=options)


@pytest.mark.parametrize(("unique", "lag"), [(True, 10), (True, WAIT + 20), (False, 10)])
def test_a_create_that_was_cut_off_makes_one_record(us: HighLevelTeam, unique: bool, lag: int) -> None:
    """While the search shows it in time, or a second one is refused: it is found, and used unchanged."""
    us.switch(unique=unique, index_lag=lag)
    us.fault("cut_after", CREATE, count=1)
    us.sync("time_entries")
    assert records(us) == 1
    us.sandbox.world.clock.advance(timedelta(seconds=lag))
    us.sync("locations")
    converged(us)
    changes_nothing(us)


def test_what_is_refused_as_there_and_never_shown_is_rejected(us: HighLevelTeam) -> None:
    """It exists once; the reason is reported, and a retry finds it when the search shows it."""
    us.switch(unique=True, index_lag=10 * WAIT)
    us.fault("cut_after", CREATE, count=1)
    us.sync("time_entries")
    with us.session() as session:
        (reject,) = list_rejects(session.store, session.pair, entity="time_entries", limit=10)
    assert "HighLevel says that it exists" in reject.reason
    assert records(us) == 1


def test_killed_at_any_moment_it_continues_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and after each request and each commit of creates, changes and deletes, with a search that lags."""
    with highlevel_team(tmp_path, **FEW) as us, killing(monkeypatch) as killer:
        us.sync()
        us.switch(index_lag=WAIT - 5)
        kills, owner = 0, us.users()[0]["id"]
        for moment in range(1, 200, 12):  # `make laws` kills at random moments of whole histories
            made = us.add_entry(owner, morning(2), description=f"at {moment}")
            killer.arm(moment)
            try:
                us.sync("time_entries", options=Options(allow_deletes=True))
            except Killed:
                kills += 1
            else:
                break
            finally:
                killer.arm(None)
            us.at_snapshots("time_entries")  # none is there twice
            us.sandbox.world.clock.advance(timedelta(seconds=3))
            if moment % 3 == 0:
                us.clockify("DELETE", f"/time-entries/{made['id']}")
            if moment % 3 == 1:
                us.change_entry(made, description="and changed")
        assert kills > 3
        us.sync(options=Options(allow_deletes=True))
        us.sandbox.world.clock.advance(timedelta(seconds=WAIT))
        converged(us)
        changes_nothing(us)


@pytest.mark.parametrize("ignored", [False, True])
def test_a_lost_ledger_finds_its_records_again(us: HighLevelTeam, ignored: bool) -> None:
    """Also where the search ignores its filters: then everything is read, and an empty answer is not trusted."""
    us.add_entry(us.users()[1]["id"], morning(3), description="another")
    us.sync()
    before = {row["id"] for row in us.stored("time_entries")}
    for file in us.home.glob("sync.db*"):
        file.unlink()
    us.switch(filters_ignored=ignored)
    counts = us.sync()["time_entries"]
    assert (counts.created, counts.adopted) == (0, 2)
    assert {row["id"] for row in us.stored("time_entries")} == before
    converged(us)
    changes_nothing(us)


def test_a_lost_ledger_of_many_records_costs_no_write(tmp_path: Path) -> None:
    """What is correct is linked. What the search shows in an older state, or with another title, is not."""
    with highlevel_team(tmp_path, **FEW | {"entries": 130}) as us:
        us.sync()
        first, second, *_ = us.entries()
        us.switch(index_lag=WAIT - 5)
        us.change_entry(first, description="for a moment")
        us.sync("time_entries")
        us.change_entry(first, description=first["description"])
        rows = us.stored("time_entries")
        titled, entries = next(row for row in rows if row["properties"]["time_entry_id"] == second["id"]), len(rows)
        us.edit("time_entries", id=titled["id"], properties={"title": "Typed by hand"})
        for file in us.home.glob("sync.db*"):
            file.unlink()
        us.forget_stats()
        counts = us.sync()["time_entries"]
        assert (counts.created, counts.adopted) == (0, entries)
        changed = [
            times for route, times in us.requests().items() if route.startswith("PUT") and "time_entries" in route
        ]
        assert sum(changed) == 2
        us.settle()
        converged(us)
        changes_nothing(us)


def test_an_object_that_was_emptied_by_hand_is_filled_again(tmp_path: Path) -> None:
    """One request each to see that it is deleted, one to create it, and a share of a search that proves that the object exists."""
    with highlevel_team(tmp_path, **FEW | {"entries": 60}) as us:
        us.sync()
        stored = us.stored("time_entries")
        for row in stored[1:]:
            us.edit("time_entries", id=row["id"], remove=True)
        us.edit("time_entries", id=stored[0]["id"], properties={"description": "Typed by hand"})
        us.settle()
        us.verify("time_entries")
        us.forget_stats()
        counts = us.sync("time_entries", options=Options(accept_rewrite=True))["time_entries"]
        assert (counts.created, counts.updated) == (len(stored) - 1, 1)
        assert _to_highlevel(us) <= 3 * len(stored) + 3  # fewer, as far as answers come at the same moment
        us.settle()
        converged(us)
        changes_nothing(us)


def test_what_was_updated_next_to_an_update_that_failed_is_noted(tmp_path: Path) -> None:
    """Several are sent at a time: of one that ends the run, the others keep their outcome and are not sent again."""
    with highlevel_team(tmp_path, **FEW | {"entries": 4}) as us:
        us.sync()
        with us.session() as session, session.store.writing() as tx:
            ours = stored_records.c.entity == "time_entries"
            tx.execute(update(stored_records).where(ours).values(delivered_hash=None))
        us.fault("status", "PUT */custom_objects.clockify_time_entries/records/*", status=403, count=1)
        with pytest.raises(SyncError):
            us.sync("time_entries")
        us.no_faults()
        us.forget_stats()
        us.sync("time_entries")
        assert [times for route, times in us.requests().items() if route.startswith("PUT")] == [1]
        us.settle()
        converged(us)


def test_a_record_that_a_person_made_with_our_key_is_adopted(us: HighLevelTeam) -> None:
    """What is there with the key of an entry becomes that entry; what we do not map stays."""
    (entry,) = us.entries()
    typed = {"title": "Typed by hand", "time_entry_id": entry["id"]}
    made = us.edit("time_entries", properties=typed)
    assert us.sync("time_entries")["time_entries"].adopted == 1
    (stored,) = us.stored("time_entries")
    assert stored["id"] == made["id"]
    assert stored["properties"]["title"] == "Draft of the landing page"


def test_a_key_that_was_changed_by_hand_is_put_right(us: HighLevelTeam) -> None:
    """The record is known by its id: a repair writes its key again, and makes no second one."""
    us.sync()
    (stored,) = us.stored("time_entries")
    us.edit("time_entries", id=stored["id"], properties={"time_entry_id": "mine now", "billable": "perhaps"})
    found = us.verify("time_entries")["time_entries"]
    assert {item.field for item in found.differences} == {"time_entry_id", "billable"}
    assert repaired(us).in_sync
    assert [row["id"] for row in us.stored("time_entries")] == [stored["id"]]
    converged(us)


def test_a_list_that_holds_less_than_it_says_is_not_believed(us: HighLevelTeam) -> None:
    """It is read again; then verify ends with that, and nothing counts as missing."""
    us.sync()
    us.switch(total_extra=1)
    us.forget_stats()
    with pytest.raises(FatalApiError, match="the list is incomplete: it should hold 2 records and holds 1"):
        us.verify("time_entries")
    us.switch(total_extra=0)
    us.no_faults()
    assert us.verify("time_entries")["time_entries"].in_sync


def test_an_answer_about_another_location_ends_the_run(us: HighLevelTeam) -> None:
    """A token that answers for its own location, whichever is named, writes nothing there."""
    other = next(key for key in us.at_snapshots("locations") if key != HOME)
    us.switch(own_location_only=True)
    with pytest.raises(FatalApiError, match=f"answers about {HOME} instead of {other}"):
        us.sync("time_entries", HIGHLEVEL_LOCATION_ID=other)
    us.switch(own_location_only=False)
    with pytest.raises(NotAuthorized, match="the token is for another sub-account"):
        us.sync("time_entries", HIGHLEVEL_LOCATION_ID=other)
    assert records(us) == 0


def test_a_location_that_may_not_be_seen_is_not_deleted(us: HighLevelTeam) -> None:
    """Without the agency's key only the own location is read; the client of another one is not archived for that."""
    us.sync("locations")
    clients = us.clients()
    with pytest.raises(NotAuthorized, match="the token is for another sub-account"):
        us.sync("locations", options=Options(allow_deletes=True), HIGHLEVEL_AGENCY_KEY="")
    assert us.clients() == clients


def test_a_deleted_location_is_archived(us: HighLevelTeam) -> None:
    """Its id is asked for, and HighLevel answers that there is none."""
    us.sync("locations")
    name = us.at_snapshots("locations").popitem()[1]["location_name"]
    (deleted,) = [key for key, row in us.at_snapshots("locations").items() if row["location_name"] == name]
    us.snapshots("DELETE", f"/locations/{deleted}")
    us.sync("locations", options=Options(allow_deletes=True), SYNC_MAX_DELETE_SHARE="1")
    assert us.client(name)["archived"]


def test_with_the_key_of_one_location_that_one_is_read(us: HighLevelTeam) -> None:
    """And its records are written as ever."""
    counts = us.sync(HIGHLEVEL_AGENCY_KEY="")
    assert (counts["locations"].created, counts["time_entries"].created) == (1, 1)


def test_a_day_that_is_used_up_ends_the_run_and_the_next_continues(us: HighLevelTeam) -> None:
    """A part of the day is left to others; what was delivered stays, the rest follows, and nothing is there twice."""
    for number in range(30):
        us.add_entry(us.users()[0]["id"], morning(2), description=f"number {number}")
    us.switch(day_left=2_020)
    with pytest.raises(RetryableApiError, match="the requests of this day are used up") as caught:
        us.sync("time_entries")
    assert "continues by itself" in caught.value.fix
    assert 5 < records(us) < 25  # some creates are under way in parallel
    us.forget_stats()
    with pytest.raises(RetryableApiError, match="used up"):
        us.sync("time_entries")
    assert _to_highlevel(us) == 0  # every process knows
    us.sandbox.world.clock.advance(timedelta(days=1))
    with clock_from(utc_now() + timedelta(minutes=16)):  # and looks again: nothing states when the day is over
        us.sync()
    assert len(us.at_snapshots("time_entries")) == 31
    changes_nothing(us)


def test_a_token_that_ends_in_the_middle_is_named(us: HighLevelTeam) -> None:
    """The setting that holds it is named; with a new one the rest follows."""
    us.fault(
        "status", CREATE, status=401, body='{"statusCode": 401, "message": "Invalid JWT", "error": "Unauthorized"}'
    )
    with pytest.raises(NotAuthorized, match=r"the token was not accepted \(Invalid JWT\).*SNAPSHOTS_API_KEY"):
        us.sync("time_entries")
    us.no_faults()
    us.sync()
    converged(us)


def test_a_scope_that_is_missing_is_named(us: HighLevelTeam) -> None:
    """With where to tick it."""
    us.switch(missing_scopes={"pit-sandbox-home": ["objects/record.write"]})
    with pytest.raises(SyncError, match=r"the scope objects/record.write is missing. Tick objects/record.write"):
        us.sync("time_entries")


def test_what_people_see_of_a_record(us: HighLevelTeam) -> None:
    """Title, day and hours are made of its fields, and follow when these change."""
    us.sync("time_entries")
    ((entry,), (stored,)) = us.entries(), us.stored("time_entries")
    seen = {name: stored["properties"][name] for name in ("title", "start_day", "hours", "billable", "start_time")}
    start = entry["timeInterval"]["start"]
    assert seen == {
        "title": "Draft of the landing page",
        "start_day": start[:10],
        "hours": 1,
        "billable": "yes",
        "start_time": start,
    }
    us.change_entry(entry, description="", end=entry["timeInterval"]["start"][:11] + "08:30:00Z", billable=False)
    us.sync("time_entries")
    (stored,) = us.stored("time_entries")
    assert {name: stored["properties"].get(name) for name in ("title", "hours", "billable", "description")} == {
        "title": "Time entry",
        "hours": 0.5,
        "billable": "no",
        "description": None,
    }


def test_how_many_requests_it_takes(tmp_path: Path) -> None:
    """One a create and one for 50 that are looked for first; nothing for what is unchanged; one for 100 that are compared."""
    with highlevel_team(tmp_path, entries=130, users=2, projects=1, clients=1, highlevel_locations=2) as us:
        us.sync("projects", "users", "locations")
        us.forget_stats()
        created = us.sync("time_entries")["time_entries"].created
        assert _to_highlevel(us) <= created * 1.02 + 3
        changes_nothing(us)
        assert _to_highlevel(us) <= 5
        us.forget_stats()
        assert us.verify("time_entries")["time_entries"].in_sync
        assert _to_highlevel(us) <= created / 100 + 2


def _to_highlevel(us: HighLevelTeam) -> int:
    return sum(times for route, times in us.requests().items() if " /highlevel/" in route)
