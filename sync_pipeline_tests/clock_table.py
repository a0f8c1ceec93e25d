"""`make test-clock`: the tests that depend on days, at instants that have broken such tests, as one table."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from sync_pipeline.clock import unix_time
from sync_pipeline_tests.conftest import SYSTEM

INSTANTS = (
    ("2026-11-25T10:43:00", "UTC"),
    ("2026-11-29T23:50:00", "UTC"),
    ("2026-12-31T23:58:00", "UTC"),
    ("2027-01-01T00:05:00", "UTC"),
    ("2027-03-28T00:40:00", "Europe/Berlin"),  # summer time begins in twenty minutes
    ("2027-06-15T00:00:30", "UTC"),
    ("2028-02-29T12:10:00", "UTC"),
    ("2026-11-01T05:50:00", "America/New_York"),  # summer time ends in ten minutes: 01:50 comes twice
)
"""When, in UTC, and in which zone the machine is."""
LIBRARIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu")
IN_PROCESS = "clock and not outside"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the tests gave at one instant."""

    passed: int
    failed: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the table; 1 when a test failed anywhere."""
    parser = argparse.ArgumentParser(prog="make test-clock", description=__doc__)
    parser.add_argument("--libfaketime", action="store_true", help="set the system's clock instead, from outside")
    parser.add_argument("--instant", action="append", help="only this one of the instants; may be repeated")
    parser.add_argument("--workers", default="auto", help="processes for the tests of one instant (auto: one a core)")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest: paths, -k")
    given = parser.parse_args(arguments)
    library = faketime_library()
    if given.libfaketime and library is None:
        sys.stdout.write("skipped: libfaketime is not installed (Debian and Ubuntu: apt-get install libfaketime)\n")
        return 0
    is_well = True
    for instant, zone in INSTANTS:
        if given.instant and instant not in given.instant:
            continue
        found = run(instant, zone, ["-n", given.workers, *given.pytest], library if given.libfaketime else None)
        is_well &= found.passed > 0 and not found.failed
        sys.stdout.write(f"{instant}Z {zone:<18} {found.passed:>4} passed {len(found.failed):>3} failed\n")
        sys.stdout.writelines(f"    {name}\n" for name in found.failed)
        sys.stdout.flush()
    return 0 if is_well else 1


def run(instant: str, zone: str, arguments: Sequence[str], library: str | None) -> Outcome:
    """Run the marked tests at one instant."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}"]
        command += ["-m", IN_PROCESS if library else "clock", f"--clock={SYSTEM if library else instant}"]
        environ = {**os.environ, "TZ": zone, **(faked(instant, library) if library else {})}
        done = subprocess.run([*command, *arguments], env=environ, capture_output=True, text=True, check=False)
        if not report.exists():
            return Outcome(0, tuple(done.stdout.splitlines()[-5:]) or (done.stderr,))
        return outcome(report)


def outcome(report: Path) -> Outcome:
    """Read pytest's report."""
    cases = list(ET.parse(report).iter("testcase"))
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = sum(case.find("skipped") is not None for case in cases)
    names = (f"{case.get('classname')}::{case.get('name')}" for case in bad)
    return Outcome(len(cases) - len(bad) - skipped, tuple(names))


def faketime_library() -> str | None:
    """Where Debian keeps libfaketime for programs with threads; None where it is not installed."""
    places = (Path(place) / "faketime" / "libfaketimeMT.so.1" for place in LIBRARIES)
    return next((str(place) for place in places if place.exists()), None)


def faked(instant: str, library: str) -> dict[str, str]:
    """The variables that set the clock of a process from outside; what measures a duration runs as usual."""
    at = datetime.fromisoformat(instant).replace(tzinfo=UTC).timestamp() - unix_time()
    return {
        "LD_PRELOAD": library,
        "FAKETIME": f"{at:+.0f}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",  # else waits with a limit last too long: threads are ten times slower
    }


if __name__ == "__main__":
    sys.exit(main())
