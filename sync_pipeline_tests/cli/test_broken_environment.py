"""Commands on a machine that is not as it should be: one message with the remedy, and nothing lost."""

from __future__ import annotations

import os
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sync_pipeline_tests.cli.shell import PERSON, ROOT, Ended, Shell, assert_clean
from sync_pipeline_tests.cli.test_bad_places import NO_CREDENTIALS
from sync_pipeline_tests.harness import clean_environ
from sync_pipeline_tests.scenarios.developing import free_port

COMMANDS = {
    "status": ("status", "--json"),
    "check": ("check", "--json"),
    "sync": ("sync", "--json", "--entity", "users"),
    "preview": ("preview", "--json", "--entity", "locations"),
    "trial": ("trial", "--json"),
    "dev": ("dev", "--json", "--port", "{}", "--webhook-port", "{}", "--console-port", "{}"),
    "console": ("console", "--json", "--port", "{}"),
    "webhooks serve": ("webhooks", "serve", "--json", "--port", "{}"),
}
SERVERS = ("dev", "console", "webhooks serve")
POOR_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""Python would make UTF-8 of C, but not of any other locale that lacks most characters."""
AS_NOBODY = """
import os
from click.testing import CliRunner
from sync_pipeline.cli import cli, main
CliRunner().invoke(cli, ["status", "--json"])  # loads all that another user may not be able to read
if os.geteuid() == 0:
    os.setuid(65534)
