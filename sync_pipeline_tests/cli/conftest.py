"""One sandbox for each test module, and a new directory for each test."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from sync_pipeline_tests.cli.shell import Shell, shell_for
from sync_pipeline_tests.harness import Team, team


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Both systems, with a little data; tests of a module share them."""
    with team(tmp_path_factory.mktemp("office")) as us:
        yield us


@pytest.fixture
def shell(office: Team, tmp_path: Path) -> Iterator[Shell]:
    """The command line on the office's systems, with nothing remembered yet."""
    with shell_for(office, tmp_path) as typed:
        yield typed


@pytest.fixture
def untrusted() -> Iterator[str]:
    """The address of a server with an untrusted certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_shake_hands, args=(listener, context), daemon=True)
        thread.start()
        yield f"https://localhost:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _shake_hands(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:
                continue
