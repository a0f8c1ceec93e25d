"""The embedded sandbox in real processes: who shares it, who may be killed, when it ends, who may read its files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from sync_pipeline.errors import ConfigError
from sync_pipeline.sandbox.embedded import control, embedded
from sync_pipeline_tests.harness import clean_environ
from sync_pipeline_tests.scenarios.commands import PATIENCE, ROOT, wait_until
from sync_pipeline_tests.scenarios.developing import free_port

USER = """
import sys
from pathlib import Path
from sync_pipeline.sandbox.embedded import embedded
with embedded(int(sys.argv[1]), Path(sys.argv[2])) as started:
    print(started, flush=True)
    sys.stdin.read()
"""


class Place:
    """A free port and a home for one embedded sandbox."""

    def __init__(self, root: Path) -> None:
        self.port = free_port()
        self.home = root / "home"
        self.database = self.home / "sandbox.db"
        self.environ = clean_environ(
            SYNC_HOME=str(self.home), SYNC_SANDBOX_PORT=str(self.port), PYTHONPATH=str(ROOT), SYNC_LOCK_SECONDS="60"
        )

    def process(self, *words: str) -> subprocess.Popen[str]:
        """A Python process with these arguments."""
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=self.home.parent,
            env=self.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def user(self) -> Iterator[tuple[subprocess.Popen[str], bool]]:
        """A process that uses the sandbox until its input ends, and whether it started it."""
        with self.process("-c", USER, str(self.port), str(self.database)) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                yield process, process.stdout.readline() == "True\n"
            finally:
                process.stdin.close()
                process.wait(PATIENCE)

    def serves(self) -> bool:
        """Whether anything listens on the port."""
        with socket.socket() as knock:
            return knock.connect_ex(("127.0.0.1", self.port)) == 0

    def answers(self) -> bool:
        """Whether it is our sandbox that answers."""
        answer = httpx.get(f"http://127.0.0.1:{self.port}/_control/database", trust_env=False, timeout=PATIENCE)
        return Path(answer.json()["database"]) == self.database

    def entities(self) -> dict[str, str]:
        """The entities it takes, with their id fields."""
        answer = httpx.get(f"http://127.0.0.1:{self.port}/_control/entities", trust_env=False, timeout=PATIENCE)
        found: dict[str, str] = answer.json()["entities"]
        return found

    def sandboxes(self) -> list[int]:
        """The processes that serve this database."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if str(self.database) in words and USER not in words:
                found.append(process.pid)
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A place of its own for each test."""
    return Place(tmp_path)


def test_it_ends_with_its_last_user(place: Place) -> None:
    """Not with the one that started it; and when the last one has ended, so has the server."""
    with place.user() as (_, started):
        assert started
        with place.user() as (_, started_again):
            assert not started_again
            assert place.answers()
        assert place.answers()
    assert not place.serves()
    assert place.sandboxes() == []


def test_it_outlives_the_one_that_started_it(place: Place) -> None:
    """The starter ends first: a later user keeps the sandbox, until it ends, too."""
    with place.user() as (starter, _), place.user() as (_, _started):
        starter.communicate(timeout=PATIENCE)
        assert place.answers()
        assert len(place.sandboxes()) == 1
    wait_until(lambda: not place.serves() and place.sandboxes() == [])


def test_killing_the_starter_affects_no_other_and_leaves_nothing(place: Place) -> None:
    """`kill -9` of the one that started it: the other one continues; `kill -9` of that one, too: nothing is left."""
    with place.user() as (starter, _), place.user() as (other, _started):
        starter.kill()
        starter.wait(PATIENCE)
        assert place.answers()
        other.kill()
        other.wait(PATIENCE)
    wait_until(lambda: not place.serves() and place.sandboxes() == [])


def test_killed_while_it_starts(place: Place) -> None:
    """The starter is killed before its sandbox answers: the next user gets one, and at the end nothing is left."""
    with place.process("-c", USER, str(place.port), str(place.database)) as starter:
        wait_until(lambda: bool(place.sandboxes()))
        starter.kill()
    with place.user():
        assert place.answers()
    wait_until(lambda: not place.serves() and place.sandboxes() == [])


def test_ctrl_c_is_not_for_the_sandbox(place: Place) -> None:
    """Ctrl-C goes to the whole group of a terminal's command; another command that uses the sandbox keeps it."""
    with place.user() as (starter, _), place.user() as (_, _started):
        assert all(os.getpgid(pid) != os.getpgid(starter.pid) for pid in place.sandboxes())
        starter.send_signal(signal.SIGINT)
        starter.wait(PATIENCE)
        assert place.answers()
    wait_until(lambda: place.sandboxes() == [])


