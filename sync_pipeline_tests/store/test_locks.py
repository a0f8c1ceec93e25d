"""One loader at a time, under a lock that dies with its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sync_pipeline.errors import StoreError
from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.locks import loader_lock
from sync_pipeline_tests.store.batch import HERE, THERE

HOLDER = """
import sys
from sync_pipeline.store.engine import open_store
from sync_pipeline.store.locks import loader_lock
with loader_lock(open_store(sys.argv[1]), sys.argv[2], "users"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def _holder(url: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock and keeps it."""
    command = [sys.executable, "-c", HOLDER, url, HERE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
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

        with loader_lock(store, HERE, "users", on_wait):
            assert said == ["Another process is loading users: waiting for it to finish."]


def test_a_free_lock_is_taken_silently_and_again(store: Store) -> None:
    """Nobody waits for a lock that was given back."""
    said: list[str] = []
    for _ in range(2):
        with loader_lock(store, HERE, "users", said.append):
            pass

    assert said == []


def test_other_entities_and_connections_have_other_locks(url: str, store: Store) -> None:
    """Only the same entity over the same connection excludes."""
    said: list[str] = []
    with (
        _holder(url),
        loader_lock(store, HERE, "projects", said.append),
        loader_lock(store, THERE, "users", said.append),
    ):
        assert said == []


def test_threads_of_one_process_exclude_each_other(url: str, store: Store) -> None:
    """The lock is between loaders, not only between processes."""
    waiting, order = threading.Event(), []

    def second() -> None:
        other = open_store(url)
        with loader_lock(other, HERE, "users", lambda _: waiting.set()):
            order.append("second")
        other.close()

    thread = threading.Thread(target=second)
    with loader_lock(store, HERE, "users"):
        thread.start()
        assert waiting.wait(20)
        order.append("first")
    thread.join()

    assert order == ["first", "second"]


def test_a_lock_can_be_had_while_rows_are_written(store: Store) -> None:
    """Holding it takes no database lock and opens no transaction."""
    with loader_lock(store, HERE, "users"), store.writing() as own:
        own.exec_driver_sql("UPDATE records SET entity = entity")


def test_an_error_inside_frees_the_lock(store: Store) -> None:
    """Whatever happens while loading, the next loader gets in."""
    with pytest.raises(StoreError), loader_lock(store, HERE, "users"):
        raise StoreError("no luck")

    with loader_lock(store, HERE, "users", on_wait=pytest.fail):
        pass
