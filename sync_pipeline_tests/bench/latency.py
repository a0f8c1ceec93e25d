"""How long an edit in one system takes until it is in the other, with `sync-pipeline dev` really running."""

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
WAYS = ("webhook", "polling", "locations")
"""By webhook; or with no one receiving, by Clockify's feed, of which the last two minutes are never asked for; or the other way: the Snapshots API is polled."""
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
    """Edit stopped entries - or locations - on average one in ``every`` seconds; ``way`` is one of ``WAYS``."""
    with _running(directory, way) as us:
        seconds = _edit(_Locations(us) if way == "locations" else _Entries(us), edits, every)
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
    environ = environment(root, SYNC_SANDBOX_PORT=port)
    subprocess.run(command, cwd=root, env=environ, check=True, capture_output=True)
    words = ["--no-webhooks"] if way == "polling" else []
    with developing(root, *words, SYNC_SANDBOX_PORT=port) as us:
        # Looking whether an edit has arrived must not use up what the pipeline may ask for.
        us.ask("POST", "/_control/snapshots", {"rate_per_second": None})
        us.ask("POST", "/_control/options", {"requests_per_second": 0})
        yield us


class _Entries:
    """Edits of entries in Clockify, which arrive in the Snapshots system."""

    def __init__(self, us: Developing) -> None:
        self._us, self._entries = us, {str(entry["id"]): entry for entry in _stopped(us)}
        self.keys = list(self._entries)

    def edit(self, key: str, text: str) -> None:
        """Edit one of them."""
        entry = self._entries[key]
        interval = {name: entry["timeInterval"][name] for name in ("start", "end")}
        kept = {name: entry[name] for name in ("projectId", "taskId", "tagIds", "billable")}
        self._us.clockify("PUT", f"/time-entries/{key}", {**kept, **interval, "description": text})

    def arrived(self, key: str, text: str) -> bool:
        """Whether this edit is in the other system."""
        return bool(self._us.ask("GET", f"/snapshots/time_entries/{key}")["description"] == text)


class _Locations:
    """Edits of locations in the Snapshots system, which arrive in Clockify."""

    def __init__(self, us: Developing) -> None:
        clients = {client["name"]: client["id"] for client in us.clockify("GET", "/clients", **{"page-size": 5000})}
        rows = us.ask("GET", "/snapshots/locations", limit=1000)["data"]
        self._us, self._clients = us, {row["location_id"]: clients[row["location_name"].strip()] for row in rows}
        self.keys = list(self._clients)

    def edit(self, key: str, text: str) -> None:
        """Edit one of them."""
        location = self._us.ask("GET", f"/snapshots/locations/{key}")
        self._us.ask("PUT", f"/snapshots/locations/{key}", {**location, "address": text})

    def arrived(self, key: str, text: str) -> bool:
        """Whether this edit is in the other system."""
        return bool(self._us.clockify("GET", f"/clients/{self._clients[key]}")["address"] == text)


def _edit(records: _Entries | _Locations, edits: int, every: float) -> list[float | None]:
    """Edit one record after the other at random moments, while another thread looks what has arrived."""
    dice, pause = random.Random(1), threading.Event()
    waiting, seconds = dict[str, tuple[str, float]](), list[float | None]()
    watcher = threading.Thread(target=_watch, args=(records, waiting, seconds, edits), name="arrivals")
    watcher.start()
    for number in range(edits):
        key, text = records.keys[number % len(records.keys)], f"latency {number}"
        while key in waiting:  # it is timed already
            pause.wait(LOOK_SECONDS)
        records.edit(key, text)
        waiting[key] = (text, monotonic())
        pause.wait(dice.uniform(0, 2 * every))
    watcher.join()
    return seconds


def _watch(
    records: _Entries | _Locations,
    waiting: dict[str, tuple[str, float]],
    seconds: list[float | None],
    edits: int,
) -> None:
    pause = threading.Event()
    while len(seconds) < edits:
        for key, (text, since) in list(waiting.items()):
            if records.arrived(key, text):
                seconds.append(monotonic() - since)
            elif monotonic() - since > GIVE_UP_SECONDS:
                seconds.append(None)
            else:
                continue
            del waiting[key]
        pause.wait(LOOK_SECONDS * max(1, len(waiting) / 4))


def _stopped(us: Developing) -> list[dict[str, Any]]:
    """Stopped entries of some users, newest first."""
    users: Sequence[Any] = us.clockify("GET", "/users", **{"page-size": 200})
    found = []
    for user in users:
        path = f"/user/{user['id']}/time-entries"
        found += [row for row in us.clockify("GET", path, **{"page-size": 200}) if row["timeInterval"]["end"]]
        if len(found) > 500:
            break
    return found
