"""Both sides are read and compared; what differs is named, and repaired when that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipeline.errors import CheckFailed
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.verify import verify
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.properties.invariants import changes_nothing

pytestmark = pytest.mark.clock


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team that is in step."""
    with team(tmp_path) as opened:
        opened.sync()
        yield opened


def test_sides_that_agree(us: Team) -> None:
    """Each is counted; running entries are excluded and no difference; comparing writes to neither side."""
    us.forget_stats()
    for entity, verdict in us.verify().items():
        assert verdict.in_sync, entity
        assert verdict.source == verdict.target > 0
        assert (verdict.differences, verdict.held_back, verdict.exit_code) == ([], "", 0)
    running = [entry for entry in us.entries() if not entry["timeInterval"]["end"]]
    assert us.verify("time_entries")["time_entries"].excluded == len(running)
    assert us.writes() == {}


def test_each_kind_of_difference_is_named(us: Team) -> None:
    """A record that is missing at the target, one that is there though its source is not, and one field that differs."""
    one, two, three = [entry for entry in us.entries() if entry["timeInterval"]["end"]][:3]
    us.snapshots("DELETE", f"/time_entries/{one['id']}")
    us.snapshots("PUT", f"/time_entries/{two['id']}", {"description": "by hand"})
    us.clockify("DELETE", f"/time-entries/{three['id']}")
    verdict = us.verify("time_entries")["time_entries"]
    assert (verdict.missing, verdict.different, verdict.extra) == (1, 1, 1)
    found = {(difference.kind, difference.record, difference.field) for difference in verdict.differences}
    assert found == {
        ("missing", one["id"], "*"),
        ("different", two["id"], "description"),
        ("extra", three["id"], "*"),
    }
    assert not verdict.in_sync


def test_a_repair_delivers_what_differs_and_compares_again(us: Team) -> None:
    """What it reports is the second comparison, and how many records it wrote."""
    key = us.projects()[0]["id"]
    us.snapshots("DELETE", f"/projects/{key}")
    verdict = us.verify("projects", repair=True)["projects"]
    assert (verdict.in_sync, verdict.repaired, verdict.missing) == (True, 1, 0)
    assert key in us.at_snapshots("projects")
    changes_nothing(us)


def test_a_repair_that_a_check_blocks_is_not_started(us: Team) -> None:
    """The verdict states why and what to do, with the exit code of a failed check; nothing is written."""
    us.snapshots("DELETE", f"/projects/{us.projects()[0]['id']}")
    us.forget_stats()
    changes = {"SYNC_MAX_REJECT_SHARE": "0", "SYNC_MIN_BLOCKING_REJECTS": "1"}
    rows = [{**project, "name": "N" * 251} for project in us.projects()]
    us.fault("status", "GET */projects", status=200, body=rows, headers={"Last-Page": "true"})
    verdict = us.verify("projects", repair=True, **changes)["projects"]
    assert verdict.exit_code == CheckFailed.exit_code
    assert verdict.held_back.startswith("projects cannot be repaired, since a check blocks the batch. valid_values: ")
    assert verdict.rejected == len(rows)
    assert us.writes() == {}


def test_days_that_are_not_compared_are_no_difference(us: Team) -> None:
    """Only entries of the days that were named are looked at, on both sides."""
    with us.session() as session:
        spec = session.specs["time_entries"]
        whole = verify(session, spec, us.days).source
        days = [Days(day, day) for day in {us.days.first, us.days.last}]
        parts = [verify(session, spec, span) for span in days]
    assert all(part.in_sync for part in parts)
    assert sum(part.source for part in parts) < whole
