"""Each attempt to sync an entity leaves one row, also one that ended before anything was loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipeline.stages.batch import Batch, Days
from sync_pipeline.stages.journal import Ended, begin_sync, note_sync
from sync_pipeline.store.events import Received, content_id, receive_many
from sync_pipeline.store.syncs import by_run
from sync_pipeline_tests.harness import Team, team


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team of which nothing was read yet."""
    with team(tmp_path, users=1, projects=1, clients=1, locations=1, entries=0) as opened:
        yield opened


def batch(us: Team, *events: int) -> Batch:
    """A batch that was read and answers these events."""
    at = f"{us.days.first.isoformat()}T10:00:00+00:00"
    return Batch([], {"observed_at": at, "read_no": 5, "events": list(events)})


def test_a_sync_that_loaded_nothing_is_kept_with_its_reason(us: Team) -> None:
    """Days, figures, requests and why; it was never loaded."""
    with us.session() as session:
        spec, days = session.specs["time_entries"], Days(us.days.first, us.days.first)
        ended = Ended("blocked", {"extracted": 3}, 7, "valid_values: 3 of 3 records fail")
        note_sync(session, spec, batch(us), days, ended, run_id="r")
        (found,) = by_run(session.store, ["r"])
    assert (found.entity, found.outcome, found.requests) == ("time_entries", "blocked", 7)
    assert found.reason == "valid_values: 3 of 3 records fail"
    assert found.counts == {"extracted": 3}
    assert found.finished_at is not None
    assert found.loaded_at is None


def test_the_events_of_its_batch_stay_open_with_the_reason(us: Team) -> None:
    """Nothing was loaded, so nothing was answered."""
    with us.session() as session:
        spec = session.specs["users"]
        event = Received(content_id("USER_UPDATED", "u", {}), "USER_UPDATED", "users", "u", "{}", session.now())
        receive_many(session.store, session.pair, "clockify", [event])
        (one,) = session.ledger(spec).events.open_events(10)
        note_sync(session, spec, batch(us, one.id), None, Ended("failed", {}, 1, "no answer"), run_id="r")
        (left,) = session.ledger(spec).events.open_events(10)
    assert (left.id, left.reason) == (one.id, "no answer")


def test_a_sync_that_has_started_is_open(us: Team) -> None:
    """Until it is finished it has no outcome."""
    with us.session() as session:
        begin_sync(session, session.specs["users"], batch(us), None, run_id="r")
        (found,) = by_run(session.store, ["r"])
    assert (found.outcome, found.finished_at) == (None, None)
