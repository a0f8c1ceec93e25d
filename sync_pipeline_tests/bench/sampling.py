"""``python -m sync_pipeline_tests.bench.sampling OUT WORD...``: run a command of ours and look all the time where it is.

A thread looks every few milliseconds at the stack of the main thread, and adds the time since the last look to a stage.
While the main thread waits for answers, the thread that reads them is looked at instead. That costs a few per cent,
where a profiler that sees every call would double the time of the smallest functions.
"""

from __future__ import annotations

import json
import sys
import threading
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
"""Where a thread stands that waits for another one, or for the network."""
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
    ("mapping/instants", "", "map"),
    ("stages/absence", "", "merge"),
    ("stages/load", "", "merge"),
)
"""The innermost function of ours with a row says the stage, by the first row that fits; one without is a helper of its caller."""
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


class Sampler(threading.Thread):
    """Adds up the time of each stage until it is stopped."""

    def __init__(self) -> None:
        super().__init__(name="sampler", daemon=True)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self._main = threading.main_thread().ident
        self._ended = threading.Event()

    def run(self) -> None:
        """Look until the end; a look that comes late stands for all the time since the last one."""
        before, used = perf_counter(), process_time()
        while not self._ended.wait(PAUSE_SECONDS):
            stage, now, uses = self._stage(), perf_counter(), process_time()
            self.seconds[stage] += now - before
            self.cpu[stage] += uses - used
            before, used = now, uses

    def _stage(self) -> str:
        frames: dict[int, FrameType] = sys._current_frames()
        main = frames.pop(self._main or 0, None)
        frames.pop(self.ident or 0, None)
        if not is_waiting(main):
            return stage_of(places_of(main))
        busy = [stage_of(places_of(frame)) for frame in frames.values() if not is_waiting(frame)]
        return next((stage for stage in busy if stage != OTHER), NETWORK)

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join()


def sampled(words: list[str]) -> dict[str, Any]:
    """Run the command in this process and say how long it was in which stage."""
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
