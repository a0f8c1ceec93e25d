"""Clocks that disagree: neither two processes minutes apart nor a clock set back change which read wins."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from sync_pipeline.clock import clock_from, utc_now
from sync_pipeline.sandbox.control.rules import FaultRule, read_rule
from sync_pipeline_tests.harness import Json, Team, day, morning, team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged
from sync_pipeline_tests.scenarios.commands import PATIENCE, start_ahead, wait_until
from sync_pipeline_tests.scenarios.dagster_runs import enter

REPORT = "POST */reports/detailed"
APART = timedelta(minutes=4)
EQUAL = timedelta()


@pytest.fixture
def us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Team]:
    """A team of two whose users and projects are delivered; entries are read with one report."""
    with team(tmp_path, users=2, projects=3, clients=1, locations=1, entries=0) as made:
        made.changes |= {"CLOCKIFY_READER": "report", "SYNC_MAX_ATTEMPTS": "1"}
        enter(made, monkeypatch)
        made.sync("users", "projects", "locations")
        yield made


@contextmanager
def _hold(us: Team) -> Iterator[FaultRule]:
    """Hold back the answer to the next report for as long as this lasts."""
    faults = us.sandbox.world.faults
    rule = faults.add(read_rule({"kind": "hold_after", "route": REPORT, "count": 1}))
    try:
        yield rule
    finally:
        faults.remove(rule)


def _start(us: Team, ahead: timedelta) -> subprocess.Popen[str]:
    """A `sync` of the last three days, in a process whose clock is ahead."""
    words = ("sync", "--entity", "time_entries", "--from", f"{day(2)}", "--to", f"{day(0)}", "--json")
    return start_ahead(ahead, us, *words)


def _succeeds(process: subprocess.Popen[str]) -> Json:
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, (out, err)
    document: Json = json.loads(out)
    assert document["success"]
    return document


def _entry(us: Team, words: str) -> Json:
    return us.add_entry(us.users()[0]["id"], morning(1), description=words)


def _at_target(us: Team) -> dict[str, str]:
    return {key: row["description"] for key, row in us.at_snapshots("time_entries").items()}


@pytest.mark.parametrize(("older_one", "newer_one"), [(APART, EQUAL), (EQUAL, APART)])
def test_the_newer_of_two_reads_wins_whatever_their_clocks_say(
    us: Team, older_one: timedelta, newer_one: timedelta
) -> None:
    """The older read ends later: what it read is not put over what the newer one delivered, and nothing is read as deleted."""
    edited, deleted = _entry(us, "before"), _entry(us, "deleted meanwhile")
    with _hold(us) as rule:
        older = _start(us, older_one)
        wait_until(lambda: rule.holding > 0 or older.poll() is not None)
        us.change_entry(edited, description="after")
        us.clockify("DELETE", f"/time-entries/{deleted['id']}")
        added = _entry(us, "added meanwhile")
        _succeeds(_start(us, newer_one))
    _succeeds(older)

    assert _at_target(us) == {edited["id"]: "after", added["id"]: "added meanwhile"}
    changes_nothing(us)


@pytest.mark.parametrize("back", [APART, timedelta(days=2)])
def test_a_clock_that_is_set_back_loses_no_later_change(us: Team, back: timedelta) -> None:
    """What is read after the clock was set back is newer than all that was read before."""
    edited, deleted = _entry(us, "first"), _entry(us, "to be deleted")
    _succeeds(_start(us, back))
    assert sorted(_at_target(us).values()) == ["first", "to be deleted"]

    us.change_entry(edited, description="second")
    us.clockify("DELETE", f"/time-entries/{deleted['id']}")
    _succeeds(_start(us, EQUAL))
    assert _at_target(us) == {edited["id"]: "second"}
    converged(us)
    changes_nothing(us)


def test_a_clock_that_is_set_back_between_read_and_load(us: Team) -> None:
    """A read that began by the old clock is overtaken by one of the new clock, and leaves it alone."""
    edited = _entry(us, "before")
    with _hold(us) as rule:
        long = threading.Thread(target=us.sync, args=("time_entries",))
        long.start()
        wait_until(lambda: rule.holding > 0)
        us.change_entry(edited, description="after")
        with clock_from(utc_now() - APART):
            us.sync("time_entries")
            us.sandbox.world.faults.remove(rule)
            long.join(PATIENCE)
    assert not long.is_alive()

    assert _at_target(us) == {edited["id"]: "after"}
    converged(us)
    changes_nothing(us)
