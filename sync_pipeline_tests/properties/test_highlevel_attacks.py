"""Answers of HighLevel that cannot be trusted, and moments at which a record would be made twice or lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from sync_pipeline.connectors.highlevel import search
from sync_pipeline.connectors.highlevel.canary import MARK
from sync_pipeline.errors import FatalApiError, RetryableApiError, SyncError
from sync_pipeline.setup import prepare
from sync_pipeline.stages.batch import Options
from sync_pipeline.stages.verify import verify
from sync_pipeline.store.schema import deliveries
from sync_pipeline_tests.harness import morning
from sync_pipeline_tests.highlevel import HighLevelTeam, highlevel_team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged
from sync_pipeline_tests.setup.services import setup_of

pytestmark = pytest.mark.clock

FEW = {"entries": 0, "users": 2, "projects": 1, "clients": 1, "highlevel_locations": 2}
CREATE = "POST */custom_objects.clockify_time_entries/records"
SEARCH = "POST */custom_objects.clockify_time_entries/records/search"
LAG, LONG = 20, 600


@pytest.fixture
def us(tmp_path: Path) -> Iterator[HighLevelTeam]:
    """A team with one time entry, whose users and projects are at HighLevel; no key is unique."""
    with highlevel_team(tmp_path, **FEW) as us:
        us.switch(unique=False)
        us.sync("projects", "users")
        us.add_entry(us.users()[0]["id"], morning(2), description="Draft of the landing page")
        yield us


async def end(_us: HighLevelTeam, _seconds: float) -> None:
    """Instead of sleeping."""
    raise SyncError("The run ends here.")


def records(us: HighLevelTeam) -> list[str]:
    """The ids of all time entries there are, the oldest first."""
    return [row["id"] for row in us.stored("time_entries")]


def repair(us: HighLevelTeam) -> None:
    """Mend and delete."""
    with us.session() as session:
        options = Options(allow_deletes=True)
        verify(session, session.specs["time_entries"], us.days, repair=True, options=options)


def test_a_clock_that_was_behind_shortens_no_wait(us: HighLevelTeam, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an interrupted create made is waited for, whatever instant its run noted."""
    us.switch(index_lag=LAG)
    us.fault("cut_after", CREATE, count=1)
    with monkeypatch.context() as patch:
        patch.setattr(HighLevelTeam, "sleep", end)
        with pytest.raises(SyncError, match="ends here"):
            us.sync("time_entries")
    assert len(records(us)) == 1
    with us.session() as session, session.store.writing() as tx:
        tx.execute(update(deliveries).values(at=session.now() - timedelta(hours=1)))
    us.sync("time_entries")
    assert len(records(us)) == 1


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_clock_of_highlevels_that_differs_changes_nothing(us: HighLevelTeam, hours: int) -> None:
    """An interrupted create is found, a change and a delete by hand are noticed, and nothing is written twice."""
    us.switch(index_lag=LAG)
    us.sandbox.world.clock.advance(timedelta(hours=hours))
    us.fault("cut_after", CREATE, count=1)
    us.sync("time_entries")
    assert len(records(us)) == 1
    us.change_entry(us.entries()[0], description="changed")
    us.sync("time_entries", "locations")
    us.settle()
    converged(us)
    us.edit("time_entries", id=records(us)[0], remove=True)
    us.settle()
    assert us.verify("time_entries")["time_entries"].missing == 1
    us.sync("time_entries")
    us.settle()
    converged(us)
    changes_nothing(us)


def test_another_record_with_its_key_hides_no_interrupted_create(us: HighLevelTeam) -> None:
    """One whose key was changed by hand is older, and belongs to another entry: the new one is found next to it."""
    us.sync("time_entries")
    (older,) = records(us)
    made = us.add_entry(us.users()[1]["id"], morning(3), description="another")
    us.edit("time_entries", id=older, properties={"time_entry_id": made["id"]})
    us.fault("cut_after", CREATE, count=1)
    us.sync("time_entries")
    assert len(records(us)) == 2


def copied(us: HighLevelTeam) -> tuple[str, str]:
    """The ids of one entry's two records, the older of which is linked, with a search that lags ten minutes."""
    us.switch(index_lag=LONG)
    us.fault("cut_after", CREATE, count=1)
    us.sync("time_entries")
    us.sandbox.world.clock.advance(timedelta(seconds=LONG))
    for file in us.home.glob("sync.db*"):
        file.unlink()
    us.sync()
    first, second = records(us)
    us.sandbox.world.clock.advance(timedelta(seconds=LONG))
    return first, second


