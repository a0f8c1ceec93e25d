"""One pair for all processes: encrypted, replaced whole, renewed by one of many, lost permanently when it is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text

from sync_pipeline.errors import ConfigError
from sync_pipeline.sandbox.server import Running
from sync_pipeline.store import credentials
from sync_pipeline.store.credentials import open_keyring
from sync_pipeline.store.engine import Store
from sync_pipeline.store.tokens import Lost, StoredVault, Tokens
from sync_pipeline_tests.connectors.clients import run
from sync_pipeline_tests.connectors.consenting import ENCRYPTION_KEY, PLACE, authorized, ended, token_requests
from sync_pipeline_tests.forking import Started
from sync_pipeline_tests.sandbox.running import running_sandbox
from sync_pipeline_tests.store.batch import at

PROCESSES = 12
PAIR = Tokens("an-access-token", "a-refresh-token", expires_at=1_767_225_600.0, scope="users.read")
USER_OF_THE_PAIR = """
import asyncio, os, signal, sys
from pathlib import Path
from sync_pipeline.connectors.limiter import memory_limiter
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.connectors.http import ClientOptions
from sync_pipeline.connectors.snapshots.api import Credentials, Snapshots
from sync_pipeline.errors import SyncError
from sync_pipeline.store.credentials import open_keyring
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.tokens import StoredVault

url, base, key, place, end = sys.argv[1:]

class Killed(StoredVault):
    async def save(self, tokens):
        os.kill(os.getpid(), signal.SIGKILL)

async def work():
    kind = Killed if end == "killed" else StoredVault
    vault = kind(open_store(url), open_keyring(key, Path("unused")), place)
    credentials = Credentials(client_id="sandbox-client", client_secret="sandbox-secret", vault=vault)
    async with Snapshots(load_profile(), base, credentials, ClientOptions(limiter=memory_limiter())) as client:
        print("ready", flush=True)
        sys.stdin.readline()
        await client.probe("users")
        print("read", flush=True)

try:
    asyncio.run(work())
except SyncError as error:
    print(error, flush=True)
"""


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A sandbox of this test's own."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as started:
        yield started


@pytest.fixture
def vault(store: Store) -> StoredVault:
    """A vault in each kind of store."""
    return StoredVault(store, open_keyring(ENCRYPTION_KEY, Path("unused")), PLACE)


class Users:
    """Other processes that use the pair, all at the same moment."""

    def __init__(self, url: str, sandbox: Running) -> None:
        self._arguments = [url, sandbox.snapshots, ENCRYPTION_KEY, PLACE]

    def read(self, count: int, end: str = "") -> list[tuple[int, str]]:
        """Exit code and last line of each."""
        command = [sys.executable, "-c", USER_OF_THE_PAIR, *self._arguments, end]
        with ExitStack() as stack:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            started = [stack.enter_context(Started(command, **pipes)) for _ in range(count)]  # type: ignore[call-overload]
            for process in started:
                assert process.stdout.readline() == "ready\n"
            for process in started:
                process.stdin.write("\n")
                process.stdin.flush()
            answers = [process.communicate()[0].strip() for process in started]
            return [(process.returncode, line) for process, line in zip(started, answers, strict=True)]


def test_a_pair_is_kept_encrypted(store: Store, vault: StoredVault) -> None:
    """It comes back unchanged; the table holds nothing readable of it but when it ends."""
    assert vault.read() is None
    vault.keep(PAIR)
    assert vault.read() == PAIR
    assert run(vault.load()) == PAIR
    with store.reading() as tx:
        stored = repr(tx.execute(text("SELECT * FROM credentials")).all())
    assert "2026" in stored
    assert not [secret for secret in PAIR.secrets if secret in stored]


def test_a_lost_pair_leaves_its_reason(vault: StoredVault) -> None:
    """The secrets are deleted, the reason is visible to everyone, and a new consent replaces it."""

    async def work() -> None:
        async with vault.lock():
            await vault.save(PAIR)
            await vault.lose("withdrawn")
        assert await vault.load() == Lost("withdrawn")

    run(work())
    vault.keep(PAIR)
    assert vault.read() == PAIR
    vault.remove()
    assert vault.read() is None


def test_pairs_of_other_accounts_are_others(store: Store, vault: StoredVault) -> None:
    """Place and name distinguish them, also for the lock."""
    other = StoredVault(store, open_keyring(ENCRYPTION_KEY, Path("unused")), PLACE + " 2")
    vault.keep(PAIR)

    async def work() -> None:
        async with vault.lock(), other.lock():
            assert await other.load() is None

    run(work())


def test_the_pair_is_encrypted_again_with_a_new_key(store: Store, vault: StoredVault) -> None:
    """Keys are changed as for every other secret."""
    vault.keep(PAIR)
    fresh = Fernet.generate_key().decode()
    both = open_keyring(f"{fresh},{ENCRYPTION_KEY}", Path("unused"))
    assert credentials.encrypt_again(store, both, PLACE, at(1)) == (1, [])
    assert StoredVault(store, open_keyring(fresh, Path("unused")), PLACE).read() == PAIR
    with pytest.raises(ConfigError, match="encrypted with another key"):
        vault.read()


def test_one_of_many_processes_renews_the_pair(url: str, vault: StoredVault, sandbox: Running) -> None:
    """Twelve processes meet a token that has ended: one request renews it, and all of them read."""
    vault.keep(ended(authorized(sandbox)))
    before = token_requests(sandbox)

    assert Users(url, sandbox).read(PROCESSES) == [(0, "read")] * PROCESSES
    assert token_requests(sandbox) - before == 1


def test_a_pair_that_died_with_its_process_is_reported(url: str, vault: StoredVault, sandbox: Running) -> None:
    """Killed with -9 between answer and vault: the next one finds the token spent, once; then no one sends anything."""
    vault.keep(ended(authorized(sandbox)))
    users = Users(url, sandbox)

    assert users.read(1, end="killed") == [(-signal.SIGKILL, "")]
    (message,) = {line for _, line in users.read(3)}
    assert message.endswith("Authorize again.")
    assert isinstance(vault.read(), Lost)
    sandbox.world.stats.clear()
    assert users.read(1) == [(0, message)]
    assert sandbox.world.stats.requests.total() == 0

    vault.keep(authorized(sandbox))
    assert users.read(1) == [(0, "read")]


def test_waiting_ends_when_the_process_that_renews_is_killed(url: str, vault: StoredVault, sandbox: Running) -> None:
    """The lock dies with its process: all who wait continue, and are told that the pair is lost."""
    vault.keep(ended(authorized(sandbox)))
    ends = Users(url, sandbox).read(3, end="killed")
    assert min(code for code, _ in ends) == -signal.SIGKILL
    assert sum(code == -signal.SIGKILL for code, _ in ends) == 1
    assert isinstance(vault.read(), Lost)
