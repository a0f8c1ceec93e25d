"""PgBouncer in front of the tests' PostgreSQL, where Debian's package is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import psycopg
import pytest

from sync_pipeline_tests.scenarios.commands import wait_until
from sync_pipeline_tests.store.conftest import Server

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed: apt-get install pgbouncer")


@contextmanager
def pooled(server: Server, database: str, mode: str, **options: object) -> Iterator[str]:
    """The URL of a database by way of a PgBouncer in this mode."""
    # Not below pytest's own directory: a socket's path may have no more than about 100 characters.
    home = Path(mkdtemp(prefix="sync-pgb-"))
    home.chmod(0o777)  # nothing but the server's owner gets to its socket, and PgBouncer never runs as root
    settings = {
        "unix_socket_dir": home,
        "listen_port": 6432,
        "auth_type": "any",
        "pool_mode": mode,
        "ignore_startup_parameters": "extra_float_digits",
        **options,
    }
    lines = ["[databases]", f"{database} = host={server.host} user=postgres", "[pgbouncer]"]
    config = home / "pgbouncer.ini"
    config.write_text("\n".join([*lines, *(f"{name} = {value}" for name, value in settings.items())]) + "\n")
    command = [str(PGBOUNCER), "-q", str(config)]
    if os.getuid() == 0:
        command += ["-u", server.data.owner()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = f"postgresql://postgres@/{database}?host={home}&port=6432"
            wait_until(lambda: process.poll() is not None or _answers(url))
            assert process.poll() is None, process.stderr and process.stderr.read()
            yield url
        finally:
            process.kill()  # asked politely, it waits for its clients
    shutil.rmtree(home, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True