def test_the_kept_one_of_two_has_to_exist(us: HighLevelTeam) -> None:
    """The older one is deleted by hand while the search still shows it: then the younger one stays."""
    first, second = copied(us)
    us.edit("time_entries", id=first, remove=True)
    repair(us)
    assert second in records(us)


def test_a_copy_that_was_given_another_key_is_not_removed(us: HighLevelTeam) -> None:
    """A person made something else of it, and the search does not show that yet."""
    _, second = copied(us)
    us.edit("time_entries", id=second, properties={"time_entry_id": "of somebody else"})
    repair(us)
    assert second in records(us)


def test_a_search_that_counts_only_so_far_is_read_to_its_end(us: HighLevelTeam) -> None:
    """Its total is no reason to stop: what follows would count as missing."""
    for number in range(100):
        us.add_entry(us.users()[0]["id"], morning(2), description=f"number {number}")
    us.sync()
    us.switch(total_most=50)
    found = us.verify("time_entries")["time_entries"]
    assert found.in_sync
    assert found.target == 101


@pytest.mark.parametrize("record", [{"properties": {}}, {"id": ["x"]}])
def test_a_new_record_without_an_id_ends_the_run(us: HighLevelTeam, record: Any) -> None:
    """Nothing is linked to it; the next run looks for it, and creates it if it is not there."""
    us.fault("status", CREATE, status=201, body={"record": record}, count=1)
    with pytest.raises(FatalApiError):
        us.sync("time_entries")
    us.sync()
    assert len(records(us)) == 1
    converged(us)
    changes_nothing(us)


def test_a_row_without_an_id_is_no_record(us: HighLevelTeam) -> None:
    """The list ends the run."""
    us.sync()
    us.fault("status", SEARCH, status=200, body={"records": [{"properties": {}}], "total": 1})
    with pytest.raises(FatalApiError, match="has no id"):
        us.verify("time_entries")


def test_filters_that_find_nothing_prove_nothing(us: HighLevelTeam) -> None:
    """A filter has to find a record that is there; else everything is read."""
    us.sync()
    for file in us.home.glob("sync.db*"):
        file.unlink()
    us.switch(filters_find_nothing=True)
    us.add_entry(us.users()[1]["id"], morning(3), description="another")
    us.fault("cut_after", CREATE, count=1)
    counts = us.sync()["time_entries"]
    assert (counts.created, counts.adopted) == (1, 1)
    assert len(records(us)) == 2
    changes_nothing(us)


