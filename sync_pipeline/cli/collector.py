"""Python's cycle collector, told that a command line ends soon: it would look through our libraries again and again."""

from __future__ import annotations

import atexit
import gc

OBJECTS = 50_000
"""New objects between two looks for cycles, not 700: importing makes many, and parsed JSON holds no cycles."""


def relax_collector() -> None:
    """Spare a sync of 10,000 entries a sixth of its time; call it before the libraries are imported."""
    gc.set_threshold(OBJECTS)
    # The process gives all its memory back in a moment: no need to look for cycles in it first.
    atexit.register(gc.freeze)
