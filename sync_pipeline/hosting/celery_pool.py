"""The pool of a worker: the process for the next run starts as soon as the one before has exited.

Each run has a process of its own. Its pipe to Celery closes shortly before the system reports its exit, so that Celery finds
nothing to replace and checks again only after five seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool

LOOK_SECONDS = 0.2


class PromptPool(AsynPool):  # type: ignore[misc]  # Celery has no types
    """Celery's own pool, which checks for exited processes more often."""

    @property
    def timers(self) -> dict[Callable[[], Any], float]:
        """What the event loop calls repeatedly, with the interval in seconds."""
        return dict.fromkeys(super().timers, LOOK_SECONDS)


class RunPool(TaskPool):  # type: ignore[misc]  # Celery has no types
    """What the setting `worker_pool` names."""

    Pool = PromptPool
