"""A run that a person asked for: it reports its progress to the request's row, and ends when the request is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from time import monotonic
from typing import Any

from sync_pipeline.errors import Cancelled
from sync_pipeline.session.progress import WAIT, Progress, Report
from sync_pipeline.store.engine import Store
from sync_pipeline.store.requests import is_cancelled, note_progress, note_result, request_of

LOOK_SECONDS = 1.0
"""How often progress is written and a cancel is looked for: requests only ask what is known."""
CANCELLED = "It was cancelled. What was delivered stays delivered; the next sync continues from there."


class Follower:
    """The side of a request that a run sees; without a request (``tag`` is "") it does nothing."""

    def __init__(self, tag: str, run_id: str, listener: Report, on_cancel: Callable[[], object] = lambda: None) -> None:
        self._tag, self._run_id, self._listener, self._on_cancel = tag, run_id, listener, on_cancel
        self._newest: Progress | None = None
        self._store: Store | None = None
        self._is_cancelled = False
        self._has_ended = Event()

    def report(self, progress: Progress) -> None:
        """Take what a stage reports."""
        self._newest = progress
        self._listener(progress)

    def check(self, *, ask: bool) -> None:  # noqa: ARG002 - the signature of a required lock
        """Raise Cancelled when the request was cancelled: asked before each request to a vendor, so between pages and writes."""
        if self._is_cancelled:
            raise Cancelled(CANCELLED)

    async def sleep(self, seconds: float) -> None:
        """Wait for the rate limit or another try; ended by a cancel."""
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0:
            self.check(ask=False)
            await asyncio.sleep(min(left, LOOK_SECONDS))

    def note(self, entity: str, figures: dict[str, Any]) -> None:
        """Keep what was done for an entity."""
        if self._store is not None:
            note_result(self._store, self._number, f"{self._run_id}:{entity}", {"entity": entity, **figures})

    @contextmanager
    def following(self, store: Store) -> Iterator[None]:
        """Within this context the run follows its request; of one that was cancelled before, its first request raises."""
        if not self._tag or not self._is_of(store):
            yield
            return
        self._store = store
        self._look(store)
        thread = Thread(target=self._watch, args=(store,), name="request", daemon=True)
        thread.start()
        try:
            with store.working_under(self):
                yield
        finally:
            self._has_ended.set()
            thread.join()

    @property
    def _number(self) -> int:
        number = self._tag.partition("-")[0]
        return int(number) if number.isdecimal() else 0

    def _is_of(self, store: Store) -> bool:
        """Whether the request is of this store: a run may be executed again years later, on another one."""
        found = request_of(store, self._number)
        return found is not None and found.tag == self._tag

    def _watch(self, store: Store) -> None:
        while not self._has_ended.wait(LOOK_SECONDS):
            # A failure of our store fails the run, too, which reports it; one of Dagster's storage is over by the next attempt.
            with suppress(Exception):
                self._look(store)

    def _look(self, store: Store) -> None:
        if not self._is_cancelled and is_cancelled(store, self._number):
            self._on_cancel()  # first: what ends the run now is a cancel
            self._is_cancelled = True
        newest, self._newest = self._newest, None
        if newest is not None and not self._is_cancelled:
            note = newest.note if newest.stage == WAIT else ""  # other notes may quote a record
            found = {"entity": newest.entity, "stage": newest.stage, "done": newest.done, "note": note}
            note_progress(store, self._number, {**found, "run": self._run_id})
