"""Records of ours that exist more than once at the target: named by verify, removed where a repair may delete."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from sync_pipeline.stages.check import Options
from sync_pipeline.stages.verify import verify
from sync_pipeline_tests.harness import morning
from sync_pipeline_tests.highlevel import highlevel_team
from sync_pipeline_tests.properties.judge import changes_nothing, converged
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
