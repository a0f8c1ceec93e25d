"""What has to exist at a system before records are written to it, where we can make it; and what is measured there.

The engine knows none of it: a system that needs no preparation has none.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from sync_pipeline.mapping.spec import EntitySpec


class Unprepared(NamedTuple):
    """Something that is not as the mappings need it. ``found`` is the type that is there; "" where nothing is."""

    object: str
    field: str = ""
    needed: str = ""
    found: str = ""

    def __str__(self) -> str:
        where = f"{self.object}.{self.field}" if self.field else self.object
        if self.found:
            return f"{where} is {self.found}, and {self.needed} is needed"
        return f"{where} is missing"


@dataclass(frozen=True, slots=True)
class Compared:
    """What is there of what the mappings need."""

    missing: tuple[Unprepared, ...] = ()
    """What can be made."""
    wrong: tuple[Unprepared, ...] = ()
    """What only a person can change: it has another type."""
    extra: tuple[str, ...] = ()
    """What no mapping needs; it is left alone."""
    by_hand: tuple[Mapping[str, str], ...] = ()
    """Everything that is missing, a field a row, as a person makes it."""

    @property
    def is_ready(self) -> bool:
        """Whether records can be written."""
        return not (self.missing or self.wrong)


@dataclass(slots=True)
class Made:
    """What was made, and what is missing or wrong after that."""

    compared: Compared
    made: list[str] = field(default_factory=list)
    refused: str = ""
    """Why something could not be made, so that a person has to make it."""


class Measured(NamedTuple):
    """How the system treats the records of an entity, where its documents leave that open."""

    entity: str
    facts: Mapping[str, Any]
    detail: str
    """The same in words."""
    fix: str = ""
    """What a person can improve."""


class Usage(NamedTuple):
    """How much is used of what the system limits."""

    what: str
    used: int
    most: int


class SubAccount(NamedTuple):
    """One account of those below an address."""

    id: str
    name: str
    company: str = ""
    """What it is part of; "" if not given."""

    def __str__(self) -> str:
        return f"{self.name} ({self.id})" if self.name else self.id


class Extra(NamedTuple):
    """Something that is switched on beside the records, and the scope that it takes."""

    name: str
    scope: str
    ask: Callable[[], Coroutine[Any, Any, object]]
    """Ask for it as a sync does."""
    without: str = ""
    """What happens where it is refused; "" where syncs fail."""


class Preparation(Protocol):
    """A system that has to be prepared."""

    @property
    def extras(self) -> Sequence[Extra]:
        """What is switched on beside the records."""

    async def accounts(self) -> list[SubAccount]:
        """The accounts that the key is for."""

    async def compare(self, specs: Iterable[EntitySpec]) -> Compared:
        """Read the existing objects and compare; nothing is changed."""

    async def make(self, specs: Iterable[EntitySpec]) -> Made:
        """Make what is missing. Nothing that exists is changed."""

    async def measure(self, specs: Iterable[EntitySpec]) -> list[Measured]:
        """Try with records that are deleted again."""

    async def usage(self, specs: Iterable[EntitySpec]) -> list[Usage]:
        """How full it is."""