def test_what_another_run_has_made_meanwhile_is_found(us: HighLevelTeam, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where everything has to be read, a run does not go by what it read before the other one was interrupted."""
    monkeypatch.setattr(search, "monotonic", us.sandbox.world.clock.epoch)
    us.switch(filters_ignored=True)
    us.sync()
    us.add_entry(us.users()[1]["id"], morning(3), description="another")
    with us.session() as first:
        us.sync_one(first, "time_entries", None, None)
        us.add_entry(us.users()[1]["id"], morning(4), description="one more")
        us.fault("cut_after", CREATE, count=1)
        with monkeypatch.context() as patch:
            patch.setattr(HighLevelTeam, "sleep", end)
            with pytest.raises(SyncError, match="ends here"):
                us.sync("time_entries")
        us.sync_one(first, "time_entries", None, None)
    assert len(records(us)) == 3


def test_what_a_measurement_left_behind_is_counted_nowhere(us: HighLevelTeam) -> None:
    """It was interrupted; the next one deletes it."""
    us.sync()
    users = len(us.stored("users"))
    us.edit("users", properties={"title": "sync-pipeline-canary", "user_id": f"{MARK}0123456789ab"})
    found = us.verify("users")["users"]
    assert (found.in_sync, found.foreign) == (True, 0)
    prepare.measure(setup_of(us, us.environ), us.sleep)
    assert len(us.stored("users")) == users


def test_a_delete_that_was_not_carried_out_is_no_delete(us: HighLevelTeam) -> None:
    """HighLevel answers 200 and reports that it failed: the run ends, and the next one deletes."""
    us.sync()
    ((entry,), (first,)) = us.entries(), records(us)
    us.clockify("DELETE", f"/time-entries/{entry['id']}")
    us.fault("status", "DELETE */records/*", status=200, body={"id": first, "success": False}, count=1)
    allowed = Options(allow_deletes=True)
    with pytest.raises(FatalApiError, match="it answered that nothing was deleted"):
        us.sync("time_entries", options=allowed)
    us.sync("time_entries", options=allowed)
    assert records(us) == []


def test_an_object_that_is_not_found_makes_no_record_missing(us: HighLevelTeam) -> None:
    """Its records read as missing, too: nothing is created again, deleted or forgotten, and the rest follows when it is back."""
    us.sync()
    ((entry,), before) = us.entries(), us.stored("time_entries")
    db = us.sandbox.world.db
    rows = [tuple(row) for row in db.execute("SELECT * FROM highlevel_objects")]
    db.execute("DELETE FROM highlevel_objects")
    us.change_entry(entry, description="changed")
    with pytest.raises(FatalApiError, match=r"the object custom_objects\.clockify_time_entries is not found"):
        us.sync("time_entries")
    us.clockify("DELETE", f"/time-entries/{entry['id']}")
    with pytest.raises(FatalApiError, match="is not found"):
        us.sync("time_entries", options=Options(allow_deletes=True))
    db.executemany("INSERT INTO highlevel_objects VALUES (?, ?, ?)", rows)
    assert us.stored("time_entries") == before
    us.sync("time_entries", options=Options(allow_deletes=True))
    assert records(us) == []


@pytest.mark.parametrize("status", [400, 404])
def test_a_location_that_is_not_found_makes_no_record_missing(us: HighLevelTeam, status: int) -> None:
    """The same words with another subject: the run ends, and the next one changes the record that is there."""
    us.sync()
    (first,) = records(us)
    words = {"statusCode": status, "message": "Location with id sandboxHomeLocation1 not found", "error": "Bad Request"}
    us.fault("status", "* */custom_objects.clockify_time_entries/records*", status=status, body=words)
    us.change_entry(us.entries()[0], description="changed")
    with pytest.raises(FatalApiError):
        us.sync("time_entries")
    us.no_faults()
    us.sync("time_entries")
    assert records(us) == [first]
    converged(us)


@pytest.mark.parametrize("total", [{}, {"total": 1}])
def test_a_list_that_repeats_a_page_is_not_complete(us: HighLevelTeam, total: dict[str, int]) -> None:
    """Without a total, or with one that counts less, nothing states what comes after it."""
    us.sync()
    page = {"records": us.stored("time_entries") * 100, **total}
    us.fault("status", SEARCH, status=200, body=page)
    with pytest.raises(FatalApiError, match="repeats a page"):
        us.verify("time_entries")


def test_locations_that_come_twice_are_not_all(us: HighLevelTeam) -> None:
    """The list of locations has no total: where it begins again, the clients of others are not archived."""
    us.sync("locations")
    clients = us.clients()
    home = us.control("GET", "highlevel/locations")["locations"][:1]
    us.fault("status", "GET */locations/search", status=200, body={"locations": home})
    with pytest.raises(FatalApiError, match="repeats a page"):
        us.sync("locations", options=Options(allow_deletes=True), SYNC_MAX_DELETE_SHARE="1")
    assert us.clients() == clients


def test_in_place_of_a_deleted_record_another_one_with_its_key_is_used(us: HighLevelTeam) -> None:
    """A person copied the record and deleted the first: the copy is taken over, also while the search shows both."""
    us.sync("time_entries")
    ((entry,), (first,)) = us.entries(), us.stored("time_entries")
    copy = us.edit("time_entries", properties=first["properties"])
    us.switch(index_lag=LONG)
    us.edit("time_entries", id=first["id"], remove=True)
    us.change_entry(entry, description="changed")
    us.sync("time_entries")
    assert records(us) == [copy["id"]]
    for file in us.home.glob("sync.db*"):
        file.unlink()
    us.sync()  # the search shows the deleted one first
    assert records(us) == [copy["id"]]
    converged(us)


def test_a_429_that_states_the_day_is_not_used_up_ends_the_run_and_the_next_continues(us: HighLevelTeam) -> None:
    """The header of the day states more than is true: nothing is lost, and nothing is there twice."""
    for number in range(12):
        us.add_entry(us.users()[0]["id"], morning(2), description=f"number {number}")
    headers = {
        "X-RateLimit-Limit-Daily": "200000",
        "X-RateLimit-Daily-Remaining": "150000",
        "X-RateLimit-Interval-Milliseconds": "10000",
    }
    words = {"statusCode": 429, "message": "Too Many Requests"}
    us.fault("status", CREATE, status=429, headers=headers, body=words, skip=3)
    with pytest.raises(RetryableApiError, match="too many requests"):
        us.sync("time_entries")
    assert 3 <= len(records(us)) < 13
    us.no_faults()
    us.sync()
    assert len(us.at_snapshots("time_entries")) == 13
    changes_nothing(us)
