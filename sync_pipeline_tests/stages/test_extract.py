"""Which reader of time entries is used, and that none of them misses anyone."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from sync_pipeline.session.progress import Progress
from sync_pipeline.stages.batch import Days
from sync_pipeline.stages.verify import verify
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged

pytestmark = pytest.mark.clock


def chosen(us: Team, *, comparing: bool = False) -> str:
    """Which reader one sync of time entries (or one verify) chose, and why."""
    reported: list[Progress] = []
    with us.session(report=reported.append) as session:
        if comparing:
            verify(session, session.specs["time_entries"], us.days)
        else:
            us.sync_one(session, "time_entries")
    (plan,) = [progress for progress in reported if progress.stage == "plan"]
    return plan.note


def test_the_lists_are_read_of_users_the_store_does_not_know(tmp_path: Path) -> None:
    """Someone who joined since the last sync of users - or whose record was rejected - has entries like anyone."""
    with team(tmp_path) as us:
        us.changes["CLOCKIFY_READER"] = "users"
        known = us.users()[:-1]
        us.fault("status", "GET */users", status=200, body=known, headers={"Last-Page": "true"})
        us.sync("users", "projects")
        us.no_faults()
        us.sync("time_entries")
        stopped = {entry["id"] for entry in us.entries() if entry["timeInterval"]["end"]}
        assert us.at_snapshots("time_entries").keys() == stopped
        us.sync()
        converged(us)
        changes_nothing(us)


def test_the_lists_are_chosen_only_while_everybody_we_know_of_is_listed(tmp_path: Path) -> None:
    """They need fewer requests for one person's quarter; as soon as someone has left, the report is read."""
    with team(tmp_path, users=2) as us:
        us.changes["SYNC_START_DATE"] = "2020-01-01"
        us.sync()
        assert chosen(us).startswith("read by `report` (expected requests: 1)")  # three weeks are one page of it
        years, reported = Days(date(2020, 1, 1), us.days.last), list[Progress]()
        with us.session(report=reported.append) as session:
            owner = session.call(session.clockify.me)["id"]
            us.sync_one(session, "time_entries", years)
            (other,) = [user["id"] for user in us.users() if user["id"] != owner]
            us.control("POST", "users", {"id": other, "remove": True})
            us.sync_one(session, "time_entries", years)
        first, second = [progress.note for progress in reported if progress.stage == "plan"]
        assert first.startswith("read by `users` (expected requests: 3): one list per user needs 3 requests")
        assert second.endswith(": only the report has the entries of those who left the workspace (1)")


def test_verify_does_not_ask_the_store_how_to_read(tmp_path: Path) -> None:
    """What a sync misses for a wrong belief, verify must find."""
    with team(tmp_path) as us:
        us.sync()
        assert chosen(us, comparing=True).endswith("the number of entries or users is not known yet")
