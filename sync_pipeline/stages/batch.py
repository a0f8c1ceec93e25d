"""A batch: what travels from one stage to the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


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


@dataclass(slots=True)
class Batch:
    """A lazy sequence of bounded DataFrames (the parts) and notes about how they were read.

    ``parts`` can be walked once; ``notes`` are JSON values and complete only when the parts have been walked. Notes:
    ``observed_at`` (ISO instant at which the read began), ``requests``, ``source_keys``, ``duplicates``, ``conflicts``,
    ``events`` (ids of the inbox events the read answers), and of a sealed batch how many rows are ``rejected``, ``excluded`` or ``waiting`` for a reference.
    """

    parts: Iterable[pd.DataFrame]
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def observed_at(self) -> datetime:
        """When the read of this batch began."""
        return datetime.fromisoformat(self.notes["observed_at"])


@dataclass(slots=True)
class Counts:
    """What became of the records of one entity in one sync; deletes stand apart.

    ``extracted = created + adopted + updated + unchanged + rejected + excluded + waiting``.
    """

    extracted: int = 0
    created: int = 0
    adopted: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    excluded: int = 0
    waiting: int = 0
    deleted: int = 0
    unconfirmed: int = 0
    requests: int = 0
