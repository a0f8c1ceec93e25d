"""A loader whose lock was lost - a terminated connection, a failover - sends nothing more, and says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sync_pipeline.errors import LockLost
from sync_pipeline.session.progress import Progress, Report
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.properties.judge import converged
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


def load_without_lock(us: Team, entity: str, report: Report) -> None:
    """Sync, losing the lock meanwhile."""
    us.forget_stats()
    with us.session(report=report) as session, pytest.raises(LockLost, match=f"the lock for loading {entity}"):
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


@pytest.mark.parametrize(
    ("entity", "stage", "most", "prepare"),
    [
        ("time_entries", "load", 30, lambda us: us.sync("users", "projects")),  # 40 in batches of 10, two on the wire
        ("locations", "load", 1, rename_locations),
        ("time_entries", "delete", 1, delete_entries),
    ],
)
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
    monkeypatch.setattr("sync_pipeline.stages.deliver.PAGE", 10)
    prepare(us)
    load_without_lock(us, entity, losing(url, stage))
    assert 0 < sum(us.writes().values()) <= most
    us.sync()
    converged(us)
