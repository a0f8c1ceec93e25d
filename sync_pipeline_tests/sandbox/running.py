"""A real sandbox for tests: a real uvicorn on a free port, with a database file of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sync_pipeline.sandbox.server import Running, running
from sync_pipeline.sandbox.world import Options

# Small enough to start in a few hundredths of a second; limits off unless a test is about limits.
SMALL: dict[str, Any] = {
    "seed": 7,
    "users": 8,
    "projects": 10,
    "clients": 6,
    "locations": 5,
    "entries": 300,
    "days": 30,
    "requests_per_second": 0,
    "requests_per_hour": 0,
    "highlevel_requests": 0,
}


@contextmanager
def running_sandbox(tmp_path: Path, **options: Any) -> Iterator[Running]:
    """A running sandbox: ``url``, ``clockify``, ``reports``, ``snapshots``, ``control``, ``workspace``, ``keys``, ``world``.

    ``options`` are fields of ``sync_pipeline.sandbox.world.Options``; what is not named is small.
    """
    with running(tmp_path / "sandbox.db", Options(**(SMALL | options))) as sandbox:
        yield sandbox