main()
"""
LIMITED = ("sh", "-c", 'ulimit -f 1; exec "$@"', "sh")
"""No file can grow."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A shell, and what is wrong around it."""

    shell: Shell
    port: int | None = None
    """In use, and asked for."""
    through: tuple[str, ...] = ()

    def with_(self, **environ: str | None) -> Machine:
        """The same machine with other variables; None unsets one."""
        return replace(self, shell=self.shell.with_(**environ))

    def run(self, command: str) -> Ended:
        """The command in a process of its own, until it ends; a server until it is ready, and then interrupted."""
        words = [word.format(self.port or free_port()) for word in COMMANDS[command]]
        process = subprocess.Popen(
            [*self.through, sys.executable, "-m", "sync_pipeline.cli", *words],
            cwd=self.shell.root,
            env=_environ(self.shell),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        with process:
            assert process.stdout is not None
            out = ""
            for line in process.stdout:
                out += line
                if line == "}\n" and command in SERVERS:
                    process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            ended = Ended(process.wait(), out, process.stderr.read())
        assert_clean(ended)
        return ended


@contextmanager
def read_only_home(shell: Shell) -> Iterator[Machine]:
    """Root may write anywhere but to a file system that is read only."""
    shell("status", code=0)
    if os.geteuid() != 0:
        shell.home.chmod(0o500)
        yield Machine(shell)
        shell.home.chmod(0o700)
        return
    _mount("--bind", str(shell.home), str(shell.home))
    try:
        _mount("-o", "remount,bind,ro", str(shell.home))
        yield Machine(shell)
    finally:
        subprocess.run(["umount", "--lazy", shell.home], check=True)


@contextmanager
def full_disk(shell: Shell) -> Iterator[Machine]:
    """A disk with nothing left on it, once everything is set up."""
    shell.home.mkdir()
    _mount("-t", "tmpfs", "-o", "size=8M", "none", str(shell.home))
    try:
        shell("status", code=0)
        filler = shell.home / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as out:
            while out.write(bytes(4096)):
                pass
        yield Machine(shell)
        filler.unlink()
        assert shell.sync("--entity", "users")["entities"]["users"]["created"] == 4
    finally:
        subprocess.run(["umount", "--lazy", shell.home], check=True)


@contextmanager
def only_home_read_only(shell: Shell) -> Iterator[Machine]:
    """The database is elsewhere and can be written."""
    shell.home.mkdir()
    with read_only_home(_database_elsewhere(shell)) as machine:
        yield machine


@contextmanager
def only_home_full(shell: Shell) -> Iterator[Machine]:
    """The database is on another disk."""
    with full_disk(_database_elsewhere(shell)) as machine:
        yield machine


def _database_elsewhere(shell: Shell) -> Shell:
    return shell.with_(SYNC_DATABASE_URL=f"sqlite:///{shell.root / 'elsewhere.db'}")


@contextmanager
def file_size_limit(shell: Shell) -> Iterator[Machine]:
    """As administrators and containers set it."""
    shell("status", code=0)
    yield Machine(shell, through=LIMITED)
    assert shell.sync("--entity", "users")["entities"]["users"]["created"] == 4


@contextmanager
def no_time_zones(shell: Shell) -> Iterator[Machine]:
    """Neither the system's nor those of the package, and a zone of its own that does not exist."""
    stub = shell.root / "stub" / "tzdata"
    stub.mkdir(parents=True)
    (stub / "__init__.py").touch()
    yield Machine(shell.with_(PYTHONTZPATH="", PYTHONPATH=str(stub.parent), TZ="Nowhere/Nothing"))


@contextmanager
def poor_locale(shell: Shell) -> Iterator[Machine]:
    """Output has no more than ASCII."""
    yield Machine(shell.with_(**POOR_LOCALE))


@contextmanager
def no_home(shell: Shell) -> Iterator[Machine]:
    """As cron and containers start programs."""
    yield Machine(shell.with_(HOME=None, USER=None, LOGNAME=None))


class _Greeting(socketserver.BaseRequestHandler):
    """Another program, that speaks no HTTP."""

    def handle(self) -> None:
        self.request.sendall(b"SSH-2.0-OpenSSH\r\n")


@contextmanager
def port_in_use(shell: Shell) -> Iterator[Machine]:
    """Another program listens where we want to."""
    with socketserver.TCPServer(("127.0.0.1", 0), _Greeting) as other:
        threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
        yield Machine(shell, port=other.server_address[1])
        other.shutdown()


def _environ(shell: Shell) -> dict[str, str]:
    """The shell's variables for a process whose output this test reads, not a person."""
    given = {**clean_environ(), **shell.environ, **dict.fromkeys(PERSON)}
    return {name: value for name, value in given.items() if value is not None}


def _mount(*words: str) -> None:
    if os.geteuid() != 0 or subprocess.run(["mount", *words], check=False).returncode:
        pytest.skip("only root can make a disk")


FULL = "The database {home}/sync.db cannot grow: the disk is full"
READ_ONLY = "The database {home}/sync.db cannot be written to ("
IN_USE = "on 127.0.0.1 port {port}: Address already in use. Stop the program that uses the port"
WORKS = ""

Situation = Callable[[Shell], AbstractContextManager[Machine]]
SITUATIONS: Mapping[Situation, Mapping[str, str]] = {
    read_only_home: dict.fromkeys(COMMANDS, READ_ONLY),
    full_disk: dict.fromkeys(("status", "sync", "preview", "webhooks serve", "dev", "console"), FULL),
    only_home_read_only: {
        "dev": "SYNC_HOME {home} cannot be used: ",
        "console": "The host name of console and Dagster UI cannot be kept in {home}/host: ",
    },
    only_home_full: {
        "dev": "{home}/dagster/dagster.yaml cannot be written: No space left on device.",
        "console": "{home}/host cannot be written: No space left on device.",
    },
    file_size_limit: dict.fromkeys(("check", "trial"), FULL),
    no_time_zones: dict.fromkeys(("check", "sync"), WORKS),
    poor_locale: dict.fromkeys(("check", "sync", "webhooks serve"), WORKS),
    no_home: dict.fromkeys(("status", "sync", "console"), WORKS),
    port_in_use: {
        "dev": f"The Dagster UI cannot listen {IN_USE}",
        "console": f"The console cannot listen {IN_USE}",
        "webhooks serve": f"Webhooks cannot be received {IN_USE}",
    },
}
"""What each command prints first where something is wrong."""
TABLE = [
    pytest.param(situation, command, expected, id=f"{situation.__name__}-{command}")
    for situation, commands in SITUATIONS.items()
    for command, expected in commands.items()
]


@pytest.mark.parametrize(("situation", "command", "expected"), TABLE)
def test_one_message_that_names_the_place_and_the_remedy(
    shell: Shell, situation: Situation, command: str, expected: str
) -> None:
    """No traceback, no incomplete document; a command that does not need what is broken works."""
    with situation(shell) as machine:
        ended = machine.run(command)
    if expected == WORKS:
        assert ended.code == (130 if command in SERVERS else 0), ended
        assert ended.document
        return
    assert ended.code in (1, 2)
    assert ended.out == ""
    assert ended.message.startswith(expected.format(home=shell.home, port=machine.port)), ended
    assert ended.message.endswith("."), ended


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        (only_home_full, "The sandbox did not start: there is no space left for its data in {home}."),
        (
            no_time_zones,
            "The sandbox did not start: This machine has no time zone data. Install it: `pip install tzdata`.",
        ),
        (port_in_use, "Port {port} is in use by another program, so the sandbox cannot start there. Stop it, or set "),
    ],
)
def test_the_embedded_sandbox_says_it_through_the_command(shell: Shell, situation: Situation, expected: str) -> None:
    """It is a process of its own with an output of its own."""
    with situation(shell) as machine:
        port = str(machine.port or free_port())
        ended = machine.with_(**NO_CREDENTIALS, CLOCKIFY_BASE_URL=None, SYNC_SANDBOX_PORT=port).run("check")
    assert ended.code == 2
    assert ended.message.startswith(expected.format(home=shell.home, port=machine.port)), ended


