"""The command line in processes of their own that start immediately: forked from a server that has imported what they need.

Importing it takes longer than most commands. A forked process has an environment, a directory and streams of its own, and
is interrupted and killed like any other. Tests of starting, of imports, encodings and terminals start the program itself.
"""

from __future__ import annotations

import atexit
import gc
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pytest

from sync_pipeline_tests.templates import make_templates, use_templates

ROOT = Path(__file__).parents[1]
PROGRAM = "sync_pipeline.cli"
LIBRARIES = (
    "sync_pipeline.definitions", "sync_pipeline.store.migrations.runner", "alembic.command", "pandas", "pyarrow.parquet",
    "dagster._core.execution.execute_in_process", "dagster._core.storage.local_compute_log_manager", "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg", "upath.core", "rich.progress", "rich.table",
)  # fmt: skip
MESSAGE_BYTES = 1 << 17
ALONE = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Keeps libraries from starting threads in the server: what a thread holds at the moment of a fork stays locked in the new process."""
_ASKING = threading.Lock()


class Forked(subprocess.Popen[str]):
    """``python -m MODULE`` or ``python -c PROGRAM``: to its user as if it had been started, with the same arguments."""

    def _execute_child(self, args: Any, *rest: Any) -> None:
        """Called once the pipes are made; the arguments are the same in all versions of the standard library."""
        cwd, env = rest[4:6]
        pipes = rest[9:15]
        streams = [pipe if pipe >= 0 else number for number, pipe in enumerate((pipes[0], pipes[3], pipes[5]))]
        self._ended, reporting = os.pipe()
        place = {"directory": str(cwd or Path.cwd()), "environ": dict(os.environ if env is None else env)}
        asked = orjson.dumps({"command": args[1:], **place})
        with _ASKING:
            socket.send_fds(_server(), [asked], [*streams, reporting])
            self.pid = int.from_bytes(_server().recv(4), "big")
            assert self.pid, "the server has ended"
        os.close(reporting)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        """As ``os.waitpid``: the parent of the process passes on how it ended."""
        ended = select.poll()
        ended.register(self._ended, select.POLLIN)
        if not ended.poll(0 if wait_flags else None):
            return 0, 0
        status = os.read(self._ended, 4)
        assert status, "the process that waits for it was killed"
        os.close(self._ended)
        return self.pid, int.from_bytes(status, "big")

    def _internal_poll(self, *_args: Any, **_more: Any) -> int | None:
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):  # type: ignore[attr-defined]
            try:
                pid, status = self._try_wait(os.WNOHANG) if self.returncode is None else (0, 0)
                if pid:
                    self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        return self.returncode


Started = Forked if sys.platform == "linux" else subprocess.Popen
"""Elsewhere the system's own libraries do not survive a fork."""


@cache
def _server() -> socket.socket:
    """A connection to the server, which is started once for each test process and ends with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "sync_pipeline_tests.forking", str(theirs.fileno())]
    environ = {**os.environ, **ALONE}
    server = subprocess.Popen(command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
    theirs.close()
    atexit.register(server.wait)
    atexit.register(ours.close)  # the last one is called first
    return ours


def _serve(connection: socket.socket) -> None:
    """Fork a process for each message, until the test process has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cli = import_module(PROGRAM)
    commands = {f"{PROGRAM}.{module}" for section in cli.COMMANDS.values() for module, _ in section.values()}
    for name in (*LIBRARIES, *sorted(commands)):
        import_module(name)
    use_templates(pytest.MonkeyPatch())
    make_templates()
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a library has started a thread"
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        asked, streams, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, 4)
        if not asked:
            return
        if os.fork() == 0:
            _keep(connection, orjson.loads(asked), *streams)
            return
        for stream in streams:
            os.close(stream)


def _keep(connection: socket.socket, asked: dict[str, Any], *streams: int) -> None:
    """Fork the process, send its id, and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *pipes, reporting = streams
    pid = os.fork()
    if pid == 0:
        os.close(reporting)
        connection.close()
        _run(asked, pipes)
    connection.send(pid.to_bytes(4, "big"))
    connection.close()
    for pipe in pipes:
        os.close(pipe)
    _, status = os.waitpid(pid, 0)
    os.write(reporting, status.to_bytes(4, "big"))
    os._exit(0)


def _run(asked: dict[str, Any], pipes: list[int]) -> None:
    """What a new interpreter would do; ends as that does."""
    for number, (name, pipe) in enumerate(zip(("stdin", "stdout", "stderr"), pipes, strict=True)):
        os.dup2(pipe, number)
        os.close(pipe)
        before = getattr(sys, name)
        stream = open(number, before.mode, encoding=before.encoding, errors=before.errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
    os.chdir(asked["directory"])
    os.environ.clear()
    os.environ.update(asked["environ"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[0] = asked["directory"]
    kind, what, *words = asked["command"]
    sys.argv[:] = [kind, *words]
    if kind == "-c":
        exec(what, {"__name__": "__main__"})
    else:
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
