"""Files, disks, databases, ports and settings that cannot be used: one message with the fix, nothing lost."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sync_pipeline.sandbox.server import running
from sync_pipeline.sandbox.world import Options
from sync_pipeline_tests.cli.shell import ROOT, Shell
from sync_pipeline_tests.connectors.scripted import in_turn, reply, scripted
from sync_pipeline_tests.harness import ENTITIES, clean_environ, day
from sync_pipeline_tests.scenarios.developing import free_port

NO_CREDENTIALS = dict.fromkeys(("CLOCKIFY_API_KEY", "CLOCKIFY_WORKSPACE_ID", "SNAPSHOTS_BASE_URL", "SNAPSHOTS_API_KEY"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"SNAPSHOTS_API_KEY": None}, "SNAPSHOTS_API_KEY is missing, but CLOCKIFY_API_KEY, "),
        ({"CLOCKIFY_WORKSPACE_ID": ""}, "CLOCKIFY_WORKSPACE_ID is missing, but CLOCKIFY_API_KEY, "),
        (
            {"SNAPSHOTS_API_KEY": None, "SNAPSHOTS_BASE_URL": None},
            "SNAPSHOTS_BASE_URL and SNAPSHOTS_API_KEY are missing, but CLOCKIFY_API_KEY, CLOCKIFY_WORKSPACE_ID are set.",
        ),
        ({"SYNC_START_DATE": "01/02/2026"}, "SYNC_START_DATE: `01/02/2026` is not a date like 2026-01-31."),
        ({"SNAPSHOTS_BASE_URL": "snapshots.example"}, "SNAPSHOTS_BASE_URL: `snapshots.example` is not a URL that "),
        ({"CLOCKIFY_BASE_URL": "http://"}, "CLOCKIFY_BASE_URL: `http://` is not a URL that starts with http://"),
        ({"SYNC_MAPPINGS_DIR": "/nowhere"}, "SYNC_MAPPINGS_DIR: `/nowhere` is not an existing directory."),
        (
            {"SNAPSHOTS_PROFILE": "acme"},
            "SNAPSHOTS_PROFILE: `acme` is not a built-in profile (generic, highlevel) or an existing ",
        ),
        (
            {**NO_CREDENTIALS, "SNAPSHOTS_PROFILE": "acme"},
            "SNAPSHOTS_PROFILE: `acme` is not a built-in profile (generic, highlevel)",
        ),
        ({"SYNC_DATABASE_URL": "mysql://me:s3cret@db/x"}, "SYNC_DATABASE_URL names mysql, which is not supported."),
    ],
)
def test_a_setting_is_wrong(shell: Shell, changes: dict[str, str | None], expected: str) -> None:
    """Whatever the command, it ends with 2 before anything is started, and names the variable and the fix."""
    for command in ("sync", "check"):
        ended = shell.with_(**changes)(command, code=2)
        assert expected in ended.message
        assert ended.out == ""
    assert not (shell.home / "dagster").exists()


@pytest.mark.parametrize("words", ["report hours --format csv --out", "support-bundle --out", "setup export"])
@pytest.mark.parametrize("place", ["none/file", "dagster.yaml/file"])
def test_a_directory_that_does_not_exist(shell: Shell, words: str, place: str) -> None:
    """It is named before any work is done."""
    ended = shell(*words.split(), place, code=2)
    assert f"'{Path(place).parent}' is not a directory" in ended.err


def test_an_unknown_setting_is_named(shell: Shell) -> None:
    """It is named next to what a command prints, with the nearest name, and changes nothing."""
    for words in (("status", "--json"), ("check", "--json"), ("sync", "--entity", "users", "--json")):
        ended = shell.with_(SYNC_HOEM="/elsewhere")(*words, code=0)
        assert ended.warnings == ["The variable SYNC_HOEM of the environment is not a setting. Did you mean SYNC_HOME?"]
        assert ended.document


def test_a_start_date_ahead(shell: Shell) -> None:
    """One that lies too far ahead is named, not an option that no one typed; within the days ahead it is where to begin."""
    for command in ("sync", "preview", "verify"):
        message = shell.with_(SYNC_START_DATE="2999-01-01")(command, code=2).message
        assert message.startswith("SYNC_START_DATE, 2999-01-01, lies more than 7 days ahead")
    tomorrow = shell.with_(SYNC_START_DATE=day(-1).isoformat())
    assert tomorrow.sync("--entity", "time_entries")["entities"]["time_entries"]["created"] == 0


def test_broken_mapping(shell: Shell) -> None:
    """File, line, field, what was found and what was meant."""
    mine = shell.root / "mappings"
    mine.mkdir()
    (mine / "users.yaml").write_text("fields:\n  email:\n    sauce: email\n")
    bad = shell.with_(SYNC_MAPPINGS_DIR=str(mine))
    for words in (("sync",), ("mapping", "validate"), ("mapping", "show")):
        message = bad(*words, code=2).message
        assert message.startswith(f"{mine / 'users.yaml'}:3: ")
        assert "sauce" in message
        assert "source" in message
    (mine / "users.yaml").write_text("fields: [\n")
    assert f"{mine / 'users.yaml'}:" in bad("mapping", "validate", code=2).message
    assert "users.yaml" in shell("mapping", "validate", str(mine), code=2).message


def test_unwritable_home(shell: Shell) -> None:
    """A file where SYNC_HOME should be, and a place where no one may write."""
    occupied = shell.root / "file"
    occupied.write_text("mine")
    for place in (occupied, occupied / "below", Path("/proc/home")):
        message = shell.with_(SYNC_HOME=str(place))("sync", code=2).message
        assert message.startswith(f"SYNC_HOME {place} cannot be used: ")
        assert message.endswith("Name a directory you can write.")
    assert occupied.read_text() == "mine"


AS_NOBODY = """
import os, sys
import encodings.utf_8_sig, sync_pipeline.cli.state, sync_pipeline.sandbox.embedded  # while they can be read
from sync_pipeline.cli import main
if os.geteuid() == 0:  # root may write anywhere
    os.setuid(65534)
