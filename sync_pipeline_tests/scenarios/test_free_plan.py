"""Clockify's Free plan, whose 30 requests an hour are few: runs wait for their turn, and no one takes that for their end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import dagster as dg
import pytest

from sync_pipeline.clock import clock_from, utc_now
from sync_pipeline.hosting.liveness import LOCK_TAG, PROCESS_TAG, close_orphans
from sync_pipeline.session.session import open_session
from sync_pipeline.store.liveness import alive
from sync_pipeline_tests.defs.live import Live, live
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.properties.invariants import converged
from sync_pipeline_tests.store.conftest import Server, postgres
from sync_pipeline_tests.store.living import grow_old

__all__ = ["postgres"]  # a fixture of the store's tests

pytestmark = pytest.mark.clock
LOOKS = 10.0
"""Seconds between two looks of those who ask which runs have ended."""


@pytest.fixture(params=["sqlite", "postgresql"])
def us(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Team]:
    """A team of which no entry was read yet, in a workspace on the Free plan, whose limit the sandbox enforces."""
    with team(tmp_path / "team") as opened:
        if request.param == "postgresql":
            server: Server = request.getfixturevalue("postgres")
            opened.changes["SYNC_DATABASE_URL"] = server.create()
        opened.sync("locations", "users", "projects")
        opened.changes |= {"CLOCKIFY_PLAN": "free", "CLOCKIFY_READER": "report", "CLOCKIFY_PAGE_SIZE": "1"}
        opened.forget_stats()
        opened.control("POST", "options", {"requests_per_hour": 30})
        yield opened


@pytest.fixture
def on(us: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Its Dagster instance."""
    with live(us, tmp_path / "live", monkeypatch) as switched_on:
        yield switched_on


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes only while a run waits, so that nothing depends on how long a request really takes."""
    at = utc_now()

    class Frozen(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # SQLite takes no class of ours
            return at.astimezone(tz)

    monkeypatch.setattr("sync_pipeline.clock.datetime", Frozen)


def test_a_run_that_waits_an_hour_for_its_turn_is_not_declared_dead(us: Team, on: Live) -> None:
    """On another machine, whose process no one can see: only its lock shows that it lives. No request is refused."""
    run = on.instance.create_run_for_job(
        on.defs.resolve_job_def("sync_time_entries"),
        tags={PROCESS_TAG: "1@1@elsewhere", LOCK_TAG: "true"},
        status=dg.DagsterRunStatus.STARTED,
    )
    url, waited, looks = us.settings().store_url, timedelta(), 0

    with ExitStack() as stack:

        async def wait(seconds: float) -> None:
            nonlocal waited, looks
            left = seconds
            while left > 0:
                step = min(left, max(LOOKS, seconds / 20))
                stack.enter_context(clock_from(utc_now() + timedelta(seconds=step)))
                if url.startswith("postgresql"):
                    grow_old(url, step)  # the server has a clock of its own
                assert close_orphans(on.instance) == 0
                waited, left, looks = waited + timedelta(seconds=step), left - step, looks + 1

        with open_session(us.settings(), sleep=wait) as session, alive(session.store, run.run_id):
            us.sync_one(session, "time_entries")

        assert timedelta(minutes=50) < waited < timedelta(hours=3)
        assert looks > 20
        found = on.instance.get_run_by_id(run.run_id)
        assert found is not None
        assert found.status == dg.DagsterRunStatus.STARTED
        assert us.control("GET", "stats")["rate_limited"] == 0
        us.control("POST", "options", {"requests_per_hour": 0})
        converged(us)
