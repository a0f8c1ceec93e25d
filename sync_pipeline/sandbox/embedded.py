"""The embedded sandbox: a process of its own that the commands which need it share, with its state on disk.

Each user holds a shared lock for as long as it lives; the sandbox waits for the exclusive one, gets it when the last user
has ended - done, interrupted or killed - and ends. The system releases a lock with its process, so nothing is left.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from filelock import FileLock

from sync_pipeline.errors import ConfigError, SyncError
from sync_pipeline.private_files import private_directory, private_file
from sync_pipeline.sandbox.snapshots.entities import BUILT_IN

Records = tuple[str, str, str]
"""System, name and id field of an entity that a command reads or writes."""
START_SECONDS = 60.0
STOP_SECONDS = 5.0
PAUSE_SECONDS = 0.05
NOT_ITS_OWN = ("CLOCKIFY_", "SNAPSHOTS_", "HIGHLEVEL_", "SYNC_")
"""How the variables begin that are the pipeline's: real keys among them, and a sandbox needs none."""


@contextmanager
def embedded(
    port: int, database: Path, records: Sequence[Records] = (), *, highlevel_prepared: bool = False
) -> Iterator[bool]:
    """A sandbox on ``port`` with this database: the one that runs there already, or a new one.

    It accepts the entities that ``records`` name, and its HighLevel has the custom objects of a sync when
    ``highlevel_prepared``. Yields whether it was started here. Raises ConfigError when the port belongs to something
    else or the sandbox does not start.
    """
    with _used(port, database) as users:
        with _writing_below(database.parent):
            started = _start_unless_it_runs(port, database)
        _register(port, {kind: id_field for system, kind, id_field in records if system == "snapshots"})
        if highlevel_prepared:
            control(port, "highlevel", {"prepare": True})
        try:
            yield started is not None
        finally:
            if started is not None and _is_last(users):
                fcntl.flock(users, fcntl.LOCK_UN)
                started.join(STOP_SECONDS)  # longer only when another user came at this moment, and keeps it


def main() -> None:
    """Serve until no one uses the sandbox any more; the port and the database are the arguments."""
    from sync_pipeline.sandbox.server import serve

    port, database = int(sys.argv[1]), Path(sys.argv[2])
    try:
        # Who comes while it ends waits for the lock, and then starts a new one on a port that is free.
        with _users_file(port, database).open("a") as users:
            serve("127.0.0.1", port, database, until=lambda: fcntl.flock(users, fcntl.LOCK_EX))
    except SyncError as error:
        sys.exit(str(error))


@contextmanager
def _used(port: int, database: Path) -> Iterator[IO[str]]:
    file = _users_file(port, database)
    with _writing_below(database.parent):
        private_file(file)
        users = file.open("a")
    with users:
        fcntl.flock(users, fcntl.LOCK_SH)
        yield users


@contextmanager
def _writing_below(directory: Path) -> Iterator[None]:
    """Whose directory or files these are is for a person to settle, not for a traceback."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"The sandbox cannot keep its data in {directory}: {error.strerror}.",
            fix="Point SYNC_HOME at a directory you can write.",
        ) from error


def _users_file(port: int, database: Path) -> Path:
    return database.with_suffix(f".{port}.users")


def _is_last(users: IO[str]) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _start_unless_it_runs(port: int, database: Path) -> threading.Thread | None:
    """Start it and wait until it answers; returns a thread that ends with it, None when it runs already."""
    private_directory(database.parent)
    # One process starts it; others that try at the same time find it running.
    with FileLock(database.with_suffix(f".{port}.starting"), mode=0o600, fallback_to_soft=False):
        if answers(port, database):
            return None
        log = database.with_suffix(".log")
        private_file(log)
        command = [sys.executable, "-m", __name__, str(port), str(database)]
        with log.open("w") as output:
            # A session of its own: Ctrl-C of the command that starts it is not meant for it.
            process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                env={name: value for name, value in os.environ.items() if not name.startswith(NOT_ITS_OWN)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        ended = threading.Thread(target=process.wait, name="sandbox", daemon=True)
        ended.start()
        _wait(process, port, database, log)
        return ended


def _register(port: int, id_fields: Mapping[str, str]) -> None:
    """Register the entities it does not know yet; those of the contract keep their id fields."""
    try:
        known = _entities(port)["entities"]
        for name, id_field in id_fields.items():
            if name not in BUILT_IN and known.get(name) != id_field:
                _entities(port, {"entity": name, "id_field": id_field})
    except urllib.error.HTTPError as error:
        raise ConfigError(
            f"The sandbox does not accept an entity of the mapping files: {json.load(error)['error']}."
        ) from None
    except OSError as error:
        raise ConfigError(f"The sandbox on port {port} no longer answers: {error}.") from None


def _entities(port: int, new: Mapping[str, str] | None = None) -> dict[str, Any]:
    body = None if new is None else json.dumps(new).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/_control/entities", body, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def control(port: int, path: str, sent: Mapping[str, Any] | None = None, method: str = "") -> dict[str, Any]:
    """What a control of the sandbox on this port answers; ConfigError when it refuses or none runs there."""
    body = None if sent is None else json.dumps(sent).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/_control/{path}", body, method=method or ("GET" if sent is None else "POST")
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        with suppress(ValueError, KeyError, TypeError):
            raise ConfigError(f"The sandbox refused it: {json.load(error)['error']}.") from None
        raise _in_use(port, "another program") from None
    except (OSError, ValueError, HTTPException):
        raise ConfigError(
            f"No sandbox is running on port {port}.",
            fix="Start it with `sync-pipeline dev` or `sync-pipeline sandbox serve`.",
        ) from None


def workspace_in(database: Path) -> str:
    """The id of the sandbox's Clockify workspace, read from its file: nothing is started for it."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as db:
        row = db.execute("SELECT id FROM workspaces ORDER BY id LIMIT 1").fetchone()
        if row is not None:
            return str(row[0])
    from sync_pipeline.sandbox.clockify.seed_model import workspace_id_of  # only now: it loads the server's library
    from sync_pipeline.sandbox.world import Options

    return workspace_id_of(Options().seed)  # what it will be when it is started


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
        pass  # something answers, but not a sandbox
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    except (ValueError, KeyError, TypeError, HTTPException):
        pass  # an answer, but not a sandbox's
    raise _in_use(port, other)


def _in_use(port: int, other: str) -> ConfigError:
    return ConfigError(
        f"Port {port} is in use by {other}, so the sandbox cannot start there.",
        fix="Stop it, or set SYNC_SANDBOX_PORT to a free port.",
    )


def _wait(process: subprocess.Popen[bytes], port: int, database: Path, log: Path) -> None:
    """Until it answers. One whose starter was killed may hold the port already: then that one is as good."""
    deadline = time.monotonic() + START_SECONDS
    while not answers(port, database):
        if time.monotonic() > deadline or (process.poll() is not None and not answers(port, database)):
            if _is_taken(port):  # by a program that does not answer
                raise _in_use(port, "another program")
            raise ConfigError(f"The sandbox did not start: {_last_words(log)}", fix=f"The complete log is in {log}.")
        time.sleep(PAUSE_SECONDS)


def _last_words(log: Path) -> str:
    if lines := log.read_text("utf-8", "replace").strip().splitlines():
        return lines[-1]
    is_full = os.statvfs(log).f_bavail == 0
    return f"there is no space left for its data in {log.parent}. Free some." if is_full else "it printed nothing."


def _is_taken(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


if __name__ == "__main__":
    main()