main()
"""


@pytest.mark.parametrize("left", [None, "sandbox.8990.users"])
def test_a_home_of_another_user(left: str | None) -> None:
    """A directory that may be read but not written, or a file in it: one message."""
    with TemporaryDirectory() as home:
        if left is not None:
            (Path(home) / left).touch(mode=0o400)
        Path(home).chmod(0o555 if left is None else 0o777)
        ended = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, "check"],
            cwd=home,
            env=clean_environ(SYNC_HOME=home, SYNC_SANDBOX_PORT="8990", PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
            check=False,
        )
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr == (
        f"Error: The sandbox cannot keep its data in {home}: Permission denied.\n"
        "Fix: Point SYNC_HOME at a directory you can write.\n"
    )


@pytest.mark.parametrize("place", ["/proc/sync.db", "/tmp"])
def test_unwritable_database(shell: Shell, place: str) -> None:
    """The file and the setting are named."""
    message = shell.with_(SYNC_DATABASE_URL=f"sqlite:///{place}")("sync", code=1).message
    assert message.startswith(f"The database {place} cannot be written to")
    assert "SYNC_DATABASE_URL" in message


def test_locked_database(shell: Shell) -> None:
    """Another program writes, or has the file to itself: reported once; afterwards everything is delivered."""
    shell("status")
    shell.team.forget_stats()
    expected = (
        f"The database {shell.home / 'sync.db'} is locked by another program (database is locked). Wait until it "
    )
    with closing(sqlite3.connect(shell.home / "sync.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        message = shell("sync", "--entity", "users", code=1).message
        assert message.startswith(f"users: {expected}")
        other.execute("ROLLBACK")
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        assert shell("sync", code=1).message.startswith(expected)
    assert shell.team.writes() == {}
    assert shell.sync("--entity", "users")["entities"]["users"]["created"] == 4


def test_newer_database(shell: Shell) -> None:
    """A database of a later version is left unchanged."""
    shell("status")
    with closing(sqlite3.connect(shell.home / "sync.db")) as store, store:
        store.execute("UPDATE sync_pipeline_version SET version_num = '9999'")
    for command in ("sync", "status"):
        message = shell(command, code=1).message
        assert "newer" in message
        assert str(shell.home / "sync.db") in message


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    """A file system of ``size`` at ``place``; only root may mount one."""
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root can make a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.parametrize(
    ("place", "size", "expected"),
    [
        ("home/batches", "4k", "Nothing can be written below {}: No space left on device. Free some disk space"),
        ("home/dagster", "300k", "Dagster's history in {} cannot grow: the disk is full"),
        ("home", "4k", "The database {}/sync.db cannot grow: the disk is full"),
    ],
)
def test_full_disk(shell: Shell, place: str, size: str, expected: str) -> None:
    """The disk that is full is named, whatever fills it; nothing is half written, and with more space it completes."""
    where = shell.root / place
    shell.team.forget_stats()
    with small_disk(where, size):
        ended = shell("sync", "--entity", "users", code=1)
        assert expected.format(where) in ended.message
        assert shell.team.writes() == {}
    assert shell.sync("--entity", "users")["entities"]["users"]["created"] == 4


def test_the_store_fills_up(shell: Shell) -> None:
    """Full in the middle of a sync: what was acknowledged is kept, and with more space the rest follows."""
    where = shell.root / "small"
    with small_disk(where, "560k"):
        small = shell.with_(SYNC_DATABASE_URL=f"sqlite:///{where}/sync.db")
        document = small.sync(code=1)
        (error,) = document["errors"]
        assert f"The database {where}/sync.db cannot grow: the disk is full" in error
        subprocess.run(["mount", "-o", "remount,size=20M", where], check=True)
        assert small.sync("--verify")["success"]


def test_the_port_of_the_embedded_sandbox_is_in_use(shell: Shell) -> None:
    """Another sandbox or another program has it: both are distinguished, and the setting is named."""
    alone = shell.with_(**NO_CREDENTIALS, CLOCKIFY_BASE_URL=None, CLOCKIFY_REPORTS_URL=None)
    with scripted(in_turn(reply(404))) as server:
        for url, who in ((shell.team.sandbox.url, "another sandbox (its data is in "), (server.url, "another program")):
            port = url.rpartition(":")[2]
            message = alone.with_(SYNC_SANDBOX_PORT=port)("sync", code=2).message
            assert message.startswith(f"Port {port} is in use by {who}")
            assert message.endswith("Stop it, or set SYNC_SANDBOX_PORT to a free port.")


def test_the_port_of_the_sandbox_is_in_use(shell: Shell) -> None:
    """The command that serves it states which port, and how to choose another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        message = shell("sandbox", "--port", port, code=2).message
    assert message.startswith(f"The sandbox cannot listen on 127.0.0.1 port {port}: ")
    assert message.endswith("Stop the program that uses the port, or choose another one with --port.")


