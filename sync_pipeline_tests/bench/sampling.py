"""``python -m sync_pipeline_tests.bench.sampling OUT WORD...``: run a command of ours and look all the time where it is.

A signal interrupts the main thread every few milliseconds; it looks at its own stack, and adds the time since the last look
to a stage. While it waits for answers, what other threads compute counts for the stage that waits, and the rest is waiting.
That costs a few per cent, where a profiler that sees every call would double the time of the smallest functions. No thread
reads the stack of another one: Python 3.11 crashes or hangs when that is done often.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import perf_counter, process_time
from types import FrameType
from typing import Any

PAUSE_SECONDS = 0.002
PACKAGE = "sync_pipeline/"
DAGSTERS = ("defs/", "hosting/", "definitions")
WAITING = ("threading.py", "selectors.py", "_base.py", "queue.py")
"""Where a thread is that waits for another one, or for the network."""
START, NETWORK, OURS, DAGSTER, OTHER = "start-up", "waiting for answers", "the rest of ours", "Dagster", "other"

STAGES: tuple[tuple[str, str, str], ...] = (
    ("store/", "merge", "merge"),
    ("store/", "insert_fast", "stage"),
    ("store/staging", "", "stage"),
    ("stages/seal", "", "stage"),
    ("stages/validated", "", "stage"),
    ("mapping/canonical", "", "stage"),
    ("connectors/snapshots", "", "deliver"),
    ("stages/deliver", "", "deliver"),
    ("stages/plan", "", "deliver"),
    ("stages/link", "", "deliver"),
    ("stages/create", "", "deliver"),
    ("connectors/", "", "read"),
    ("stages/extract", "", "read"),
    ("mapping/frames", "", "read"),
    ("stages/batch_files", "", "Parquet"),
    ("stages/spool", "", "Parquet"),
    ("stages/check", "", "check"),
    ("stages/references", "", "check"),
    ("stages/guards", "", "check"),
    ("mapping/checks", "", "check"),
    ("stages/map", "", "map"),
    ("mapping/apply", "", "map"),
    ("mapping/transforms", "", "map"),
    ("mapping/convert", "", "map"),
    ("stages/absence", "", "merge"),
    ("stages/load", "", "merge"),
)
"""The innermost function of ours with a row decides the stage, by the first row that fits; one without is a helper of its caller."""
NAMES = (START, "read", NETWORK, "map", "check", "stage", "Parquet", "merge", "deliver", OURS, DAGSTER, OTHER)


def stage_of(places: Iterable[tuple[str, str]]) -> str:
    """The stage in which a thread is, by the files and functions on its stack, innermost first."""
    usual = OTHER
    for name, function in places:
        if name.startswith("<frozen importlib"):
            return START
        _, ours, file = name.rpartition(f"/{PACKAGE}")
        if ours and usual != DAGSTER and (found := _row(file, function)):
            return found
        if ours and usual == OTHER:
            usual = DAGSTER if file.startswith(DAGSTERS) else OURS
        elif "/dagster" in name and usual == OTHER:
            usual = DAGSTER
    return usual


def _row(file: str, function: str) -> str:
    return next(
        (stage for prefix, name, stage in STAGES if file.startswith(prefix) and name in ("", function)),
        "",
    )


def places_of(frame: FrameType | None) -> Iterator[tuple[str, str]]:
    """File and function, from the innermost outwards."""
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_code.co_name
        frame = frame.f_back


def is_waiting(frame: FrameType | None) -> bool:
    """Whether a thread does nothing but wait."""
    return frame is not None and Path(frame.f_code.co_filename).name in WAITING


class Sampler:
    """Adds up the time of each stage until it is stopped."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self._before, self._used = perf_counter(), process_time()
        self._has_ended = False

    def start(self) -> None:
        """Look from now on; in the main thread."""
        signal.signal(signal.SIGALRM, self._look)
        signal.siginterrupt(signal.SIGALRM, False)
        signal.setitimer(signal.ITIMER_REAL, PAUSE_SECONDS)

    def _look(self, _signal: int, frame: FrameType | None) -> None:
        """Add the time since the last signal; also of one that comes late, since the stack has not changed meanwhile."""
        stage, now, uses = stage_of(places_of(frame)), perf_counter(), process_time()
        passed, used = now - self._before, uses - self._used
        computed = min(used, passed) if is_waiting(frame) else passed
        self.seconds[stage] += computed
        self.seconds[NETWORK] += passed - computed
        self.cpu[stage] += used
        self._before, self._used = now, uses
        if not self._has_ended:
            # One-shot: a signal that comes during this function would count the time twice.
            signal.setitimer(signal.ITIMER_REAL, PAUSE_SECONDS)

    def stop(self) -> None:
        """Look no more."""
        self._has_ended = True
        signal.setitimer(signal.ITIMER_REAL, 0)


def sampled(words: list[str]) -> dict[str, Any]:
    """Run the command in this process and return how long it was in which stage."""
    sampler = Sampler()
    sampler.start()
    from sync_pipeline.cli import main

    sys.argv = ["sync-pipeline", *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
    finally:
        sampler.stop()
    return {"seconds": sampler.seconds, "cpu": sampler.cpu}


if __name__ == "__main__":
    OUT, *WORDS = sys.argv[1:]
    Path(OUT).write_text(json.dumps(sampled(WORDS)))
