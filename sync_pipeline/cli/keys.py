"""Single keys on the terminal of a program that runs until it is stopped."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from select import select
from threading import Thread

from sync_pipeline import terminal
from sync_pipeline.errors import SyncError


def are_read() -> bool:
    """Whether a person can press keys: standard input is the terminal of this process, and it is not in the background."""
    try:
        return os.isatty(sys.stdin.fileno()) and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):  # the last one on Windows, which has no such terminals
        return False


@contextmanager
def reading_keys(actions: Mapping[str, Callable[[], object]]) -> Iterator[None]:
    """Call what belongs to a key when it is pressed, in a thread; the terminal is as before when this ends, however it does."""
    import termios
    import tty

    screen = sys.stdin.fileno()
    before = termios.tcgetattr(screen)
    stopping, stop = os.pipe()
    thread = Thread(target=_read, args=(screen, stopping, actions), name="keys", daemon=True)
    try:
        tty.setcbreak(screen, termios.TCSANOW)  # Ctrl-C is still an interrupt
        thread.start()
        yield
    finally:
        with suppress(termios.error):  # the terminal was closed
            termios.tcsetattr(screen, termios.TCSANOW, before)
        os.close(stop)
        thread.join()
        os.close(stopping)


def _read(screen: int, stopping: int, actions: Mapping[str, Callable[[], object]]) -> None:
    while True:
        ready, _, _ = select([screen, stopping], [], [])
        if stopping in ready:
            return
        try:
            key = os.read(screen, 1)
        except OSError:  # the terminal was closed
            return
        if not key:
            return
        if action := actions.get(key.decode(errors="replace").lower()):
            _do(action)


def _do(action: Callable[[], object]) -> None:
    try:
        action()
    except (SyncError, OSError) as error:
        terminal.warning(str(error))
