"""The pool of a worker: the process of the next run is there as soon as the one before has ended.

Each run has a process of its own. Celery replaces one when it is told that it ends, but mostly it is told a moment before the
system says that it has ended, and then it looks again after five seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool

LOOK_SECONDS = 0.2


class PromptPool(AsynPool):  # type: ignore[misc]  # Celery has no types
    """Celery's own, which looks for processes that have ended more often."""

    @property
    def timers(self) -> dict[Callable[[], Any], float]:
        """What the event loop does again and again, each after so many seconds."""
        return dict.fromkeys(super().timers, LOOK_SECONDS)


class RunPool(TaskPool):  # type: ignore[misc]  # Celery has no types
    """What the setting `worker_pool` names."""

    Pool = PromptPool
