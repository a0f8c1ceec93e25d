"""Ends Dagster's processes when the process that started them has ended, even if it was killed.

``python -m sync_pipeline.hosting.parent_watchdog COMMAND ...`` runs a command and reads its own standard input, which stays empty
and is closed when the parent ends. Works wherever there are pipes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from threading import Thread

STOP_SECONDS = 20.0


def main(command: Sequence[str]) -> int:
    """Run the command until it ends, or its parent has ended; returns its exit code."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:  # noqa: S603 - our own command
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: process.send_signal(signal.SIGINT))
        Thread(target=_watch, args=(process,), daemon=True).start()
        return process.wait()


def _watch(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of standard input, then stop everything; what does not stop in order is killed with us."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
