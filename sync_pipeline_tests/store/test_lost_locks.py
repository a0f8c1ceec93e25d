"""A run whose lock was lost - a terminated connection, a failover - sends nothing without it, and states what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sync_pipeline.errors import LockLost
from sync_pipeline.session.progress import Progress, Report
from sync_pipeline.store import liveness
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged
from sync_pipeline_tests.properties.test_faults import small_pages
from sync_pipeline_tests.store.conftest import Server, end_locks


@pytest.fixture
def url(postgres: Server) -> str:
    """An empty database on PostgreSQL, where a lock is as safe as its connection."""
    return postgres.emptied()


@pytest.fixture
def us(tmp_path: Path, url: str) -> Iterator[Team]:
    """A team whose records travel in small batches."""
    with team(tmp_path) as made:
        small_pages(made)
        made.changes["SYNC_DATABASE_URL"] = url
        yield made


def losing(url: str, stage: str) -> Report:
    """Ends the lock's connection when the first answer of this stage has been written down."""
    ended: list[int] = []

    def report(progress: Progress) -> None:
        if progress.stage == stage and progress.done and not ended:
            ended.append(end_locks(url))

    return report


def load_without_lock(us: Team, entity: str, report: Report, lock: str) -> None:
    """Sync, losing the lock meanwhile."""
    us.forget_stats()
    with us.session(report=report) as session, pytest.raises(LockLost, match=lock):
        us.sync_one(session, entity)


def rename_locations(us: Team) -> None:
    """Four clients to be updated, one request each."""
    us.sync("locations")
    for key in us.at_snapshots("locations"):
        us.put_location(key, location_name=f"New {key}")


def delete_entries(us: Team) -> None:
    """Two entries to be deleted, one request each."""
    us.sync("users", "projects", "time_entries")
    for entry in [entry for entry in us.entries() if entry["timeInterval"]["end"]][:2]:
        us.clockify("DELETE", f"/time-entries/{entry['id']}")


CASES = [
    ("time_entries", "load", 30, lambda us: us.sync("users", "projects")),  # 40 in batches of 10, two on the wire
    ("locations", "load", 1, rename_locations),
    ("time_entries", "delete", 1, delete_entries),
]


@pytest.mark.parametrize(("entity", "stage", "most", "prepare"), CASES)
def test_no_page_is_sent_without_the_lock(
    us: Team,
    url: str,
    entity: str,
    stage: str,
    most: int,
    prepare: Callable[[Team], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was on the wire is remembered, the rest stays pending, and the next sync delivers it."""
    monkeypatch.setattr("sync_pipeline.stages.plan.PAGE", 10)
    prepare(us)
    with monkeypatch.context() as patch:
        patch.setattr(liveness, "RETAKE_SECONDS", 0.0)  # the run cannot have its own lock again in time
        load_without_lock(us, entity, losing(url, stage), "the lock of the run")
    assert 0 < sum(us.writes().values()) <= most
    us.sync()
    converged(us)


@pytest.mark.parametrize(
    ("entity", "stage", "prepare"), [(case[0], case[1], case[3]) for case in CASES if case[0] != "locations"]
)
def test_a_run_that_has_its_lock_again_continues_with_its_claims(
    us: Team, url: str, entity: str, stage: str, prepare: Callable[[Team], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other run took them over in the meantime, so all is delivered, each record once."""
    monkeypatch.setattr("sync_pipeline.stages.plan.PAGE", 10)
    prepare(us)
    us.forget_stats()
    with us.session(report=losing(url, stage)) as session:
        counts = us.sync_one(session, entity)
    assert 0 < sum(us.writes().values()) == counts.writes
    us.sync("locations")
    converged(us)
    changes_nothing(us)


def test_names_are_given_by_one_run_at_a_time(us: Team, url: str) -> None:
    """Where the target gives out the ids another run may decide about names now: the lock is not taken again."""
    rename_locations(us)
    load_without_lock(us, "locations", losing(url, "load"), "the lock for writing locations")
    assert sum(us.writes().values()) == 1
    us.sync()
    converged(us)
