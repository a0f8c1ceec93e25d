"""Lists and reports that lag behind reads by id, as the real services' may: a switch for each system."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from sync_pipeline.sandbox.database import copy_database

PRESENT = "x-sandbox-present"
SYSTEMS = ("clockify", "snapshots", "highlevel")


@dataclass(frozen=True, slots=True)
class Frozen:
    """What the lists of one system show: everything as of a step of the journal (0 when that is off)."""

    db: sqlite3.Connection
    as_of: int


class Lag:
    """The systems whose lists are frozen. Reads by id and writes always use the current state."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._frozen: dict[str, Frozen] = {}
        self._copies = count(1)

    def freeze(self, system: str, as_of: int) -> None:
        """From now on the lists and reports of ``system`` show what there is now, whatever is written."""
        self.release(system)
        # Caches distinguish the states by this number; those of the current state are not negative.
        self._frozen[system] = Frozen(copy_database(self._db, version=-next(self._copies)), as_of)

    def release(self, system: str) -> None:
        """Lists show the present again."""
        if system not in SYSTEMS:
            raise ValueError(f"{system!r} is no system; there are {', '.join(SYSTEMS)}")
        if frozen := self._frozen.pop(system, None):
            frozen.db.close()

    def clear(self) -> None:
        """No list lags any more."""
        for system in SYSTEMS:
            self.release(system)

    def of(self, system: str, headers: Mapping[str, str]) -> Frozen | None:
        """What the lists of a system show; None for the current state, as with the header ``X-Sandbox-Present``."""
        return None if PRESENT in headers else self._frozen.get(system)

    def figures(self) -> dict[str, Any]:
        """The systems whose lists lag, and since which step."""
        return {system: frozen.as_of for system, frozen in self._frozen.items()}
