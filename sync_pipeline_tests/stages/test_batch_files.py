"""Staged batches hold personal data: who may read them, and when they are removed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sync_pipeline.clock import unix_time
from sync_pipeline.errors import CheckFailed
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.scenarios.commands import kill_when, start
from sync_pipeline_tests.scenarios.dagster_runs import enter, instance_of, sync

pytestmark = pytest.mark.clock

BATCH = "POST /snapshots/projects/batch"
DAY = 86_400


def staged(us: Team) -> list[Path]:
    """What is in the directory of batches."""
    return sorted((us.home / "batches").glob("*"))


def age(directory: Path, days: float) -> None:
    """Make it and all in it look as if nothing had happened there for so long."""
    then = unix_time() - days * DAY
    for path in (*directory.rglob("*"), directory):
        os.utime(path, (then, then))


def modes(directory: Path) -> set[str]:
    """The modes of a directory and all in it."""
    return {stat.filemode(path.stat().st_mode) for path in (directory, *directory.rglob("*"))}


def test_a_success_and_a_dry_run_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a file, not even the directory of the run."""
    with team(tmp_path) as us:
        enter(us, monkeypatch)
        with instance_of(us) as instance:
            assert sync(us, instance, "users", dry_run=True).success
            assert staged(us) == []
            assert sync(us, instance, "users").success
            assert staged(us) == []


def test_what_a_failed_run_staged_is_its_owners_and_is_removed_after_some_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept as long as the setting states, for a re-execution; the first run after that discards it."""
    with team(tmp_path) as us:
        us.changes |= {"SYNC_MAX_ATTEMPTS": "1", "SYNC_KEEP_BATCHES_DAYS": "2"}
        enter(us, monkeypatch)
        with instance_of(us) as instance:
            us.fault("status", BATCH, status=503)
            failed = sync(us, instance, "projects")
            us.no_faults()
            (kept,) = staged(us)
            assert kept.name == failed.run_id
            assert modes(us.home / "batches") == {"drwx------", "-rw-------"}
            age(kept, 1.9)
            assert sync(us, instance, "users").success
            assert staged(us) == [kept]
            age(kept, 2.1)
            assert sync(us, instance, "users").success
            assert staged(us) == []


def test_a_batch_that_grows_is_not_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that continues for days adds parts to its file: that counts, not when the run began."""
    with team(tmp_path) as us:
        us.changes |= {"SYNC_MAX_ATTEMPTS": "1"}
        enter(us, monkeypatch)
        with instance_of(us) as instance:
            us.fault("status", BATCH, status=503)
            sync(us, instance, "projects")
            us.no_faults()
            (kept,) = staged(us)
            age(kept, 10)
            added = kept / "projects.parquet"
            os.utime(added, (unix_time(), unix_time()))
            assert sync(us, instance, "users").success
            assert staged(us) == [kept]


@pytest.mark.outside
def test_what_a_killed_preview_left_is_removed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`kill -9` in the middle of a read leaves its directory; a run some days later discards it."""
    with team(tmp_path) as us:
        us.fault("stall", "GET /clockify/api/v1/workspaces/{ws}/users", seconds=30)
        assert kill_when(start(us, "preview", "--entity", "users"), lambda: bool(staged(us)))
        us.no_faults()
        (left,) = staged(us)
        assert left.name.startswith("prepared-")
        age(left, 30)
        enter(us, monkeypatch)
        with instance_of(us) as instance:
            assert sync(us, instance, "users").success
        assert staged(us) == []


def test_a_batch_of_other_accounts_is_refused(tmp_path: Path) -> None:
    """Re-executed after the accounts were changed, a run does not deliver what it read from those of before."""
    with (
        team(tmp_path / "one", seed=7) as one,
        team(tmp_path / "two", seed=9, users=1, projects=0, entries=0, locations=0, clients=0) as two,
    ):
        one.sync("users")
        two.home = one.home
        two.sync("users")
        with one.session() as session:
            batch = one.validated(session, "projects")
        with (
            two.session() as session,
            pytest.raises(CheckFailed, match=r"belongs to other accounts than those that are set up now.*read again"),
        ):
            two.load(session, "projects", batch)
        assert two.at_snapshots("projects") == {}
