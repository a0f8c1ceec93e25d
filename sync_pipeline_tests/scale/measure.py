"""How fast a fleet loads, what that takes of requests and memory, and how soon a worker begins a run it has taken."""

from __future__ import annotations

import re
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from math import ceil

import dagster as dg
import psutil
from dagster._core.storage.tags import BACKFILL_ID_TAG

from sync_pipeline.hosting.launch import RANGE_END, RANGE_START
from sync_pipeline.hosting.liveness import PROCESS_TAG
from sync_pipeline_tests.scale.fleet import PAGE, Fleet

BATCH = 500
"""Records in one write to the target."""
MOST_REQUESTS, MOST_MEGABYTES, START_SECONDS = 1.05, 400, 1.0
"""The aims: requests to the minimum, the memory of a worker, and seconds from a task to the first event of its run."""
LOOK_SECONDS = 2.0
RECEIVED = re.compile(r"^\[(.{23}): INFO/MainProcess\] Task .*\[(\S+)\] received", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Speed:
    """One backfill of all days."""

    workers: int
    entries: int
    missing: int
    """Entries of the source, but for running timers, that were not delivered."""
    seconds: float
    runs: dict[str, int]
    requests: dict[str, int]
    minimum: int
    limited: int
    """Requests that the vendors refused because they were over the limit."""
    megabytes: dict[str, int]
    """The most that each program used, with its processes."""
    stored: dict[str, int]
    """Megabytes of the databases afterwards."""
    cpu: dict[str, float]
    """Seconds of the processor by program."""
    others: float
    """The share of this machine's processor that other programs used meanwhile."""
    start_seconds: tuple[float, float]
    """From a task that a worker has received to the first event of its run: the median, and the longest."""
    unmaterialized: int
    """Partitions that were not materialized exactly once."""
    in_sync: bool

    @property
    def per_second(self) -> float:
        """Entries a second."""
        return self.entries / self.seconds

    @property
    def worker_megabytes(self) -> int:
        """The most that one worker used."""
        return max(used for name, used in self.megabytes.items() if name.startswith("worker "))

    def problems(self) -> Iterator[str]:
        """What is not as it should be."""
        asked = sum(self.requests.values())
        if asked > self.minimum * MOST_REQUESTS:
            yield f"{asked} requests are more than {MOST_REQUESTS} times the minimum of {self.minimum}"
        if self.limited:
            yield f"{self.limited} requests were over the limit"
        if self.worker_megabytes > MOST_MEGABYTES:
            yield f"a worker used {self.worker_megabytes} MB, {MOST_MEGABYTES} are allowed"
        if len(self.runs) != self.workers:
            yield f"of {self.workers} workers {len(self.runs)} had runs"
        if self.unmaterialized:
            yield f"{self.unmaterialized} partitions were not materialized exactly once"
        if self.missing:
            yield f"{self.missing} entries are missing"
        if not self.in_sync:
            yield "the sides differ"


@dataclass(slots=True)
class Processor:
    """What this machine's processor is used for."""

    fleet: Fleet
    _used: dict[str, float] = field(init=False)
    _busy: float = field(init=False)
    _since: float = field(init=False)

    def __post_init__(self) -> None:
        self._used, self._busy, self._since = self.fleet.processor(), _busy(), time.monotonic()

    def used(self) -> dict[str, float]:
        """Seconds by program of the fleet, since this was made."""
        now = self.fleet.processor()
        return {name: round(seconds - self._used.get(name, 0.0), 1) for name, seconds in now.items()}

    def others(self) -> float:
        """The share that other programs had."""
        total = (time.monotonic() - self._since) * (psutil.cpu_count() or 1)
        return round((_busy() - self._busy - sum(self.used().values())) / total, 2)


def _busy() -> float:
    spent = psutil.cpu_times()
    return float(sum(spent) - spent.idle - getattr(spent, "iowait", 0.0) - getattr(spent, "guest", 0.0))


@dataclass(slots=True)
class Watch:
    """The most memory that programs used."""

    most: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def watching(self, fleet: Fleet) -> Iterator[None]:
        """Look at them again and again during the block."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(LOOK_SECONDS):
                for name, used in fleet.memory().items():
                    self.most[name] = max(used // 2**20, self.most.get(name, 0))

        thread = threading.Thread(target=look, name="memory")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def measure(fleet: Fleet) -> Speed:
    """One backfill of all days, from its first run's start to its last run's end."""
    watch = Watch()
    fleet.vendors("stats/reset", {})
    processor = Processor(fleet)
    with watch.watching(fleet):
        fleet.on_control("sync-pipeline", *backfill_words(fleet), check=False)
    cpu, others, stats = processor.used(), processor.others(), fleet.vendors("stats")
    with fleet.instance() as instance:
        records = [each for each in instance.get_run_records() if BACKFILL_ID_TAG in each.dagster_run.tags]
        starts = sorted(_start_seconds(fleet, instance))
    begin, end = min(r.start_time or 0 for r in records), max(r.end_time or 0 for r in records)
    entries = fleet.delivered()
    return Speed(
        workers=fleet.workers,
        entries=entries,
        missing=fleet.stopped_entries() - entries,
        seconds=round(end - begin, 1),
        runs=dict(Counter(r.dagster_run.tags.get(PROCESS_TAG, "@?").rpartition("@")[2] for r in records)),
        requests=dict(stats["requests"]),
        minimum=sum(_minimum(fleet, record.dagster_run) for record in records),
        limited=stats["rate_limited"],
        megabytes=watch.most,
        stored=fleet.stored(),
        cpu=cpu,
        others=others,
        start_seconds=(round(statistics.median(starts), 2), round(starts[-1], 2)),
        unmaterialized=_unmaterialized(fleet),
        in_sync=fleet.is_in_sync(),
    )


def backfill_words(fleet: Fleet) -> list[str]:
    """The words of the command that fills all days."""
    begin, end = fleet.days()
    return ["backfill", "--from", begin.isoformat(), "--to", end.isoformat(), "--json"]


def _minimum(fleet: Fleet, run: dg.DagsterRun) -> int:
    """The fewest requests of a run: full pages of its entries, full writes, and for today the list of running timers."""
    first, last = (date.fromisoformat(run.tags[name]) for name in (RANGE_START, RANGE_END))
    bounds = [
        datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() for day in (first, last + timedelta(days=1))
    ]
    count = fleet.stopped_entries(*bounds)
    return max(1, ceil(count / PAGE)) + ceil(count / BATCH) + (last == fleet.days()[1])


def _unmaterialized(fleet: Fleet) -> int:
    """How many days were not materialized exactly once."""
    begin, end = fleet.days()
    counts = fleet.materializations()
    days = [(begin + timedelta(days=number)).isoformat() for number in range((end - begin).days + 1)]
    return sum(counts.get(day, 0) != 1 for day in days)


def _start_seconds(fleet: Fleet, instance: dg.DagsterInstance) -> Iterator[float]:
    """From the line in the log of a worker that it has received a run to that run's start."""
    for name in fleet.at_work:
        log = (fleet[name].home / "worker.log").read_text(errors="replace")
        for moment, run_id in RECEIVED.findall(log):
            record = instance.get_run_record_by_id(run_id)
            if record is not None and record.start_time:
                received = datetime.strptime(moment, "%Y-%m-%d %H:%M:%S,%f").astimezone()
                yield record.start_time - received.timestamp()