def test_a_sandbox_with_data_says_which_options_have_no_effect(shell: Shell, tmp_path: Path) -> None:
    """Those for the data of a new file, where they are given and the file has data; otherwise nothing is said."""
    file = tmp_path / "kept.db"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = ("sandbox", "--port", str(taken.getsockname()[1]), "--database", str(file))
        assert shell(*words, "--users", "5", code=2).warnings == []
        with running(file, Options(users=2, projects=1, entries=3)):
            assert shell(*words, "--plan", "free", code=2).warnings == []
            (warning,) = shell(*words, "--users", "5", "--entries", "200", code=2).warnings
    assert warning.startswith(f"{file} has data already, which these options do not change: --users, --entries.")
    assert "sync-pipeline sandbox reset" in warning


@pytest.mark.parametrize(
    "words",
    [
        ("sandbox", "--port", "65536"),
        ("sandbox", "--entries", "-1"),
        ("sandbox", "--users", "0"),
        ("sandbox", "--days", "0"),
        ("webhooks", "serve", "--port", "99999"),
        ("dev", "--port", "0"),
    ],
)
def test_what_no_server_can_start_with(shell: Shell, words: tuple[str, ...]) -> None:
    """Numbers out of range are usage errors that name the range, and no file is made."""
    ended = shell(*words, code=2)
    assert f"Invalid value for '{words[-2]}': {words[-1]} is not in the range " in ended.err
    assert not shell.home.exists()


def test_a_sandbox_takes_no_other_programs_database(shell: Shell) -> None:
    """One typing error may not cost what the pipeline knows: its own database is refused, and stays unchanged."""
    shell.sync("--entity", "users")
    ended = shell("sandbox", "--port", "0", "--database", str(shell.home / "sync.db"), code=2)
    assert "sync.db: it belongs to another program (it has a table " in ended.message
    assert shell("status", "--json", code=0).document["entities"]["users"]["delivered"] == 4


@pytest.mark.parametrize(
    ("option", "what"),
    [("--port", "The Dagster UI"), ("--webhook-port", "The webhook receiver"), ("--console-port", "The console")],
)
def test_a_port_of_dev_is_in_use(shell: Shell, option: str, what: str) -> None:
    """Told before anything starts - two servers on one port, too: which port, and which option changes it."""
    alone = shell.with_(**NO_CREDENTIALS, CLOCKIFY_BASE_URL=None, CLOCKIFY_REPORTS_URL=None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        other = str(free_port())
        words = {"--port": other, "--webhook-port": str(free_port()), "--console-port": str(free_port()), option: port}
        message = alone("dev", *(word for pair in words.items() for word in pair), code=2).message
    assert message == (
        f"{what} cannot listen on 127.0.0.1 port {port}: Address already in use. "
        f"Stop the program that uses the port, or choose another one with {option}."
    )
    assert (
        "choose another one with --webhook-port."
        in alone("dev", "--port", other, "--webhook-port", other, code=2).message
    )
    assert [place.name for place in shell.home.iterdir()] == ["dev.lock"]  # the home was held, and nothing else done


def test_every_entity_has_a_name(shell: Shell) -> None:
    """An entity that does not exist is a usage error wherever one is named."""
    for words in (
        ("deliveries", "--entity", "user"),
        ("rejects", "list", "--entity", "user"),
        ("rejects", "show", "user", "1"),
        ("rejects", "retry", "--entity", "user"),
        ("mapping", "show", "user"),
    ):
        ended = shell(*words, code=2)
        assert f"There is no entity 'user'; there are {', '.join(sorted(ENTITIES, key=ended.err.index))}." in ended.err
