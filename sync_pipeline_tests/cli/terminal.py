"""``sync-pipeline`` on a terminal of its own: what a person sees there, and Ctrl-C as the keyboard sends it."""

from __future__ import annotations

import os
import pty
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from subprocess import Popen
from time import monotonic

from sync_pipeline_tests.harness import clean_environ

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
CTRL_C = b"\x03"
CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@dataclass(slots=True)
class Terminal:
    """A command that runs on a pseudo-terminal, which is its controlling one."""

    process: Popen[bytes]
    screen: int
    text: str = field(default="")

    def press(self, keys: bytes) -> None:
        """Type something."""
        os.write(self.screen, keys)

    def wait_for(self, seen: Callable[[str], bool]) -> None:
        """Read until something is on the screen; fails when that takes too long or the command has ended."""
        deadline = monotonic() + PATIENCE
        while not seen(self.text):
            assert self._read(deadline - monotonic()), f"it ended or took too long: {self.text}"

    def ended(self) -> int:
        """Read to the end and return the exit code."""
        deadline = monotonic() + PATIENCE
        while self._read(deadline - monotonic()):
            pass
        return self.process.wait(PATIENCE)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select([self.screen], [], [], max(seconds, 0))
        try:
            found = os.read(self.screen, 65536) if ready else b""
        except OSError:  # the other end is closed
            return False
        self.text += CODES.sub("", found.decode(errors="replace"))
        return bool(found)


@contextmanager
def on_a_terminal(root: Path, environ: dict[str, str], *words: str) -> Iterator[Terminal]:
    """``sync-pipeline`` with these words; it is killed when the block ends before it does."""
    screen, side = pty.openpty()
    # The child becomes the leader of a session with this terminal, as a shell's job is: Ctrl-C reaches its whole group.
    launch = "import os, sys, fcntl, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", launch, sys.executable, "-m", "sync_pipeline.cli", *words]
    environ = clean_environ(**{**environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"})
    process = Popen(command, cwd=root, env=environ, stdin=side, stdout=side, stderr=side)
    os.close(side)
    try:
        yield Terminal(process, screen)
    finally:
        process.kill()
        process.wait()
        os.close(screen)
