"""`dev`: the webhook receiver, Dagster's daemon and its UI, together until they are interrupted.

The receiver is a thread of this process and Dagster a child of it, so both end when it does. On the sandbox the webhooks
are subscribed as well and live syncing is on: an edit there arrives at the other side in seconds.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from sync_pipeline.defs.launch import prepare_home
from sync_pipeline.errors import ConfigError
from sync_pipeline.private import private_directory
from sync_pipeline.settings import PROJECT_FILE, Settings, dotenv, project_root
from sync_pipeline.stages.session import open_session
from sync_pipeline.webhooks.addon import load_addon_key
from sync_pipeline.webhooks.hooks import open_hooks
from sync_pipeline.webhooks.receiver import ReceiverOptions
from sync_pipeline.webhooks.registration import Registrar, Wishes
from sync_pipeline.webhooks.server import HOST, running

STOP_SECONDS = 20.0
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AT_ONCE = {"SYNC_SENSOR_SECONDS": "1"}
"""On the sandbox changes travel at once, unless the environment says otherwise."""
CALLS_AT_ONCE = {"DAGSTER_GRPC_MAX_WORKERS": "16"}
"""Sensors that listen keep a thread of the code server each; the UI and the runs need some, too."""


@dataclass(frozen=True, slots=True)
class Places:
    """The ports to listen on; without one for webhooks nothing is received, without one for the console there is none."""

    ui: int
    webhooks: int | None
    console: int | None = None


def refuse_taken(places: Places) -> None:
    """Raise ConfigError when somebody listens on one of the ports: told before anything is started, not by its end."""
    asked = [("The Dagster UI", places.ui, "--port"), ("The webhook receiver", places.webhooks, "--webhook-port")]
    asked.append(("The console", places.console, "--console-port"))
    with ExitStack() as held:  # all at once: no two may be the same
        for what, port, option in asked:
            if port is not None:
                held.enter_context(_listening(what, port, option))


def _listening(what: str, port: int, option: str) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise ConfigError(
            f"{what} cannot listen on {HOST} port {port}: {os.strerror(error.errno or 0)}.",
            fix=f"Stop the program that uses the port, or choose another one with {option}.",
        ) from error


def end_when_asked() -> None:
    """Let Ctrl-C, ``kill`` and a closed terminal end this process in order, which ends what it started."""
    for number in ENDING:
        signal.signal(number, signal.default_int_handler)


def run_dev(
    settings: Settings,
    places: Places,
    ready: Callable[[Mapping[str, str | None]], None],
    *,
    output: IO[str] | None = None,
) -> int:
    """Run everything until it is interrupted; returns Dagster's exit code.

    ``ready`` is told what is where. What Dagster prints goes to ``output``, or to standard output.
    """
    with nullcontext() if places.webhooks is None else receiving(settings, places.webhooks) as receiver:
        ready(
            {"webhooks": receiver and f"{receiver}/healthz", "dagster": f"http://{HOST}:{places.ui}"},
        )
        return _run_dagster(settings, places.ui, output)


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold the home for one `dev`; raises ConfigError when another one has it. The lock ends with its process."""
    lock = FileLock(home / "dev.lock", timeout=0, mode=0o600, fallback_to_soft=False)
    try:
        private_directory(home)
        lock.acquire()
    except OSError as error:
        if not isinstance(error, Timeout):
            why = error.strerror or error
            raise ConfigError(
                f"SYNC_HOME {home} cannot be used: {why}.", fix="Name a directory you can write."
            ) from None
        raise ConfigError(
            f"`sync-pipeline dev` is running on SYNC_HOME {home} already.",
            fix="Stop that one first, or give this one a SYNC_HOME of its own.",
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def receiving(settings: Settings, port: int) -> Iterator[str]:
    """A receiver beside this block; on the sandbox its webhooks are subscribed - as often as this is called, once."""
    with open_session(settings) as session:
        hooks, workspace = open_hooks(session), session.clockify.account.workspace
        key = load_addon_key(settings.clockify_addon_public_key)
        with running(hooks, ReceiverOptions(workspace=workspace, addon_key=key), port=port) as receiver:
            if settings.sandbox:
                Registrar.of(session, hooks, receiver.url).register(Wishes(enable=True))
            yield receiver.url


def dagster_environ(settings: Settings) -> dict[str, str]:
    """The environment of Dagster's processes: the whole configuration, wherever they start."""
    given = {**dotenv(project_root()), **os.environ}
    usual = CALLS_AT_ONCE | (AT_ONCE if settings.sandbox else {})
    return {**usual, **given, "SYNC_HOME": str(settings.home)}


def _run_dagster(settings: Settings, port: int, output: IO[str] | None) -> int:
    home = prepare_home(settings)
    # Dagster would tell people to use `dg dev`, which wants a project layout of its own.
    quietly = ["-W", "ignore:Function `dev_command`"]
    command = [sys.executable, *quietly, "-m", "dagster", "dev", "--workspace", str(project_root() / PROJECT_FILE)]
    command += ["--host", HOST, "--port", str(port)]
    # Killed, we cannot stop it any more: it notices by itself that nobody holds the other end of its standard input.
    command = [sys.executable, "-m", "sync_pipeline.defs.tether", *command]
    # Ctrl-C reaches this process only, which hands it on once: Dagster stops its own children then.
    with (
        _not_interrupted() as asked,
        subprocess.Popen(  # noqa: S603 - our own command
            command,
            cwd=home,
            env=dagster_environ(settings),
            stdin=subprocess.PIPE,
            stdout=output,
            start_new_session=True,
        ) as process,
    ):
        try:
            end_when_asked()
            if asked:
                raise KeyboardInterrupt
            return process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            return _ended(process)
        finally:
            _kill_group(process.pid)  # Dagster's daemon and UI do not notice when what started them was killed


@contextmanager
def _not_interrupted() -> Iterator[list[int]]:
    """Note what asks this process to end instead of raising: a child that is just being started would be forgotten."""
    asked: list[int] = []
    for number in ENDING:
        signal.signal(number, lambda number, _frame: asked.append(number))
    yield asked


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process that was asked to stop; one that does not - or is asked twice - is killed with its children."""
    try:
        process.wait(timeout=STOP_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        _kill_group(process.pid)
    return 0


def _kill_group(group: int) -> None:
    """Kill what is left of a process and all it started."""
    with suppress(ProcessLookupError, PermissionError):  # nothing is left
        os.killpg(group, signal.SIGKILL)
