"""`dev`: all servers together, until Ctrl-C; single keys on the terminal open the console and show the log."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import IO, Any

import click

from sync_pipeline import terminal
from sync_pipeline.cli.console import console_beside, console_link_for
from sync_pipeline.cli.opening import prepared, until_asked
from sync_pipeline.cli.options import json_option
from sync_pipeline.console.sharing import shared
from sync_pipeline.errors import SyncError
from sync_pipeline.hosting.dev import (
    Dagster,
    Places,
    logged_to,
    only_one,
    refuse_taken,
    run_dev,
    workspace_file,
)
from sync_pipeline.hosting.launch import open_instance, prepare_home
from sync_pipeline.session.session import Session
from sync_pipeline.settings import load_settings
from sync_pipeline.setup.service import SetupService, actor
from sync_pipeline.store.syncs import WRITTEN, Sync, recent

LOOK_SECONDS = 2.0
"""How often it is looked what ended."""
NEWEST = 100
TAIL = 20
"""Lines of the log that a key shows."""
KEYS = "Keys: o opens the console, l shows the end of the log, q or Ctrl-C stops everything."
NAMES = {
    "sandbox": "Sandbox",
    "webhooks": "Webhooks",
    "dagster": "Dagster UI",
    "console": "Console",
    "sign_in": "Sign in",
}


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port of the Dagster UI.")
@click.option(
    "--webhook-port",
    type=click.IntRange(1, 65535),
    default=8760,
    show_default=True,
    help="Port of the webhook receiver.",
)
@click.option(
    "--webhooks/--no-webhooks",
    default=None,
    help="Whether to receive webhooks. [default: on the sandbox only; real ones need `webhooks register`, too]",
)
@click.option(
    "--console-port",
    type=click.IntRange(1, 65535),
    default=8770,
    show_default=True,
    help="Port of the console.",
)
@click.option("--console/--no-console", default=True, show_default=True, help="Whether to run the console.")
@click.option("--open/--no-open", "opens", default=True, help="Whether to open the browser. [default: on a terminal]")
@json_option
def dev(
    port: int,
    webhook_port: int,
    webhooks: bool | None,
    console_port: int,
    console: bool,
    opens: bool,
    as_json: bool,
) -> None:
    """Run everything on this machine until Ctrl-C. Console, webhooks, Dagster and, without credentials, the sandbox."""
    asked, is_on_terminal = load_settings(), terminal.out.is_terminal and not as_json
    has_keys = is_on_terminal and _keys_are_read()
    receives = asked.sandbox if webhooks is None else webhooks
    places = Places(port, webhook_port if receives else None, console_port if console else None)
    with only_one(asked.home), until_asked():
        refuse_taken(places)
        workspace = workspace_file()
        with prepared() as settings:
            home = prepare_home(settings)
            # Create its tables before several programs, or a thread of ours that migrates, can interfere.
            open_instance(settings).dispose()
            with console_beside(places.console, port) as (sign_in, url, pages), _asked(sign_in) as place:
                ui = [sys.executable, "-m", "sync_pipeline.cli.webserver", str(port), str(place)]
                sandbox = settings.sandbox_url if settings.sandbox else None

                def ready(addresses: Mapping[str, str | None]) -> None:
                    found = {"sandbox": sandbox, **addresses, **pages}
                    terminal.emit(as_json, found, lambda: _announce(found, log, keys=has_keys))
                    sys.stdout.flush()
                    if is_on_terminal and opens and pages["sign_in"]:
                        click.launch(pages["sign_in"])

                dagster = Dagster(home, workspace, ui, url, pages["console"] or "")
                log = settings.home / "logs" / "dev.log"
                watched = nullcontext(sys.stderr) if as_json else _watched(log)
                with watched as output, _reading_keys(_keys(log)) if has_keys else nullcontext():
                    run_dev(settings, places, dagster, ready, warn=terminal.warning, output=output)
    terminal.notice("Stopped.")


def _keys(log: Path) -> dict[str, Callable[[], object]]:
    """What single keys do while everything runs."""

    def show_log() -> None:
        terminal.say(f"{'Logs:':<12}{log}")
        with log.open(encoding="utf-8", errors="replace") as lines:
            terminal.say(*(line.rstrip("\n") for line in deque(lines, maxlen=TAIL)))

    def open_console() -> None:
        place = console_link_for()
        terminal.say("Opened in the browser." if click.launch(place) == 0 else f"{'Sign in:':<12}{place}")

    return {"o": open_console, "l": show_log, "q": lambda: os.kill(os.getpid(), signal.SIGTERM)}


@contextmanager
def _watched(log: Path) -> Iterator[IO[str]]:
    """Where the programs write, while each sync that did something is a line on the screen."""
    ended = Event()
    with logged_to(log) as output:
        news = SyncNews(SetupService(actor("terminal")).reading)
        news.lines()
        thread = Thread(target=_print_news, args=(news, ended), name="news", daemon=True)
        thread.start()
        try:
            yield output
        finally:
            ended.set()
            thread.join()


def _print_news(news: SyncNews, ended: Event) -> None:
    while not ended.wait(LOOK_SECONDS):
        for line, is_problem in news.lines():
            (terminal.warning if is_problem else terminal.say)(line)


@dataclass
class SyncNews:
    """The syncs that have ended since the last call, as lines: those that wrote, rejected or failed."""

    opened: Callable[[], AbstractContextManager[Session]]
    """Opened for each call: the set-up may have changed by then."""
    _reported: dict[str, set[int]] = field(default_factory=dict)
    """By pair; syncs that had ended before the first call for a pair are not reported."""

    def lines(self) -> list[tuple[str, bool]]:
        """A line for each, the oldest first, and whether it is a problem; none while the set-up is not finished."""
        try:
            with self.opened() as session:
                pair, found = (
                    session.pair,
                    [one for one in recent(session.store, session.pair, NEWEST) if one.ended != "running"],
                )
        except SyncError:  # or while the database is busy: the next call finds them
            return []
        known = self._reported.get(pair, {one.id for one in found})
        self._reported[pair] = known | {one.id for one in found}
        new = [one for one in reversed(found) if one.id not in known]
        return [(line, bool(one.reason)) for one in new if (line := _line(one))]


def _line(sync: Sync) -> str:
    """What a sync did; "" when it changed nothing."""
    did = [f"{sync.counts[kind]:,} {kind}" for kind in (*WRITTEN, "rejected", "held") if sync.counts.get(kind)]
    if not (did or sync.reason):
        return ""
    at = terminal.clock_time(sync.finished_at or sync.begun_at)
    return f"{at} {sync.entity}: {', '.join(did) or sync.ended}{f' - {sync.reason}' if sync.reason else ''}"


@contextmanager
def _asked(sign_in: Any) -> Iterator[Path]:
    """Where other programs of this installation ask who is signed in: a socket that only this user can reach."""
    with TemporaryDirectory(prefix="sync-") as directory, shared(sign_in, Path(directory) / "sign-in") as place:
        yield place


def _announce(addresses: Mapping[str, str | None], log: Path, *, keys: bool) -> None:
    terminal.say(*(f"{NAMES[what] + ':':<12}{url}" for what, url in addresses.items() if url))
    terminal.say(KEYS if keys else "Ctrl-C stops everything.", f"{'Logs:':<12}{log}")


def _keys_are_read() -> bool:
    """Whether a person can press keys: standard input is the terminal of this process, and it is not in the background."""
    try:
        return os.isatty(sys.stdin.fileno()) and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):  # the last one on Windows, which has no such terminals
        return False


@contextmanager
def _reading_keys(actions: Mapping[str, Callable[[], object]]) -> Iterator[None]:
    """Call what belongs to a key when it is pressed, in a thread; the terminal is as before when this ends, however it does."""
    import termios
    import tty

    screen = sys.stdin.fileno()
    before = termios.tcgetattr(screen)
    stopping, stop = os.pipe()
    thread = Thread(target=_read_keys, args=(screen, stopping, actions), name="keys", daemon=True)
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


def _read_keys(screen: int, stopping: int, actions: Mapping[str, Callable[[], object]]) -> None:
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
