"""Running the receiver, in the foreground or in a thread beside something else, for the accounts that the set-up names."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from threading import Event, Thread
from typing import NamedTuple, Self

from sync_pipeline.clock import utc_now
from sync_pipeline.errors import ConfigError, NewerSchema, StoreError
from sync_pipeline.serving import LocalOnly, Server, bounded_server, in_thread, listen, url_of
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.settings import Settings
from sync_pipeline.store.engine import require_head
from sync_pipeline.webhooks.hooks import HookStore, open_hooks
from sync_pipeline.webhooks.receiver import Current, Receiver, ReceiverOptions, Renewed, build_app, same
from sync_pipeline.webhooks.signed import load_addon_key, signed_deliveries

HOST = "127.0.0.1"
PORT = 8760
SCHEMA_SECONDS = 10.0
"""How often it is looked whether the database still has the schema that this version knows."""


@dataclass(frozen=True, slots=True)
class RunningReceiver:
    """A receiver that answers."""

    url: str
    receiver: Receiver


def serve(
    hooks: HookStore,
    options: ReceiverOptions,
    *,
    host: str = HOST,
    port: int = PORT,
    on_ready: Callable[[str], None] | None = None,
    renewed: Renewed = same,
) -> None:
    """Receive until interrupted; raises NewerSchema when a newer version has taken over the database."""
    hooks.all()  # a wrong key is reported now, not at the first delivery
    listener = _listen(host, port)
    try:
        if on_ready:
            on_ready(url_of(host, listener))
        current = Current(Receiver(hooks, options, utc_now, time.monotonic), renewed)
        server, ended = _server(current), Event()
        newer: list[NewerSchema] = []
        # A daemon thread, because Ctrl-C can be raised between any two lines: a thread that nothing stops would keep the process alive.
        watching = Thread(target=_until_newer, args=(current, server, ended, newer), name="schema", daemon=True)
        try:
            watching.start()
            server.run(sockets=[listener])
        finally:
            ended.set()
        if newer:
            raise newer[0]
    finally:
        listener.close()


def _until_newer(current: Current, server: Server, ended: Event, newer: list[NewerSchema]) -> None:
    """End the server when a newer version has migrated the database, which it keeps open; ``newer`` says so."""
    while not ended.wait(SCHEMA_SECONDS):
        try:
            require_head(current.receiver.store)
        except NewerSchema as error:
            newer.append(error)
            server.should_exit = True
            return
        except StoreError:  # it does not answer; deliveries are refused meanwhile
            continue


@contextmanager
def running(
    hooks: HookStore,
    options: ReceiverOptions,
    *,
    port: int = 0,
    now: Callable[[], datetime] = utc_now,
    clock: Callable[[], float] = time.monotonic,
    renewed: Renewed = same,
) -> Iterator[RunningReceiver]:
    """A receiver in a thread of this process; port 0 lets the system choose."""
    listener = _listen(HOST, port)
    receiver = Receiver(hooks, options, now, clock)
    with in_thread(_server(Current(receiver, renewed), clock), listener, "webhooks"):
        yield RunningReceiver(url_of(HOST, listener), receiver)


def _server(current: Current, clock: Callable[[], float] = time.monotonic) -> Server:
    app = LocalOnly(build_app(current), public=("/hooks/",), any_host=("/healthz",))
    return bounded_server(
        "webhook receiver",
        app,
        current.receiver.options.server,
        clock=clock,
        proxy_headers=False,  # nothing here depends on them
        timeout_graceful_shutdown=10,
    )


def _listen(host: str, port: int) -> socket.socket:
    fix = "Stop the program that uses the port, or choose another one with --port."
    return listen(host, port, "Webhooks cannot be received", fix)


log = logging.getLogger(__name__)


class Reception(NamedTuple):
    """What a receiver works with."""

    hooks: HookStore
    options: ReceiverOptions


class Accounts:
    """Use as ``with``: a session is open within it, and another one as soon as ``renewed`` finds that ``load`` gives other settings."""

    def __init__(self, settings: Settings, load: Callable[[], Settings]) -> None:
        self._settings, self._load = settings, load
        self._opened, self._problem = ExitStack(), ""

    def __enter__(self) -> Self:
        self.reception = self._open(self._settings)
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def renewed(self) -> Reception | None:
        """What to work with from now on; None while the settings are as before, or cannot be used."""
        try:
            settings = self._load()
            if settings == self._settings:
                return None
            self.reception = self._open(settings)
        except ConfigError as error:  # such as a key that is not entered yet
            if str(error) != self._problem:
                log.warning("The set-up has changed; deliveries are taken as before. %s", error)
            self._problem = str(error)
            return None
        self._settings, self._problem = settings, ""
        return self.reception

    def _open(self, settings: Settings) -> Reception:
        with ExitStack() as opening:
            session: Session = opening.enter_context(open_session(settings))
            options = ReceiverOptions(
                workspace=session.clockify.account.workspace,
                addon_key=load_addon_key(settings.clockify_addon_public_key),
                signed=signed_deliveries(session),
            )
            found = Reception(open_hooks(session), options)
            before, self._opened, self.session = self._opened, opening.pop_all(), session
        before.close()  # last, so that the connections to the database, which both sessions share, stay open
        return found
