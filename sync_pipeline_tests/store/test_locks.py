"""One loader at a time, under a lock that dies with its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from sync_pipeline.errors import LockLost, StoreError
from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.ledger import Ledger
from sync_pipeline_tests.forking import Started
from sync_pipeline_tests.scenarios.commands import wait_until
from sync_pipeline_tests.store.batch import HERE, THERE
from sync_pipeline_tests.store.conftest import Server, end_locks

HOLDER = """
import sys
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.ledger import Ledger
with Ledger(open_store(sys.argv[1]), sys.argv[2], "users").lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def _holder(url: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock and keeps it."""
    command = [sys.executable, "-c", HOLDER, url, HERE]
    with Started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_lock_of_a_killed_process_is_free(url: str, store: Store) -> None:
    """Waiting is announced once, and ends when the other process is killed with -9."""
    said: list[str] = []
    with _holder(url) as process:

        def on_wait(words: str) -> None:
            said.append(words)
            os.kill(process.pid, signal.SIGKILL)

        with Ledger(store, HERE, "users").lock(on_wait):
            assert said == ["Another process is loading users: waiting for it to finish."]


def test_a_free_lock_is_taken_silently_and_again(store: Store) -> None:
    """No one waits for a lock that was given back."""
    said: list[str] = []
    for _ in range(2):
        with Ledger(store, HERE, "users").lock(said.append):
            pass

    assert said == []


def test_other_entities_and_connections_have_other_locks(url: str, store: Store) -> None:
    """Only the same entity over the same connection excludes."""
    said: list[str] = []
    with (
        _holder(url),
        Ledger(store, HERE, "projects").lock(said.append),
        Ledger(store, THERE, "users").lock(said.append),
    ):
        assert said == []


def test_threads_of_one_process_exclude_each_other(url: str, store: Store) -> None:
    """The lock is between loaders, not only between processes."""
    waiting, order = threading.Event(), []

    def second() -> None:
        other = open_store(url)
        with Ledger(other, HERE, "users").lock(lambda _: waiting.set()):
            order.append("second")
        other.close()

    thread = threading.Thread(target=second)
    with Ledger(store, HERE, "users").lock():
        thread.start()
        assert waiting.wait(20)
        order.append("first")
    thread.join()

    assert order == ["first", "second"]


def test_a_lock_can_be_had_while_rows_are_written(store: Store) -> None:
    """Holding it takes no database lock and opens no transaction."""
    with Ledger(store, HERE, "users").lock(), store.writing() as tx:
        tx.exec_driver_sql("UPDATE records SET entity = entity")


def test_an_error_inside_frees_the_lock(store: Store) -> None:
    """Whatever happens while loading, the next loader gets in."""
    with pytest.raises(StoreError), Ledger(store, HERE, "users").lock():
        raise StoreError("no luck")

    with Ledger(store, HERE, "users").lock(on_wait=pytest.fail):
        pass


def test_a_lock_that_is_held_lets_writes_out(store: Store) -> None:
    """Asked before each write; without a lock there is nothing to lose."""
    store.check_locks()
    with Ledger(store, HERE, "users").lock(), Ledger(store, HERE, "projects").lock():
        store.check_locks()
    store.check_locks()


def test_a_lock_whose_connection_was_ended_is_lost_for_good(postgres: Server) -> None:
    """As by a failover: nothing is sent from then on, and another loader gets in."""
    url = postgres.emptied()
    store, other = open_store(url), open_store(url)
    with Ledger(store, HERE, "users").lock():
        end_locks(url)
        store.check_locks(ask=False)  # no one knows yet
        with pytest.raises(LockLost, match=r"'migrated' on .* does not hold the lock for loading users") as caught:
            store.check_locks()
        assert "Run again" in caught.value.fix
        with Ledger(other, HERE, "users").lock(on_wait=pytest.fail):
            pass
        with pytest.raises(LockLost):
            store.check_locks(ask=False)
    store.check_locks()
    store.close()
    other.close()


def test_a_lock_whose_file_was_removed_is_lost(tmp_path: Path) -> None:
    """Another process would make a new file, and lock that."""
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    with Ledger(store, HERE, "users").lock():
        for file in tmp_path.glob("*.lock"):
            file.unlink()
        with pytest.raises(LockLost, match="its file was removed"):
            store.check_locks()
    store.close()


def test_a_silent_connection_keeps_its_lock_where_others_are_ended(postgres: Server) -> None:
    """The server's time-outs for silent sessions do not apply to ours."""
    url = postgres.create()
    open_store(url).close()  # the migration is no matter of these time-outs
    name = url.partition("?")[0].rpartition("/")[2]
    for setting in ("idle_session_timeout", "idle_in_transaction_session_timeout", "statement_timeout"):
        postgres.run(f"ALTER DATABASE {name} SET {setting} = '1s'")
    store = open_store(url)
    with Ledger(store, HERE, "users").lock(), psycopg.connect(url) as silent:
        wait_until(lambda: not _is_connected(postgres, silent))
        store.check_locks()
    store.close()


def _is_connected(server: Server, connection: psycopg.Connection) -> bool:
    with psycopg.connect(server.url("postgres"), autocommit=True) as tx:
        found = tx.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [connection.info.backend_pid])
        return found.fetchone() is not None
