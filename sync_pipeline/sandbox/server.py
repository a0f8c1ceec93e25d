"""Running the sandbox: in the foreground for people, in a thread for tests."""

from __future__ import annotations

import socket
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sync_pipeline.errors import ConfigError
from sync_pipeline.sandbox.app import addresses, create_app
from sync_pipeline.sandbox.database import open_database
from sync_pipeline.sandbox.keys import all_keys
from sync_pipeline.sandbox.seed import seed_if_empty
from sync_pipeline.sandbox.world import Clock, Options, World
from sync_pipeline.serving import Server, ServerLimits, bounded_server, in_thread, listen, url_of

LIMITS = ServerLimits(connections=256, body_bytes=64 * 1024 * 1024)
Announce = Callable[[Mapping[str, str], Mapping[str, str]], None]
"""Called with the addresses and the keys as soon as the sandbox accepts requests."""


@dataclass(frozen=True, slots=True)
class Running:
    """A sandbox that answers requests: where it is and what it is made of."""

    url: str
    world: World

    @property
    def clockify(self) -> str:
        """Base URL of the Clockify core API."""
        return f"{self.url}/clockify/api/v1"

    @property
    def reports(self) -> str:
        """Base URL of the Clockify reports API."""
        return f"{self.url}/clockify/report/v1"

    @property
    def snapshots(self) -> str:
        """Base URL of the Snapshots API."""
        return f"{self.url}/snapshots"

    @property
    def highlevel(self) -> str:
        """Base URL of HighLevel."""
        return f"{self.url}/highlevel"

    @property
    def control(self) -> str:
        """Base URL of the sandbox's own controls."""
        return f"{self.url}/_control"

    @property
    def workspace(self) -> str:
        """Id of the Clockify workspace."""
        return self.world.workspace

    @property
    def keys(self) -> dict[str, str]:
        """Every key that works here, by what it is for."""
        return all_keys(self.world.db)


def open_world(database: Path | str, options: Options | None = None, clock: Clock | None = None) -> World:
    """The data of one sandbox; a new database is filled, an existing one is used unchanged."""
    world = World(db=open_database(database), options=options or Options(), clock=clock or Clock())
    try:
        seed_if_empty(world)
    except sqlite3.Error as error:
        world.db.close()
        raise ConfigError(
            f"The sandbox cannot fill the database {database}: {error}.", fix="Free some space or name another file."
        ) from error
    return world


def serve(
    host: str = "127.0.0.1",
    port: int = 8600,
    database: Path | str = "sandbox.db",
    options: Options | None = None,
    *,
    announce: Announce | None = None,
    until: Callable[[], object] | None = None,
) -> None:
    """Serve the APIs until interrupted, or until ``until`` returns; ``announce`` receives the addresses and keys."""
    listener = _listen(host, port)
    try:
        world = open_world(database, options)
        with closing(world.db):
            url = url_of(host, listener)
            (announce or list_lines)(addresses(url, world), all_keys(world.db))
            server = _server(world)
            if until:
                threading.Thread(target=_stop_after, args=(until, server), name="until", daemon=True).start()
            server.run(sockets=[listener])
    finally:
        listener.close()


def list_lines(addresses: Mapping[str, str], keys: Mapping[str, str]) -> None:
    """Print the sandbox's addresses and keys, one a line."""
    for name, value in {**addresses, **keys}.items():
        sys.stdout.write(f"{name:<28} {value}\n")
    sys.stdout.flush()


def _stop_after(until: Callable[[], object], server: Server) -> None:
    until()
    server.should_exit = True


@contextmanager
def running(
    database: Path | str, options: Options | None = None, clock: Clock | None = None, *, port: int = 0
) -> Iterator[Running]:
    """A sandbox in a thread of this process; with port 0 the system chooses one."""
    listener = _listen("127.0.0.1", port)
    world = open_world(database, options, clock)
    try:
        with in_thread(_server(world), listener, "sandbox"):
            yield Running(url=url_of("127.0.0.1", listener), world=world)
    finally:
        world.db.close()


def _server(world: World) -> Server:
    # The application sends the date of its own clock.
    return bounded_server(
        "sandbox", create_app(world), LIMITS, date_header=False, lifespan="on", timeout_graceful_shutdown=1
    )


def _listen(host: str, port: int) -> socket.socket:
    fix = "Stop the program that uses the port, or choose another one with --port."
    return listen(host, port, "The sandbox cannot listen", fix)
