"""The wall clock is read in one place, which tests set."""

from __future__ import annotations

import ast
from datetime import UTC, datetime, timedelta

import pytest

from sync_pipeline.clock import clock_from, has_passed, unix_time, utc_now
from sync_pipeline.hosting.queue import FailurePause
from sync_pipeline_tests.generate import ROOT

READERS = {
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
    "time": {"time", "time_ns", "localtime", "gmtime", "ctime"},
}
"""What reads the wall clock, by the module or class it belongs to."""
CONVERTERS = {"localtime", "gmtime", "ctime"}
"""Given an instant they write it in another form."""
ALLOWED = {
    "sync_pipeline/clock.py",
    "sync_pipeline/sandbox/world.py",  # the sandbox has a clock of its own
    "sync_pipeline_tests/upgrades/write_install.py",  # runs with older versions, which have no such module
}


def readings(source: str) -> list[str]:
    """Where a module reads the wall clock: the line and the name."""
    nodes = list(ast.walk(ast.parse(source)))
    converting = {id(node.func) for node in nodes if isinstance(node, ast.Call) and node.args}
    found = []
    for node in nodes:
        match node:
            case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=name):
                if name in READERS.get(owner, ()) and not (id(node) in converting and name in CONVERTERS):
                    found.append(f"{node.lineno}: {owner}.{name}")
            case ast.ImportFrom(module="time", names=names):
                found += [f"{node.lineno}: time.{name.name}" for name in names if name.name in READERS["time"]]
    return found


def test_nothing_else_reads_the_wall_clock() -> None:
    """Product and tests: otherwise a test would pass at one hour and fail at another."""
    files = [path for top in ("sync_pipeline", "sync_pipeline_tests") for path in (ROOT / top).rglob("*.py")]
    found = {str(path.relative_to(ROOT)): lines for path in files if (lines := readings(path.read_text()))}
    assert found.keys() <= ALLOWED, found
    assert found["sync_pipeline/clock.py"]


@pytest.mark.parametrize(
    "source",
    [
        "datetime.now(UTC)",
        "datetime.datetime.utcnow()",
        "date.today()",
        "dt.date.today()",
        "time.time()",
        "f(now=time.time)",
        "from time import time",
        "time.gmtime()",
    ],
)
def test_every_way_to_read_it_is_found(source: str) -> None:
    """As a call, as a default argument, by an import."""
    assert readings(source)


@pytest.mark.parametrize(
    "source", ["clock.now()", "time.monotonic()", "time.gmtime(0)", "datetime.fromtimestamp(0, UTC)"]
)
def test_other_clocks_are_no_wall_clock(source: str) -> None:
    """The sandbox's, durations, and an instant in another form."""
    assert not readings(source)


@pytest.mark.parametrize(("ago", "passed"), [(-7200, True), (-1, True), (0, False), (59, False), (60, True)])
def test_an_instant_in_the_future_is_no_reason_to_wait(ago: int, passed: bool) -> None:
    """It was noted by a clock that has been set back since."""
    now = datetime(2026, 11, 25, 10, 43, tzinfo=UTC)
    assert has_passed(now - timedelta(seconds=ago), timedelta(seconds=60), now) is passed
    assert FailurePause(1, now - timedelta(seconds=ago), timedelta(seconds=60)).is_over(now) is passed
    assert has_passed(None, timedelta(seconds=60), now)


def test_the_clock_runs_on_from_where_it_was_set() -> None:
    """Every reader of this process has it, until it is the system's again."""
    leap_day = datetime(2028, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)
    with clock_from(leap_day):
        first, second = utc_now(), unix_time()
        assert timedelta() <= first - leap_day
        assert first.timestamp() <= second
        assert first.date() > leap_day.date() - timedelta(days=1)
    assert utc_now() < leap_day
