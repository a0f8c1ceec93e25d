"""How soon an edit in Clockify is at the target, by webhook, while a backfill runs."""

from __future__ import annotations

import json
import statistics
import threading
import time
from contextlib import closing
from dataclasses import dataclass

from sync_pipeline_tests.scale.fleet import Fleet, wait
from sync_pipeline_tests.scale.measure import Processor, backfill_words

EDITS, EVERY_SECONDS = 40, 3.0
LIMITS = {"dagster/backfill": 1, "sync_pipeline/bulk": 1}
"""Together fewer than there are workers, as deploy/README.md asks."""
MOST_SECONDS = 10.0
"""The aim: 95 of 100 edits are at the target within so long."""
PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Changes:
    """Seconds from an edit to its arrival while a backfill ran; for one that never arrived, how long it was waited for."""

    edits: int
    lost: int
    during_backfill: int
    """How many were made while it had not ended."""
    p50: float
    p95: float
    longest: float
    others: float
    """The share of this machine's processor that other programs used meanwhile."""

    @property
    def is_well(self) -> bool:
        """Whether all arrived, soon enough, and a backfill was under way."""
        return not self.lost and self.p95 <= MOST_SECONDS and self.during_backfill == self.edits


def measure_changes(fleet: Fleet) -> Changes:
    """Edit entries of a fleet that is in sync, while all days are filled again; the backfill starts again when it has ended."""
    fleet.go_live(LIMITS)
    fleet.start_receiver()
    entries = _delivered(fleet)
    ended = threading.Event()

    def fill() -> None:
        while not ended.is_set():
            fleet.on_control("sync-pipeline", *backfill_words(fleet), check=False)

    filling = threading.Thread(target=fill, name="backfill")
    filling.start()
    try:
        wait(lambda: fleet.running_backfill() > 0, PATIENCE, "the backfill to start")
        processor = Processor(fleet)
        seconds, during = _edits(fleet, entries)
        others = processor.others()
    finally:
        ended.set()
        fleet.on_control("sync-pipeline", "backfills", "cancel", check=False)
        filling.join()
    arrived = sorted(PATIENCE if one is None else one for one in seconds)
    return Changes(
        edits=len(seconds),
        lost=seconds.count(None),
        during_backfill=during,
        p50=round(statistics.median(arrived), 2),
        p95=round(statistics.quantiles(arrived, n=20)[-1], 2),
        longest=round(arrived[-1], 2),
        others=others,
    )


def _delivered(fleet: Fleet) -> list[str]:
    """Some entries that are at the target."""
    with closing(fleet.sql("sync")) as connection:
        statement = (
            "SELECT source_id FROM records WHERE entity = 'time_entries' AND delivered_hash IS NOT NULL LIMIT 200"
        )
        return [str(row[0]) for row in connection.execute(statement)]


def _edits(fleet: Fleet, entries: list[str]) -> tuple[list[float | None], int]:
    """One edit after the other, each timed by a thread of its own."""
    seconds: list[float | None] = []
    during, threads = 0, []
    for number in range(EDITS):
        entry, text = entries[number % len(entries)], f"during the backfill {number}"
        wait(lambda: fleet.running_backfill() > 0, PATIENCE, "the next backfill")  # it starts again when it has ended
        during += fleet.running_backfill() > 0
        _edit(fleet, entry, text)
        threads.append(threading.Thread(target=_time, args=(fleet, entry, text, seconds)))
        threads[-1].start()
        time.sleep(EVERY_SECONDS)
    for thread in threads:
        thread.join()
    return seconds, during


def _edit(fleet: Fleet, key: str, text: str) -> None:
    entry = fleet.clockify(f"/time-entries/{key}")
    interval = {name: entry["timeInterval"][name] for name in ("start", "end")}
    kept = {name: entry[name] for name in ("projectId", "taskId", "tagIds", "billable")}
    fleet.clockify(f"/time-entries/{key}", {**kept, **interval, "description": text})


def _time(fleet: Fleet, key: str, text: str, seconds: list[float | None]) -> None:
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE:
        if json.dumps(fleet.target(key)).find(text) >= 0:
            seconds.append(time.monotonic() - began)
            return
        time.sleep(0.1)
    seconds.append(None)
