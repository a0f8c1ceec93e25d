"""What the stages report while they work. Imports nothing of ours: a command sets its listener before they are loaded."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

WAIT = "wait"
"""The stage of notes about waiting: for what, and until when."""
WARNING = "warning"
"""The stage of notes about what works, but should be changed."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is: ``done`` records of one entity, or a note for a person who waits."""

    entity: str
    stage: str
    done: int = 0
    note: str = ""


Report = Callable[[Progress], None]
"""Called by the stages while they work; must be quick and must not raise."""

reporting: ContextVar[Report] = ContextVar("reporting")
"""The listener; the command line sets it for everything it does in its own process."""


def silent(_: Progress) -> None:
    """Report to no one."""
