"""Killing a run in this process: at some request or write its thread stops, and nothing it still tries gets out."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sync_pipeline.session.session import Session
from sync_pipeline.store.engine import HeldConnection, Store


class Killed(BaseException):
    """As if the process had ended: no `except Exception` stops it, and what `finally` still tries fails as well."""


class Killer:
    """Counts the requests and the writes of armed threads; at the chosen one the run dies."""

    def __init__(self) -> None:
        self._left: dict[int, int] = {}

    def arm(self, steps: int | None, thread: int | None = None) -> None:
        """Kill this thread - or another one - at the step of that number; None lets live."""
        thread = threading.get_ident() if thread is None else thread
        if steps is None:
            self._left.pop(thread, None)
        else:
            self._left[thread] = steps

    def step(self) -> None:
        """One moment at which a process may be killed: before or after a request, before or after a commit."""
        thread = threading.get_ident()
        if thread not in self._left:
            return
        self._left[thread] -= 1
        if self._left[thread] <= 0:
            raise Killed


@contextmanager
def killing(patch: pytest.MonkeyPatch) -> Iterator[Killer]:
    """A killer that watches every session and store of this process."""
    killer = Killer()
    begin, call, writing, held = Session.begin, Session.call, Store.writing, HeldConnection.writing

    def begin_(session: Session, function: Any, *args: Any) -> Any:
        killer.step()
        return begin(session, function, *args)

    def call_(session: Session, function: Any, *args: Any) -> Any:
        found = call(session, function, *args)
        killer.step()
        return found

    def around(make: Callable[..., Any]) -> Callable[..., Any]:
        @contextmanager
        def write(of: Any, **how: Any) -> Iterator[Any]:
            killer.step()
            with make(of, **how) as connection:
                yield connection
            killer.step()

        return write

    patch.setattr(Session, "begin", begin_)
    patch.setattr(Session, "call", call_)
    patch.setattr(Store, "writing", around(writing))
    patch.setattr(HeldConnection, "writing", around(held))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a run that is killed closes no connection
        yield killer
        gc.collect()
    patch.undo()
