"""How long an edit in Clockify takes until it stands in Snapshots, with `sync-pipeline dev` really running."""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from sync_pipeline_tests.scenarios.developing import Developing, developing, environment, free_port, place

LOOK_SECONDS = 0.05
WAYS = ("webhook", "polling")
"""By webhook; or with nobody receiving, by Clockify's feed, of which the last two minutes are never asked for."""
GIVE_UP_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from an edit to its arrival, over many edits."""

    way: str
    edits: int
    lost: int
    p50: float
    p95: float
    longest: float


def measure_latency(directory: Path, edits: int, way: str, *, every: float = 3.0) -> Latency:
    """Edit stopped entries, on average one in ``every`` seconds; ``way`` is `webhook` or `polling`."""
    with _running(directory, way) as us:
        seconds = _edit(us, edits, every)
    arrived = sorted(one for one in seconds if one is not None)
    p95 = statistics.quantiles(arrived, n=20)[-1] if len(arrived) > 1 else GIVE_UP_SECONDS
    return Latency(
        way=way,
        edits=edits,
        lost=edits - len(arrived),
        p50=round(statistics.median(arrived), 2),
        p95=round(p95, 2),
        longest=round(max(arrived), 2),
    )


@contextmanager
def _running(directory: Path, way: str) -> Iterator[Developing]:
    """Everything in step first, as after `make sync`; then `dev`."""
    root, port = directory / way, str(free_port())
    place(root)
    command = [sys.executable, "-m", "sync_pipeline.cli", "sync"]
    told = environment(root, SYNC_SANDBOX_PORT=port)
    subprocess.run(command, cwd=root, env=told, check=True, capture_output=True)
    words = [] if way == "webhook" else ["--no-webhooks"]
    with developing(root, *words, SYNC_SANDBOX_PORT=port) as us:
        # Looking whether an edit has arrived must not use up what the pipeline may ask for.
        us.ask("POST", "/_control/snapshots", {"rate_per_second": None})
        us.ask("POST", "/_control/options", {"requests_per_second": 0})
        yield us


def _edit(us: Developing, edits: int, every: float) -> list[float | None]:
    """Edit one entry after the other at random moments, while another thread looks what has arrived."""
    dice, pause = random.Random(1), threading.Event()
    entries, waiting, seconds = _entries(us), dict[str, tuple[str, float]](), list[float | None]()
    watcher = threading.Thread(target=_watch, args=(us, waiting, seconds, edits), name="arrivals")
    watcher.start()
    for number in range(edits):
        entry, text = entries[number % len(entries)], f"latency {number}"
        interval = {name: entry["timeInterval"][name] for name in ("start", "end")}
        kept = {name: entry[name] for name in ("projectId", "taskId", "tagIds", "billable")}
        us.clockify("PUT", f"/time-entries/{entry['id']}", {**kept, **interval, "description": text})
        waiting[entry["id"]] = (text, monotonic())
        pause.wait(dice.uniform(0, 2 * every))
    watcher.join()
    return seconds


def _watch(us: Developing, waiting: dict[str, tuple[str, float]], seconds: list[float | None], edits: int) -> None:
    pause = threading.Event()
    while len(seconds) < edits:
        for key, (text, begun) in list(waiting.items()):
            found = us.ask("GET", f"/snapshots/time_entries/{key}")
            if found["description"] == text:
                seconds.append(monotonic() - begun)
            elif monotonic() - begun > GIVE_UP_SECONDS:
                seconds.append(None)
            else:
                continue
            del waiting[key]
        pause.wait(LOOK_SECONDS * max(1, len(waiting) / 4))


def _entries(us: Developing) -> list[dict[str, Any]]:
    """Stopped entries of some users, newest first."""
    users: Sequence[Any] = us.clockify("GET", "/users", **{"page-size": 200})
    found = []
    for user in users:
        path = f"/user/{user['id']}/time-entries"
        found += [row for row in us.clockify("GET", path, **{"page-size": 200}) if row["timeInterval"]["end"]]
        if len(found) > 500:
            break
    return found