def test_two_syncs_in_parallel_share_it(place: Place) -> None:
    """Typed at the same moment in a new home: both succeed, whichever ends first, and the server ends with them."""
    place.home.mkdir(mode=0o700)
    words = ("-m", "sync_pipeline.cli", "sync", "--entity", "users", "--json")
    both = [place.process(*words) for _ in range(2)]
    answers = [process.communicate(timeout=PATIENCE) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    created = [json.loads(out)["entities"]["users"]["created"] for out, _ in answers]
    assert sum(created) == 25
    wait_until(lambda: not place.serves() and place.sandboxes() == [])


@pytest.mark.parametrize(
    ("asked", "ended"),
    [(signal.SIGINT, (130, "", "Stopped.\n")), (signal.SIGTERM, (0, "", ""))],
    ids=["Ctrl-C", "kill"],
)
def test_the_sandbox_as_a_document(place: Place, asked: signal.Signals, ended: tuple[int, str, str]) -> None:
    """`sandbox --json` prints where everything is and which keys work as soon as it is ready, and serves until it is asked to end."""
    place.home.mkdir()
    words = ("sandbox", "--json", "--port", str(place.port), "--entries", "10", "--database", str(place.database))
    with place.process("-m", "sync_pipeline.cli", *words) as process:
        document = read_document(process)
        assert f":{place.port}/snapshots" in document["addresses"]["Snapshots"]
        assert "sandbox-clockify-key" in document["keys"].values()
        assert place.answers()
        process.send_signal(asked)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == ended


def test_dev_as_a_document(place: Place) -> None:
    """`dev --json` prints one document, whatever Dagster prints next to it; the sandbox ends with it."""
    place.home.mkdir()
    for name in ("workspace.yaml", "dagster.yaml"):
        shutil.copy(ROOT / name, place.home.parent / name)
    ui, webhooks = free_port(), free_port()
    words = ("dev", "--json", "--port", str(ui), "--webhook-port", str(webhooks), "--no-console")
    with place.process("-m", "sync_pipeline.cli", *words) as process:
        document = read_document(process)
        assert document["sandbox"].endswith(f":{place.port}")
        assert document["dagster"].endswith(f":{ui}")
        assert place.answers()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=PATIENCE)
    assert out == ""
    wait_until(lambda: place.sandboxes() == [])


def read_document(process: subprocess.Popen[str]) -> Any:
    """The JSON document a process that continues has printed."""
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    while lines[-1] and lines[-1] != "}\n":
        lines.append(process.stdout.readline())
    return json.loads("".join(lines))


def test_its_files_are_its_owners(place: Place) -> None:
    """Database, journal, log and locks: 0600 in a directory of mode 0700."""
    with place.user():
        names = {path.name for path in place.home.iterdir()}
        assert names >= {"sandbox.db", "sandbox.db-wal", "sandbox.db-shm", "sandbox.log"}
        assert {stat.filemode(path.stat().st_mode) for path in place.home.iterdir()} == {"-rw-------"}
        assert stat.filemode(place.home.stat().st_mode) == "drwx------"


def test_it_is_given_no_key_of_real_accounts(tmp_path: Path) -> None:
    """Its process has no use for the pipeline's variables, so they are not in its environment."""
    place = Place(tmp_path)
    place.home.parent.mkdir(exist_ok=True)
    place.environ |= {"CLOCKIFY_API_KEY": "real-key", "SYNC_DATABASE_URL": "postgresql://ana:secret@db.example/sync"}
    with place.user() as (process, _):
        (child,) = psutil.Process(process.pid).children()
        assert str(place.database) in child.cmdline()
        assert not {"real-key", "postgresql://ana:secret@db.example/sync"} & set(child.environ().values())


def test_it_takes_the_entities_that_its_users_name(place: Place) -> None:
    """Each user names those of its mapping files; the contract's own keep their ids, and Clockify has its own lists."""
    here, tags = (place.port, place.database), ("snapshots", "tags", "tag_id")
    with embedded(*here, [tags, ("clockify", "labels", "id"), ("snapshots", "users", "uid")]):
        assert place.entities() == OF_THE_CONTRACT | {"tags": "tag_id"}
        with embedded(*here, [("snapshots", "notes", "noteId"), ("snapshots", "tags", "label_id")]):
            assert place.entities() == OF_THE_CONTRACT | {"tags": "label_id", "notes": "noteId"}
        with pytest.raises(ConfigError, match="not accept an entity of the mapping files: oauth exists already"):
            embedded(*here, [("snapshots", "oauth", "id")]).__enter__()


def test_its_highlevel_has_the_objects_of_a_sync_when_they_are_asked_for(place: Place) -> None:
    """Fresh sample data have them, too."""
    with embedded(place.port, place.database, highlevel_prepared=True):
        control(place.port, "reset", {})
        assert control(place.port, "options")["highlevel_prepared"]
        made = control(
            place.port, "highlevel/records/clockify_users", {"properties": {"title": "Ada", "user_id": "u1"}}
        )
        assert made["objectKey"] == "custom_objects.clockify_users"


OF_THE_CONTRACT = {
    "locations": "location_id", "users": "user_id", "projects": "project_id", "time_entries": "time_entry_id",
}  # fmt: skip
