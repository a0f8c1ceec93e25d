"""Records of ours that exist more than once at the target: named by verify, removed where a repair may delete."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sync_pipeline.connectors.preparation import Measured
from sync_pipeline.session.systems import note_measured
from sync_pipeline.stages.batch import Options
from sync_pipeline.stages.verify import verify
from sync_pipeline_tests.harness import morning
from sync_pipeline_tests.highlevel import HighLevelTeam, highlevel_team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged
from sync_pipeline_tests.properties.test_highlevel import CREATE, FEW, WAIT


def test_a_record_that_exists_twice_is_named_and_the_younger_one_removed(tmp_path: Path) -> None:
    """Where no key is unique and the search lags longer than is waited: verify names both, and a repair keeps the older."""
    with highlevel_team(tmp_path, **FEW) as us:
        us.sync("projects", "users")
        us.add_entry(us.users()[0]["id"], morning(2), description="Draft of the landing page")
        us.switch(unique=False, index_lag=10 * WAIT)
        us.fault("cut_after", CREATE, count=1)
        us.sync("time_entries")
        first, second = (row["id"] for row in us.stored("time_entries"))
        us.sandbox.world.clock.advance(timedelta(seconds=20 * WAIT))
        found = us.verify("time_entries")["time_entries"]
        assert not found.in_sync
        assert (found.extra, found.foreign) == (1, 0)
        assert {first, second} == set(str(found.differences[0].target).removeprefix("twice: ").split(" and "))
        us.verify("time_entries", repair=True)
        assert len(us.stored("time_entries")) == 2  # nothing is deleted unless that is allowed

        us.switch(index_lag=0)
        with us.session() as session:
            options = Options(allow_deletes=True)
            assert verify(session, session.specs["time_entries"], us.days, repair=True, options=options).in_sync
        assert [row["id"] for row in us.stored("time_entries")] == [first]
        us.sync("locations")
        converged(us)
        changes_nothing(us)


@pytest.mark.parametrize("comes_first", [True, False])
def test_a_record_of_another_integration_is_never_removed(tmp_path: Path, comes_first: bool) -> None:
    """Where it was measured what our records hold: the older of ours is kept, and a foreign one with our key is left alone."""
    with highlevel_team(tmp_path, **FEW) as us:
        measured(us)
        us.sync("projects", "users")
        entry = us.add_entry(us.users()[0]["id"], morning(2), description="Draft of the landing page")
        us.switch(unique=False, index_lag=10 * WAIT)
        theirs = [stranger(us, entry["id"])] if comes_first else []
        us.fault("cut_after", CREATE, count=1)
        us.sync("time_entries")
        first, _ = [row["id"] for row in us.stored("time_entries") if row["id"] not in theirs]
        theirs = theirs or [stranger(us, entry["id"])]
        us.sandbox.world.clock.advance(timedelta(seconds=20 * WAIT))
        for _ in range(2):
            with us.session() as session:
                options = Options(allow_deletes=True)
                verify(session, session.specs["time_entries"], us.days, repair=True, options=options)
        assert {row["id"] for row in us.stored("time_entries")} == {first, *theirs}
        with us.session() as session:
            assert session.ledger("time_entries").lookup([entry["id"]])[entry["id"]].target_id == first


def test_what_does_not_identify_us_is_not_believed(tmp_path: Path) -> None:
    """Another id for each record: as before it was measured, and the measurement reports it."""
    with highlevel_team(tmp_path, **FEW) as us:
        us.switch(sources_differ=True)
        assert all("does not say which integration" in one.detail for one in measured(us))
        with us.session() as session:
            target = session.target(session.specs["time_entries"])
            assert target.assigns_ids
            assert target.is_own({"@source": "PUBLIC_API", "@author": "any"})
            assert not target.is_own({"@source": "WEB_USER", "@author": "any"})


def measured(us: HighLevelTeam) -> list[Measured]:
    """What was measured, kept as `prepare` keeps it."""
    with us.session() as session:
        there = session.snapshots.preparation
        assert there is not None
        found = session.call(there.measure, list(session.specs.values()))
        note_measured(session.store, session.settings, found, session.now())
        return found


def stranger(us: HighLevelTeam, key: str) -> str:
    """A record that another integration makes with our key; its id."""
    author = {"source": "PUBLIC_API", "sourceId": "another integration"}
    made = us.edit("time_entries", properties={"title": "Theirs", "time_entry_id": key}, createdBy=author)
    return str(made["id"])
