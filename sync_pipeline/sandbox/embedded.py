"""The embedded sandbox: a process of its own beside the command that needs it, with its state on disk."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sync_pipeline.errors import ConfigError

START_SECONDS = 60.0
PAUSE_SECONDS = 0.05


@contextmanager
def embedded(port: int, database: Path) -> Iterator[bool]:
    """A sandbox on ``port`` with this database: the one that runs there already, or a new one that ends with this block.

    Yields whether it was started here. Raises ConfigError when the port belongs to something else or the sandbox
    does not start.
    """
    if answers(port, database):
        yield False
        return
    database.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = database.with_suffix(".log")
    command = [sys.executable, "-m", "sync_pipeline.cli", "sandbox", "--port", str(port), "--database", str(database)]
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:  # noqa: S603 - our own command
        try:
            _wait(process, port, database, log)
            yield True
        finally:
            process.terminate()


def answers(port: int, database: Path) -> bool:
    """Whether our sandbox answers there; ConfigError when something else does."""
    other = "another program"
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_control/database", timeout=10) as answer:
            found = Path(json.load(answer)["database"])
        if found == database.resolve():
            return True
        other = f"another sandbox (its data is in {found})"
    except urllib.error.HTTPError:
        pass  # somebody answers, but not a sandbox
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    except (ValueError, KeyError, TypeError):
        pass  # an answer, but not a sandbox's
    raise ConfigError(
        f"Port {port} is in use by {other}, so the sandbox cannot start there.",
        fix="Stop it, or set SYNC_SANDBOX_PORT to a free port.",
    )


def _wait(process: subprocess.Popen[bytes], port: int, database: Path, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers(port, database):
        if process.poll() is not None or time.monotonic() > deadline:
            last = (log.read_text().strip().splitlines() or ["it said nothing"])[-1]
            raise ConfigError(f"The sandbox did not start: {last}", fix=f"The whole story is in {log}.")
        time.sleep(PAUSE_SECONDS)