def test_a_home_that_is_read_only_keeps_what_it_holds(shell: Shell) -> None:
    """What was delivered stays known: nothing is sent again once it can be written."""
    shell.sync("--entity", "users")
    before = {path.name: path.read_bytes() for path in shell.home.glob("*.db*")}
    with read_only_home(shell) as machine:
        assert machine.run("sync").code == 1
        assert {path.name: path.read_bytes() for path in shell.home.glob("*.db*")} == before
    assert shell.sync("--entity", "users")["entities"]["users"]["unchanged"] == 4


def test_status_in_a_home_of_another_user(shell: Shell) -> None:
    """Readable, but not ours to write: the database and the remedy are named."""
    with TemporaryDirectory() as place:
        theirs = replace(shell, root=Path(place))
        theirs("status", code=0)
        for path in (theirs.root, theirs.home, *theirs.home.iterdir()):
            path.chmod(0o555 if path.is_dir() else 0o444)
        ended = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, "status", "--json"],
            cwd=theirs.home,
            env={**_environ(theirs), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        for path in (theirs.root, theirs.home):
            path.chmod(0o700)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"Error: The database {theirs.home / 'sync.db'} cannot be written to (")
    assert "Give this user write access to the file and its directory" in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("--help",), ("preview", "--json")])
def test_output_that_cannot_be_written(shell: Shell, words: tuple[str, ...]) -> None:
    """A full disk behind standard output: reported on standard error, and not with 0."""
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "sync_pipeline.cli", *words],
            cwd=shell.root, env=_environ(shell), stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    ended = Ended(process.returncode, "", process.stderr)
    assert_clean(ended)
    assert ended.code == 1
    assert ended.errors == [
        "The output cannot be written: No space left on device. Free some disk space and run it again; "
        "everything that was saved before is still there."
    ]
    assert "\nFix: Free some disk space" in ended.err


def test_names_that_the_locale_does_not_have(shell: Shell) -> None:
    """They are escaped, in a document as JSON does, so that its content is the same."""
    shell.team.put_location("poor", location_name="Zoë 東京 \U0001f600")
    usual = Machine(shell).run("preview")
    assert not usual.out.isascii()
    poor = Machine(shell).with_(**POOR_LOCALE).run("preview")
    assert poor.out.isascii()
    assert poor.document == usual.document
