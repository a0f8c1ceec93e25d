"""Lets a running Dagster load the definitions anew after a change of the set-up: UI and daemon share one code server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
LOCATION = "sync_pipeline.definitions"
"""The code location's name: the module that workspace.yaml names."""
TIMEOUT_SECONDS = 60


class Reloader:
    """Asks the Dagster UI on a port, in a thread of its own; asked while it is at it, it asks once more.

    ``link`` signs in at a UI that asks for it; None at one that does not. It is a courtesy: with no Dagster there, nothing happens, and the next start loads the definitions anyway.
    """

    def __init__(self, port: int, link: Callable[[], str | None]) -> None:
        self._port, self._link = port, link
        self._asked = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def __call__(self) -> None:
        """Something changed."""
        self._asked.set()
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="reload", daemon=True)
                self._thread.start()

    def wait(self) -> None:
        """Wait until what was asked for is done."""
        while (thread := self._thread) is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            self._asked.clear()
            reload_definitions(self._port, self._link)
            with self._lock:
                if not self._asked.is_set():
                    self._thread = None
                    return


def reload_definitions(port: int, link: Callable[[], str | None]) -> bool:
    """Ask the Dagster UI on this port to load our definitions anew; returns whether it did."""
    from dagster_graphql import DagsterGraphQLClient, ReloadRepositoryLocationStatus

    try:
        headers = _signed_in(link(), port)
        client = DagsterGraphQLClient(HOST, port_number=port, timeout=TIMEOUT_SECONDS, headers=dict(headers))
        found = client.reload_repository_location(LOCATION)
    except Exception as error:  # noqa: BLE001 - whatever is there or not there: it is a courtesy
        log.debug("Dagster did not reload: %s", type(error).__name__)
        return False
    if found.status is not ReloadRepositoryLocationStatus.SUCCESS:
        log.warning("Dagster could not load the changed definitions: %s", found.message)
    return found.status is ReloadRepositoryLocationStatus.SUCCESS


def _signed_in(link: str | None, port: int) -> Mapping[str, str]:
    """The headers of a program that has signed in with a link; none without one."""
    if link is None:
        return {}
    there = urlsplit(link)
    with closing(HTTPConnection(HOST, there.port, timeout=TIMEOUT_SECONDS)) as connection:
        connection.request("GET", f"{there.path}?{there.query}", headers={"Host": there.netloc})
        cookie = connection.getresponse().getheader("Set-Cookie", "")
    return {"Host": f"{there.hostname}:{port}", "Cookie": cookie.partition(";")[0]}
