"""Make a running Dagster reload the definitions after a change of the set-up: UI and daemon share one code server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPSConnection
from typing import NamedTuple
from urllib.parse import urlsplit

log = logging.getLogger(__name__)

LOCATION = "sync_pipeline.definitions"
"""The code location's name: the module that workspace.yaml names."""
TIMEOUT_SECONDS = 60


class Place(NamedTuple):
    """Where a Dagster UI is."""

    address: str
    """Where it listens, such as http://127.0.0.1:3000."""
    public: str = ""
    """Where browsers reach it, when a proxy is in front: it answers under this name only, and signs in itself."""


Link = Callable[[], str | None]
"""Makes a link that signs in at a UI that asks for it; None for one that does not."""


class Reloader:
    """Asks a Dagster UI, in a thread of its own; if requested during a reload, it reloads once more.

    It is a courtesy: with no Dagster there, nothing happens, and the next start loads the definitions anyway.
    """

    def __init__(self, place: Place, link: Link) -> None:
        self._place, self._link = place, link
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
            reload_definitions(self._place, self._link)
            with self._lock:
                if not self._asked.is_set():
                    self._thread = None
                    return


def reload_definitions(place: Place, link: Link) -> bool:
    """Ask a Dagster UI to reload our definitions; returns whether it did."""
    from dagster_graphql import DagsterGraphQLClient, ReloadRepositoryLocationStatus

    ui = urlsplit(place.address)
    try:
        headers = dict(_signed_in(link(), place))
        client = DagsterGraphQLClient(
            ui.hostname or "", ui.port, timeout=TIMEOUT_SECONDS, headers=headers, use_https=ui.scheme == "https"
        )
        found = client.reload_repository_location(LOCATION)
    except Exception as error:  # noqa: BLE001 - whatever is there or not there: it is a courtesy
        log.debug("Dagster did not reload: %s", type(error).__name__)
        return False
    if found.status is not ReloadRepositoryLocationStatus.SUCCESS:
        log.warning("Dagster could not load the changed definitions: %s", found.message)
    return found.status is ReloadRepositoryLocationStatus.SUCCESS


def _signed_in(link: str | None, place: Place) -> Mapping[str, str]:
    """The headers of a program that has signed in with a link; none without one."""
    if link is None:
        return {}
    there, ui = urlsplit(link), urlsplit(place.address)
    # On one machine the console signs in for the UI beside it.
    port = ui.port if place.public else there.port
    kind = HTTPSConnection if ui.scheme == "https" else HTTPConnection
    with closing(kind(ui.hostname or "", port, timeout=TIMEOUT_SECONDS)) as connection:
        connection.request("GET", f"{there.path}?{there.query}", headers={"Host": there.netloc})
        cookie = connection.getresponse().getheader("Set-Cookie", "")
    return {"Host": there.netloc if place.public else f"{there.hostname}:{ui.port}", "Cookie": cookie.partition(";")[0]}
