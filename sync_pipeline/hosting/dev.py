"""`dev`: the webhook receiver, Dagster's code servers, daemon and UI, together until they are interrupted.

The receiver is a thread of this process and Dagster's programs are children of it, so all end when it does. On the sandbox
the webhooks are subscribed as well and live syncing is on: an edit there arrives at the Snapshots API in seconds.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory
from threading import Thread
from typing import IO, Any

import yaml
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, ManagedGrpcPythonEnvCodeLocationOrigin
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.server import wait_for_grpc_server
from filelock import FileLock, Timeout

from sync_pipeline.errors import ConfigError, SyncError
from sync_pipeline.private_files import private_directory
from sync_pipeline.serving import ENDING, AskedToEnd, end_when_asked
from sync_pipeline.settings import PROJECT_FILE, Settings, environment, load_settings, project_root
from sync_pipeline.webhooks.registration import Registrar, Wishes
from sync_pipeline.webhooks.server import HOST, Accounts, running

STOP_SECONDS = 20.0
LOG_BYTES = 5_000_000
LONGEST_LINE = 65_536
DAEMON, UI = "Dagster's daemon", "The Dagster UI"
AT_ONCE = {"SYNC_SENSOR_SECONDS": "1"}
"""On the sandbox changes travel immediately, unless the environment says otherwise."""
CALLS_AT_ONCE = {"DAGSTER_GRPC_MAX_WORKERS": "16"}
"""Sensors that listen keep a thread of the code server each; the UI and the runs need some, too."""
BACKFILLS_WAIT = {"DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR": "1"}
"""A backfill waits while the code server cannot load the code, instead of failing with all days that are left."""
LIKE_DAGSTER_DEV = {"DAGSTER_IS_DEV_CLI": "1"}
"""Errors in the definitions are shown short, and state kept by components is refreshed, as `dagster dev` does it."""
START_SECONDS = 180
Start = Callable[[str, Sequence[str]], subprocess.Popen[bytes]]


@dataclass(frozen=True, slots=True)
class Places:
    """The ports to listen on; without one for webhooks nothing is received, without one for the console there is none."""

    ui: int
    webhooks: int | None
    console: int | None = None


@dataclass(frozen=True, slots=True)
class Dagster:
    """How Dagster runs: where, with what code, and the command that serves its UI, to which a workspace file is added."""

    home: Path
    workspace: Path
    ui: Sequence[str]
    url: str
    """Where the UI will be."""
    console: str = ""
    """Where the console is, to which the UI leads back; empty without one."""


def refuse_taken(places: Places) -> None:
    """Raise ConfigError when a port is in use, before anything is started."""
    asked = [("The Dagster UI", places.ui, "--port"), ("The webhook receiver", places.webhooks, "--webhook-port")]
    asked.append(("The console", places.console, "--console-port"))
    with ExitStack() as held:  # all kept open, so that no two may be the same
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


def run_dev(
    settings: Settings,
    places: Places,
    dagster: Dagster,
    ready: Callable[[Mapping[str, str | None]], None],
    *,
    warn: Callable[[str], None],
    output: IO[str],
) -> None:
    """Run everything until it is interrupted; SyncError when one of Dagster's programs ends before.

    ``ready`` gets the addresses, ``warn`` what does not work. Dagster's output is written to ``output``.
    """
    with nullcontext() if places.webhooks is None else receiving(settings, places.webhooks, warn) as receiver:
        ready({"webhooks": receiver and f"{receiver}/healthz", "dagster": dagster.url})
        _run_dagster(settings, dagster, output)


class _PrivateLog(RotatingFileHandler):
    """A log of bounded size that only this user can read, and the one before it."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8")


@contextmanager
def logged_to(file: Path) -> Iterator[IO[str]]:
    """What programs can write to; it is kept in this file, which is renamed when it is full, over the one before it."""
    private_directory(file.parent)
    log = _PrivateLog(file, maxBytes=LOG_BYTES, backupCount=1)
    reading, writing = os.pipe()

    def copy() -> None:
        with os.fdopen(reading, encoding="utf-8", errors="replace") as lines:
            for line in iter(lambda: lines.readline(LONGEST_LINE), ""):
                log.emit(logging.makeLogRecord({"msg": line.rstrip("\n")}))

    copying = Thread(target=copy, name="log", daemon=True)
    copying.start()
    try:
        with os.fdopen(writing, "w", encoding="utf-8") as stream:
            yield stream
    finally:
        copying.join(STOP_SECONDS)
        log.close()


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
def receiving(
    settings: Settings, port: int, warn: Callable[[str], None], load: Callable[[], Settings] = load_settings
) -> Iterator[str]:
    """A receiver that runs during this block. On the sandbox its webhooks are registered, never twice."""
    with (
        Accounts(settings, load) as accounts,
        running(*accounts.reception, port=port, renewed=accounts.renewed) as receiver,
    ):
        if settings.sandbox:
            registrar = Registrar.of(accounts.session, accounts.reception.hooks, receiver.url)
            if not registrar.register(Wishes(enable=True)).is_well:
                warn("Some webhooks do not deliver; `sync-pipeline webhooks list` says which and why.")
        yield receiver.url


def dagster_environ(settings: Settings, console: str) -> dict[str, str]:
    """The environment of Dagster's processes: the whole configuration, wherever they start."""
    usual = CALLS_AT_ONCE | BACKFILLS_WAIT | LIKE_DAGSTER_DEV | (AT_ONCE if settings.sandbox else {})
    usual |= {"SYNC_CONSOLE_URL": console} if console else {}
    return {**usual, **environment(), "SYNC_HOME": str(settings.home)}


