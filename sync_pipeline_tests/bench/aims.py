"""The figures of a bench, each next to its aim."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sync_pipeline_tests.bench.dashboard import CATALOGUE, PageTime
from sync_pipeline_tests.bench.latency import Latency
from sync_pipeline_tests.bench.rounds import (
    AGAIN,
    BARE,
    FIRST,
    HIGHLEVEL,
    POSTGRESQL,
    PREVIEW,
    SQLITE,
    VERIFY,
    Measured,
)
from sync_pipeline_tests.bench.workers import Together

FIXED = 3.0
"""Seconds of a sync without entries."""
RATIOS = {FIRST: 2.5, AGAIN: 1.5}
"""What an entry may take, in times of the bare reader."""
MEGABYTES, FLAT = 380, 1.1
"""The most memory a command may take, and how much more of it with the most entries than with the fewest."""
PAGE = 300
"""Milliseconds of a page of the dashboard with a million entries."""
CATALOGUE_PAGE = 100
"""Milliseconds of a page of the catalogue of operations."""
SHARED = 1 / 2.2
"""The time of three workers, in times of that of one."""
FEW = 10_000
"""Below so many entries memory still grows with what is read once."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure; without an ``aim`` it is only printed."""

    name: str
    value: float
    unit: str
    aim: float | None = None

    @property
    def is_reached(self) -> bool | None:
        """Whether the figure is at most its aim; None where there is none."""
        return None if self.aim is None else self.value <= self.aim


def figures(
    measured: Measured,
    latencies: Sequence[Latency] = (),
    pages: Sequence[PageTime] = (),
    workers: Sequence[Together] = (),
) -> list[Figure]:
    """Everything that was measured and has an aim, and what it is made of."""
    return [
        *_fixed(measured),
        *_per_entry(measured),
        *_requests(measured),
        *_databases(measured),
        *_memory(measured, SQLITE),
        *_highlevel(measured),
        *_memory(measured, HIGHLEVEL, "HighLevel: "),
        *_large(measured),
        *(Figure(f"an edit arrives by {one.way}, p95", one.p95, "s", _p95(one)) for one in latencies),
        *_pages("dashboard", [one for one in pages if one.path not in CATALOGUE], PAGE),
        *_pages("catalogue", [one for one in pages if one.path in CATALOGUE], CATALOGUE_PAGE),
        *_workers(workers),
    ]


def _pages(of: str, found: Sequence[PageTime], aim: float) -> Iterator[Figure]:
    if found:
        yield Figure(f"the slowest page of the {of}, CPU", max(one.cpu_ms for one in found), "ms", aim)


def _workers(found: Sequence[Together]) -> Iterator[Figure]:
    seconds = {one.workers: one.seconds for one in found}
    if 1 in seconds and 3 in seconds:
        yield Figure("three workers, to one", round(seconds[3] / seconds[1], 2), "x", round(SHARED, 2))
    if found:
        yield Figure("requests over the limit, all workers together", max(one.refused for one in found), "", 0)


def _p95(latency: Latency) -> float | None:
    return 5.0 if latency.way == "webhook" else None


def _fixed(measured: Measured) -> Iterator[Figure]:
    for command in (FIRST, AGAIN):
        if (seconds := measured.seconds(SQLITE, command, 0)) is not None:
            yield Figure(f"fixed: no entries, {command}", seconds, "s", FIXED)


def _per_entry(measured: Measured) -> Iterator[Figure]:
    for command, aim in RATIOS.items():
        ours, bare = measured.per_entry(SQLITE, command), measured.per_entry(BARE, command)
        if ours is not None and bare is not None:
            yield Figure(f"per entry, {command}", ours, "us")
            yield Figure(f"per entry, {command}, bare reader", bare, "us")
            if bare > 0 < ours:  # few entries on a busy machine can seem to take less than none
                yield Figure(f"per entry, {command}, to the bare reader", ours / bare, "x", aim)


def _requests(measured: Measured) -> Iterator[Figure]:
    for entries, fewest in measured.fewest.items():
        for command, least in ((FIRST, fewest.first), (AGAIN, fewest.second)):
            if runs := measured.runs.get((SQLITE, command, entries)):
                most = max(ran.requests for ran in runs)
                yield Figure(f"requests to the minimum, {entries:,} entries, {command}", most / least, "x", 1.03)


def _databases(measured: Measured) -> Iterator[Figure]:
    for command in (FIRST, AGAIN):
        for entries in measured.entries(POSTGRESQL, command):
            ours, other = measured.seconds(SQLITE, command, entries), measured.seconds(POSTGRESQL, command, entries)
            if ours and other:
                yield Figure(f"PostgreSQL to SQLite, {entries:,} entries, {command}", other / ours, "x", 1.5)


def _highlevel(measured: Measured) -> Iterator[Figure]:
    """One request for each record, and one for 50 that are looked for first; nothing for what is unchanged; one for 100 that are read."""
    for command, share, fixed in ((FIRST, 1.02, 50), (AGAIN, 0, 5), (VERIFY, 0.01, 10)):
        for entries in measured.entries(HIGHLEVEL, command):
            runs = measured.runs[HIGHLEVEL, command, entries]
            name, aim = f"HighLevel: {{}}, {entries:,} entries, {command}", round(share * entries) + fixed
            yield Figure(name.format("requests"), max(ran.requests for ran in runs), "", aim)
            if command == AGAIN:
                yield Figure(name.format("writes"), max(ran.writes for ran in runs), "", 0)


def _memory(measured: Measured, who: str, prefix: str = "") -> Iterator[Figure]:
    for command in (FIRST, AGAIN, VERIFY, PREVIEW):
        sizes = measured.entries(who, command)
        if sizes:
            most = max(measured.peak_mb(who, command, size) or 0 for size in sizes)
            yield Figure(f"{prefix}memory, {command}", most, "MB", MEGABYTES)
        many = [measured.peak_mb(who, command, size) or 0 for size in sizes if size >= FEW]
        if len(many) > 1:
            yield Figure(f"{prefix}memory, {command}, most to fewest entries", many[-1] / many[0], "x", FLAT)


def _large(measured: Measured) -> Iterator[Figure]:
    for command in (VERIFY, PREVIEW):
        entries = max(measured.entries(SQLITE, command), default=0)
        if (seconds := measured.seconds(SQLITE, command, entries)) is not None:
            yield Figure(f"{command}, {entries:,} entries", seconds, "s", 90.0 if entries >= 1_000_000 else None)
