"""What travels from one stage to the next: a batch with its days, the options of the run, the counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sync_pipeline.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

DAYS_AHEAD = 7
"""Records of days to come are read, too: planned shifts, holidays."""

IN_WORDS = {
    "created": "created",
    "adopted": "adopted",
    "updated": "updated",
    "deleted": "deleted",
    "rejected": "rejected",
    "excluded": "excluded",
    "waiting": "waiting",
    "held": "held",
    "held_deletes": "deletes held",
    "unconfirmed": "missing and not confirmed deleted",
}
"""What a sync did with records, in the order in which it is reported."""


@dataclass(frozen=True, slots=True)
class Days:
    """The UTC days ``first`` to ``last``, both included: the partitions one run covers."""

    first: date
    last: date

    @property
    def keys(self) -> tuple[str, str]:
        """First and last partition key."""
        return self.first.isoformat(), self.last.isoformat()

    def __iter__(self) -> Iterator[str]:
        """The partition keys, in order."""
        return ((self.first + timedelta(days=n)).isoformat() for n in range((self.last - self.first).days + 1))

    def __str__(self) -> str:
        return self.first.isoformat() if self.first == self.last else f"{self.first} to {self.last}"


def whole_range(settings: Settings, today: date, ahead: int = DAYS_AHEAD) -> Days:
    """From the start date to as far ahead as there are partitions."""
    return Days(min(settings.start_date, today), today + timedelta(days=ahead))


@dataclass(frozen=True, slots=True)
class Options:
    """What a user allows for one run."""

    dry_run: bool = False
    accept_rewrite: bool = False
    allow_deletes: bool = False
    first_contact: bool = False


@dataclass(slots=True)
class Batch:
    """A lazy sequence of bounded DataFrames (the parts) and notes about how they were read.

    ``parts`` can be walked once; ``notes`` are JSON values and complete only when the parts have been walked. Notes:
    ``observed_at`` (ISO instant at which the read began), ``read_no`` (its number in the order of reads), ``requests``, ``reader``, ``days``,
    ``source_keys``, ``duplicates``, ``conflicts``,
    ``events`` (ids of the inbox events the read answers), ``fresh_events`` (those of them that a lagging list may not show); and of a checked batch
    how many ``rows`` it has, how many of them are ``rejected``, ``excluded`` or ``waiting`` for a reference, ``decided_by``,
    and ``schema_changed`` where the source has other fields than are known.
    """

    parts: Iterable[pd.DataFrame]
    notes: dict[str, Any] = field(default_factory=dict)
    file: Path | None = None
    """Where its parts are kept; None while it is being read."""

    @property
    def observed_at(self) -> datetime:
        """When the read of this batch began: for people, never compared."""
        return datetime.fromisoformat(self.notes["observed_at"])

    @property
    def read_no(self) -> int:
        """The number of the read; 0 for a batch from before reads had numbers, which is older than everything."""
        return int(self.notes.get("read_no", 0))


@dataclass(slots=True)
class Counts:
    """The outcome of the records of one entity in one sync; deletes are counted separately.

    ``extracted = created + adopted + updated + unchanged + rejected + excluded + waiting + held + lagging``.
    """

    extracted: int = 0
    created: int = 0
    adopted: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    excluded: int = 0
    waiting: int = 0
    held: int = 0
    """Neither stored nor delivered until it is approved."""
    deleted: int = 0
    held_deletes: int = 0
    unconfirmed: int = 0
    lagging: int = 0
    """Rows of a list that contradict a read by id of the last minutes and could not be read again: what is stored is kept."""
    requests: int = 0

    @property
    def writes(self) -> int:
        """Records that were changed at the target."""
        return self.created + self.adopted + self.updated + self.deleted

    @property
    def sentence(self) -> str:
        """What was done, as in "2 created, 1 rejected of 120 read; took 3 requests"."""
        done = [f"{number:,} {words}" for name, words in IN_WORDS.items() if (number := getattr(self, name))]
        return f"{', '.join(done)} of {self.read}" if done else f"Nothing changed; {self.read}"

    @property
    def read(self) -> str:
        """What was read, for a sentence."""
        return f"{self.extracted:,} read; took {self.requests:,} request{'' if self.requests == 1 else 's'}."