def workspace_file() -> Path:
    """The file that names the code for Dagster; ConfigError outside of the project."""
    file = project_root() / PROJECT_FILE
    if not file.exists():
        raise ConfigError(
            f"There is no {PROJECT_FILE} in {file.parent} or above it, which Dagster needs.",
            fix="Run this in the project's directory.",
        )
    return file


class _Programs:
    """Programs that end together: each in a session of its own, with a watchdog, started in the Dagster home."""

    def __init__(self, home: Path, environ: Mapping[str, str], output: IO[str]) -> None:
        self._home, self._environ, self._output = home, environ, output
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: Queue[tuple[str, int]] = Queue()

    def start(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start one of them."""
        # If this process is killed, it cannot stop the program: the watchdog does, when its standard input is closed.
        watched = [sys.executable, "-m", "sync_pipeline.hosting.parent_watchdog", *command]
        # Ctrl-C reaches this process only, which hands it on once: each program stops its own children then.
        with _not_interrupted() as asked:
            process = subprocess.Popen(  # noqa: S603 - our own command
                watched,
                cwd=self._home,
                env=self._environ,
                stdin=subprocess.PIPE,
                stdout=self._output,
                stderr=self._output,
                start_new_session=True,
            )
            self._running[name] = process
        end_when_asked()
        if asked:
            raise KeyboardInterrupt if signal.SIGINT in asked else AskedToEnd
        watch = Thread(target=lambda: self._ended.put((name, process.wait())), name=name, daemon=True)
        watch.start()
        return process

    def wait(self) -> None:
        """Wait until one of them ends; raises SyncError, since none does unless it is asked to."""
        name, code = self._ended.get()
        raise SyncError(
            f"{name} ended unexpectedly, so nothing is synced any more (exit code {code}).",
            fix="The last lines of its output show why. Start `sync-pipeline dev` again.",
        )

    def stop(self) -> None:
        """Ask them to end; code servers when those that use them have ended."""
        users = [self._running[name] for name in (DAEMON, UI) if name in self._running]
        servers = [process for process in self._running.values() if process not in users]
        for together in (users, servers):
            for process in together:
                process.send_signal(signal.SIGINT)
            for process in together:
                _wait_or_kill(process)

    def close(self) -> None:
        """Kill what is left: not all that Dagster starts notices when what started it was killed."""
        for process in self._running.values():
            _kill_group(process.pid)
            process.wait()


def _run_dagster(settings: Settings, dagster: Dagster, output: IO[str]) -> None:
    programs = _Programs(dagster.home, dagster_environ(settings, dagster.console), output)
    with TemporaryDirectory(prefix="sync-") as place:  # the shorter, the better: a socket's path has 108 bytes
        try:
            file = str(start_code_servers(dagster.workspace, Path(place), programs.start))
            daemon = [sys.executable, "-m", "dagster._daemon", "run", "--workspace", file]
            programs.start(DAEMON, daemon)
            programs.start(UI, [*dagster.ui, file])
            programs.wait()
        finally:
            programs.stop()
            programs.close()


@contextmanager
def _not_interrupted() -> Iterator[list[int]]:
    """Note what asks this process to end instead of raising: a child that is just being started would be forgotten."""
    asked: list[int] = []
    for number in ENDING:
        signal.signal(number, lambda number, _frame: asked.append(number))
    yield asked


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process that was asked to stop; one that does not - or is asked twice - is killed with its children."""
    try:
        process.wait(timeout=STOP_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        _kill_group(process.pid)


def _kill_group(group: int) -> None:
    """Kill what is left of a process and all it started."""
    with suppress(ProcessLookupError, PermissionError):  # nothing is left
        os.killpg(group, signal.SIGKILL)


def start_code_servers(workspace: Path, place: Path, start: Start) -> Path:
    """Start what the workspace file names, wait until all of it answers; returns a file that leads there."""
    file = place / "workspace.yaml"
    file.write_text(yaml.safe_dump({"load_from": list(_started(workspace, place, start))}))
    return file


def _started(workspace: Path, place: Path, start: Start) -> Iterator[Mapping[str, Any]]:
    for number, origin in enumerate(WorkspaceFileTarget([str(workspace)]).create_origins()):
        if isinstance(origin, ManagedGrpcPythonEnvCodeLocationOrigin):
            socket = str(place / f"code-{number}")
            command = _server_command(origin, socket)
            name = f"The code server of {origin.location_name}"
            _wait_for(name, start(name, command), socket, command)
            spec: dict[str, Any] = {"socket": socket, "additional_metadata": origin.loadable_target_origin.as_dict}
        elif isinstance(origin, GrpcServerCodeLocationOrigin):  # the user runs it
            spec = {"host": origin.host, "port": origin.port, "socket": origin.socket, "use_ssl": origin.use_ssl}
        found = {"location_name": origin.location_name, **spec}
        yield {"grpc_server": {name: value for name, value in found.items() if value is not None}}


def _wait_for(name: str, server: subprocess.Popen[bytes], socket: str, command: Sequence[str]) -> None:
    try:
        wait_for_grpc_server(server, DagsterGrpcClient(socket=socket), command, START_SECONDS)
    except Exception as error:  # it has no class of its own
        raise SyncError(
            f"{name} did not start (exit code {server.poll()}).", fix="The last lines of its output show why."
        ) from error


def _server_command(origin: ManagedGrpcPythonEnvCodeLocationOrigin, socket: str) -> list[str]:
    target = origin.loadable_target_origin
    own = ["--use-python-environment-entry-point"] if target.executable_path else []
    command = [target.executable_path or sys.executable, "-m", "dagster", "code-server", "start", "--socket", socket]
    command += ["--location-name", origin.location_name, "--log-level", "warning", *own]
    return [*command, *target.get_cli_args()]
