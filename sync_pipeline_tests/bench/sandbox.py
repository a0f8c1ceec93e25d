"""A sandbox in a process of its own, without rate limits, and its own counts of the requests it received."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sync_pipeline_tests.harness import CLOCKIFY_KEY, SNAPSHOTS_KEY, clean_environ


@dataclass(frozen=True, slots=True)
class Stats:
    """What a sandbox counted since its counters were cleared."""

    requests: dict[str, int]
    writes: int
    busy_seconds: float
    request_seconds: float


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One running sandbox."""

    url: str
    workspace: str

    def stats(self) -> Stats:
        """The counters; ``busy_seconds`` is CPU time since the process started."""
        counted, spent = self.ask("/_control/stats"), self.ask("/_control/time")
        return Stats(
            dict(counted["requests"]),
            sum(counted["writes"].values()),
            spent["busy_seconds"],
            spent["request_seconds"],
        )

    def clear(self) -> Stats:
        """Count from zero; returns the counters so far."""
        self.ask("/_control/stats/reset", {})
        return self.stats()

    def ask(self, path: str, body: Any = None, *, method: str | None = None) -> Any:
        """GET, or POST when there is a body."""
        content = None if body is None else json.dumps(body).encode()
        key = SNAPSHOTS_KEY if path.startswith("/snapshots") else CLOCKIFY_KEY
        headers = {"X-Api-Key": key, "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, content, headers, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)


@contextmanager
def running(database: Path, users: int, entries: int, days: int, **more: int) -> Iterator[Sandbox]:
    """A sandbox on a free port; a new database is filled first."""
    sizes = {"users": users, "entries": entries, "days": days, **more}
    options = [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "sync_pipeline.cli", "sandbox", "--port", "0", "--database", str(database)]
    with subprocess.Popen([*command, *options], env=clean_environ(), stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = iter(process.stdout or ())
            announced = dict(line.rsplit(maxsplit=1) for line in _until("Controls", lines))
            workspace = announced["Clockify workspace"]
            sandbox = Sandbox(announced["Controls"].partition("/_control")[0], workspace)
            sandbox.ask(
                "/_control/options", {"requests_per_second": 0, "requests_per_hour": 0, "highlevel_requests": 0}
            )
            sandbox.ask("/_control/snapshots", {"rate_per_second": None})
            yield sandbox
        finally:
            process.terminate()


def _until(name: str, lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield line.strip()
        if line.startswith(name):
            return
