"""Killing a run in this process: at some request or write everything stops, and nothing it still tries gets out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sync_pipeline.stages.session import Session
from sync_pipeline.store.engine import Held, Store


class Killed(BaseException):
    """As if the process were gone: no `except Exception` holds it up, and what `finally` still tries fails as well."""


class Killer:
    """Counts the requests and the writes of this thread; at the chosen one the run dies."""

    def __init__(self) -> None:
        self._left: int | None = None
        self._thread = threading.get_ident()

    def arm(self, steps: int | None) -> None:
        """Kill at the step of that number; None lets live."""
        self._left = steps

    def step(self) -> None:
        """One moment at which a process may be killed: before or after a request, before or after a commit."""
        if self._left is None or threading.get_ident() != self._thread:
            return
        self._left -= 1
        if self._left <= 0:
            raise Killed


@contextmanager
def killing(patch: pytest.MonkeyPatch) -> Iterator[Killer]:
    """A killer that watches every session and store of this thread."""
    killer = Killer()
    begin, call, writing, held = Session.begin, Session.call, Store.writing, Held.writing

    def begin_(session: Session, function: Any, *args: Any) -> Any:
        killer.step()
        return begin(session, function, *args)

    def call_(session: Session, function: Any, *args: Any) -> Any:
        found = call(session, function, *args)
        killer.step()
        return found

    def around(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
        @contextmanager
        def write(of: Any) -> Iterator[Any]:
            killer.step()
            with make(of) as connection:
                yield connection
            killer.step()

        return write

    patch.setattr(Session, "begin", begin_)
    patch.setattr(Session, "call", call_)
    patch.setattr(Store, "writing", around(writing))
    patch.setattr(Held, "writing", around(held))
    yield killer
    patch.undo()
