"""Answers of HighLevel that are not to be believed, and moments at which a record would be made twice or lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from sync_pipeline.connectors.highlevel import search
from sync_pipeline.connectors.highlevel.canary import MARK
from sync_pipeline.errors import FatalApiError, SyncError
from sync_pipeline.setup import prepare
from sync_pipeline.stages.check import Options
from sync_pipeline.stages.verify import verify
from sync_pipeline.store.schema import deliveries
from sync_pipeline_tests.harness import morning
from sync_pipeline_tests.highlevel import HighLevelTeam, highlevel_team
from sync_pipeline_tests.properties.judge import changes_nothing, converged
from sync_pipeline_tests.setup.desks import desk_of

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


def test_another_record_with_its_key_hides_no_interrupted_create(us: HighLevelTeam) -> None:
    """One whose key was changed by hand is older, and belongs to another entry: the new one is found beside it."""
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
    prepare.measure(desk_of(us, us.environ), us.sleep)
    assert len(us.stored("users")) == users


def test_a_delete_that_was_not_carried_out_is_no_delete(us: HighLevelTeam) -> None:
    """HighLevel answers 200 and says that it failed: the run ends, and the next one deletes."""
    us.sync()
    ((entry,), (first,)) = us.entries(), records(us)
    us.clockify("DELETE", f"/time-entries/{entry['id']}")
    us.fault("status", "DELETE */records/*", status=200, body={"id": first, "success": False}, count=1)
    allowed = Options(allow_deletes=True)
    with pytest.raises(FatalApiError, match="it answered that nothing was deleted"):
        us.sync("time_entries", options=allowed)
    us.sync("time_entries", options=allowed)
    assert records(us) == []
