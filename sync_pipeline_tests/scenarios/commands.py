"""The real command line in processes of their own, and waiting for what they do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

from sync_pipeline import clock
from sync_pipeline_tests.forking import PROGRAM, Started
from sync_pipeline_tests.harness import Team, clean_environ

ROOT = Path(__file__).parents[2]
PATIENCE = 180.0
_AHEAD = """
import sys
from datetime import timedelta
from sync_pipeline.clock import clock_from, utc_now
from sync_pipeline.cli import main
with clock_from(utc_now() + timedelta(seconds=float(sys.argv.pop(1)))):
    main()
"""
"""The command line in a process whose clock is so many seconds ahead."""


def start(team: Team, *words: str, **more: str) -> subprocess.Popen[str]:
    """``sync-pipeline`` with these words, for this team; its clock is that of this process."""
    return start_ahead(clock.ahead(), team, *words, **more)


def start_ahead(ahead: timedelta, team: Team, *words: str, **more: str) -> subprocess.Popen[str]:
    """The same with a clock that is so far ahead of the system's."""
    program = ["-c", _AHEAD, str(ahead.total_seconds())] if ahead else ["-m", PROGRAM]
    root = team.home.parent
    for name in ("workspace.yaml", "dagster.yaml"):
        shutil.copy(ROOT / name, root / name)
    return Started(
        [sys.executable, *program, *words],
        cwd=root,
        env=clean_environ(**{**team.environ, "PYTHONPATH": str(ROOT), **more}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(team: Team, *words: str, code: int = 0, **more: str) -> tuple[str, str]:
    """Run it to its end; returns both outputs."""
    process = start(team, *words, **more)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, f"exit {process.returncode}\n{out}\n{err}"
    return out, err


def run_json(team: Team, *words: str, code: int = 0, **more: str) -> Any:
    """Run it with ``--json`` and return the document."""
    return json.loads(run(team, *words, "--json", code=code, **more)[0])


def kill_when(process: subprocess.Popen[str], reached: Callable[[], bool]) -> bool:
    """``kill -9`` as soon as something is so; False when the process ended before."""
    try:
        killed = wait_until(lambda: process.poll() is not None or reached()) and process.poll() is None
    finally:
        process.kill()
        process.communicate()
    return killed


def wait_until(so: Callable[[], bool]) -> bool:
    """Look again and again until something is so; fails when it takes forever."""
    pause, deadline = Event(), monotonic() + PATIENCE
    while not so():
        assert monotonic() < deadline, "waited for too long"
        pause.wait(0.002)
    return True
