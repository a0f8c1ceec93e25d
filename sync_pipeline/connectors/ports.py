"""What the engine sees of a system: an adapter for one entity as its source, and one as its target.

The engine never asks which system it talks to. It asks an adapter what it can do, by its attributes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, runtime_checkable

from sync_pipeline.connectors.http import ApiClient
from sync_pipeline.connectors.limiter import OnTurn, RateLimits
from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.preparation import Preparation
from sync_pipeline.connectors.profile import BaseProfile
from sync_pipeline.connectors.window import Window
from sync_pipeline.mapping.spec import EntitySpec

What = Literal["created", "updated", "deleted"]
WHATS: tuple[What, ...] = ("created", "updated", "deleted")


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known before a read: how many records the window holds (None: not known), and who may own them."""

    entries: int | None = None
    users: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one record of a write; ``reason`` and ``code`` when it was refused."""

    ok: bool
    id: str
    reason: str = ""
    code: str = ""
    field: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a feed: which record, what happened, when, and the record as the feed shows it."""

    id: str
    what: What
    at: str
    record: Record


class Feed(Protocol):
    """A list of what changed in a system: an accelerator, not the truth."""

    @property
    def clock_offset(self) -> float | None:
        """By how many seconds the system's clock is ahead of ours; None if it has not answered."""

    async def read(self, what: What, start: datetime, end: datetime, most_pages: int) -> list[Change] | None:
        """Everything the feed holds of one window; None when that is more than so many pages, or does not end.

        Raises FatalApiError where the feed is not offered.
        """


class Source(Protocol):
    """One entity where its records come from."""

    @property
    def can_fetch(self) -> bool:
        """Whether a record can be read by its id."""

    @property
    def needs_window(self) -> bool:
        """Whether its records are read for a window."""

    @property
    def page_size(self) -> int:
        """How many records one page of its list holds."""

    @property
    def notifies(self) -> bool:
        """Whether events about the entity come from here; otherwise they come from its target."""

    @property
    def uses_expected(self) -> bool:
        """Whether ``read`` uses what is expected."""

    @property
    def owner_list(self) -> str:
        """The list of these records' owners, if reads by id find only those of owners who are still there; else ""."""

    @property
    def feed(self) -> Feed | None:
        """What changed here, if the system reports it."""

    @property
    def reader(self) -> str:
        """How the records were read last."""

    def read(self, window: Window | None = None, *, expected: Expected | None = None) -> AsyncIterator[list[Record]]:
        """Every record (of the window), page by page."""

    def read_all(self, window: Window) -> AsyncIterator[list[Record]]:
        """The same, by whichever reader also finds the records of owners who left."""

    async def fetch(self, record_id: str, parent: str | None = None, on_turn: OnTurn | None = None) -> Record | None:
        """One record as ``read`` would give it; None only when it certainly does not exist.

        ``on_turn`` is awaited just before the request is sent, and again before each of its retries.
        """

    async def sample(self, limit: int) -> list[Record]:
        """Some records as ``read`` would give them, for one or two requests."""

    async def prove_complete(self) -> frozenset[str] | None:
        """Prove that nothing is hidden from this key; FatalApiError when something may be.

        Returns the owners who are there; None where reads by id find every record.
        """


class ListSource(ABC):
    """A source that is one list, without windows or events of its own."""

    __slots__ = ()
    can_fetch = True
    needs_window = False
    notifies = False
    uses_expected = False
    owner_list = ""
    feed = None
    reader = "list"

    @property
    @abstractmethod
    def page_size(self) -> int:
        """How many records one page of its list holds."""

    @abstractmethod
    def read(self, window: Window | None = None, *, expected: Expected | None = None) -> AsyncIterator[list[Record]]:
        """Every record, page by page."""

    def read_all(self, window: Window) -> AsyncIterator[list[Record]]:
        """The same: there is one reader."""
        return self.read(window)

    async def prove_complete(self) -> frozenset[str] | None:
        """Nothing to prove: what a key or token may not read is refused, not left out."""
        return None


class Target(Protocol):
    """One entity where its records go to."""

    @property
    def can_window(self) -> bool:
        """Whether ``read`` can be limited to a window."""

    @property
    def id_field(self) -> str:
        """The field of a record, before mapping, that holds its id."""

    @property
    def takes_unknown_ids(self) -> bool:
        """Whether it takes a record that refers to one it does not have."""

    @property
    def feed(self) -> Feed | None:
        """What changed here, if the system reports it."""

    def read(self, window: Window | None = None) -> AsyncIterator[list[Record]]:
        """Every record (of the window, when ``can_window``), archived ones included."""

    async def get(self, target_id: str) -> Record | None:
        """One record; None when it does not exist."""

    async def remove(self, target_id: str) -> None:
        """Delete or archive a record, as the mapping wants it; an absent one is no error, RejectedRecord is."""

    def in_event(self, kind: str, body: Mapping[str, Any]) -> Record | None:
        """The record as an event about it shows all of it; None where it does not."""

    def is_archived(self, record: Record) -> bool:
        """Whether the record is one that ``remove`` has archived."""


class UpsertTarget(Target, Protocol):
    """A target that keeps our keys."""

    @property
    def assigns_ids(self) -> Literal[False]:
        """The ids are ours."""

    async def upsert(self, rows: Sequence[Record]) -> list[Outcome]:
        """Create or merge any number of records, idempotently; one outcome per row, in order."""


class AssigningTarget(Target, Protocol):
    """A target that assigns its own ids, so that a create is not safe to repeat."""

    @property
    def assigns_ids(self) -> Literal[True]:
        """The ids are the vendor's."""

    @property
    def noun(self) -> str:
        """What it calls one record."""

    @property
    def label(self) -> str:
        """What its users call the system."""

    @property
    def key(self) -> tuple[str, ...]:
        """The fields by which an existing record is recognized; the name is the first of them."""

    @property
    def unique_names(self) -> bool:
        """Whether a second record with the same key is refused."""

    @property
    def longest_name(self) -> int:
        """How long a name may be."""

    @property
    def finds(self) -> bool:
        """Whether ``find`` shows if a create without an answer was done; otherwise a person decides."""

    @property
    def find_lag(self) -> float:
        """For how many seconds after it was created ``find`` may miss a record."""

    @property
    def at_once(self) -> int:
        """How many creates may be under way at a time: 1 where the outcome of one depends on the others."""

    async def find(self, rows: Sequence[Mapping[str, Any]]) -> list[Record]:
        """Every existing record that has the key of one of these rows, and perhaps others; of several, the oldest comes last."""

    def is_own(self, record: Record) -> bool:
        """Whether it says of a record that we have created it; only asked where names are not unique."""

    def needs_update(self, record: Record, row: Mapping[str, Any]) -> bool:
        """Whether an update writes more than the fields of this row that a found record already has; asked like ``is_own``."""

    async def create(self, row: Mapping[str, Any]) -> Record:
        """Create a record, and return it. Never sent twice: AmbiguousWrite when it is unknown whether it arrived."""

    def can_become(self, target_id: str, row: Mapping[str, Any]) -> bool:
        """Whether ``update`` can give a record these fields; otherwise another record takes its place, and it is removed."""

    async def update(self, target_id: str, row: Mapping[str, Any]) -> Record | None:
        """Change only these fields (None clears); None when the record does not exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often, and for how much, live syncing asks a system. The defaults suit a system whose rate limits they do not reach."""

    poll_seconds: int = 60
    """How often it is asked what changed."""
    list_poll_factor: int = 1
    """Entities that are not read by days are asked about this many times less often."""
    feed_pages: int = 50
    """Pages of each feed that one poll reads: what does not fit is asked for again in smaller windows."""
    days_seconds: int | None = 600
    """How often the days around today are read instead where it refuses the feed; None: never."""
    reads_by_id: int = 20
    """Up to this many changed records are read by id; above it their days, or the list, are the cheaper read."""
    compares_by_id: int = 20
    """The same for records that changed at the target."""
    rescan_hours: int = 1
    """How often the latest days are read again."""
    days_cost: str = "1 request to {system} for each page of these days"
    """What it costs to read the latest days again, for the descriptions of schedules; ``{system}`` is its name."""
    list_cost: str = "1 request to {system} for each page of its list; 1 more for each record that is missing"
    """What it costs to read its list."""
    full_cost: str = "1 request to {system} for each page of its list"
    """What it costs to read everything it has, on either side of a comparison."""
    note: str = ""
    """What the descriptions say about its limits; empty where these are not reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectedSystem:
    """One account of one vendor, as the settings describe it: no request is needed for any of this."""

    system: str
    """What mappings call it."""
    title: str
    """What people call it."""
    short_title: str
    """The same in one word."""
    named: str
    """What people call it within a sentence."""
    plan: str
    """What its limits depend on."""
    limits: RateLimits
    """Its rate limits."""
    is_shared: bool = False
    """Whether everyone with a key for the account uses up the same budget."""
    secrets: tuple[str, ...]
    """The settings of which one holds the secret that we sign in with."""
    can_authorize: bool = False
    """Whether a person can be asked for consent, with what is stored."""
    prepares: bool = False
    """Whether something has to exist there before records are written."""
    has_hooks: bool = False
    """Whether a webhook is registered for each event."""
    has_scopes: bool = False
    """Whether each entity is read and written by a permission of its own; otherwise the role of the key's owner decides."""

    @property
    def at_start(self) -> str:
        """What people call it at the beginning of a sentence."""
        return self.named[:1].upper() + self.named[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountAddress:
    """Where one account is, by the settings alone: its profile is not needed, which may be invalid."""

    vendor: str
    """What the `pages` of an entity call its vendor."""
    base_url: str = ""
    parts: tuple[str, ...] = ()
    """What determines where its secrets are sent."""
    account: str = ""
    """The account at this address; "" where that has only one, or none is chosen."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What the `pages` of an entity can name of it, besides the record."""


class System(Protocol):
    """One account of one vendor, as a session holds it."""

    requests: Counter[str]
    """Requests sent so far by ``"VERB /route"``, retries included."""

    def source(self, spec: EntitySpec, parent: EntitySpec | None = None) -> Source:
        """The account as the source of an entity; its records may be listed for each record of ``parent``."""

    def target(self, spec: EntitySpec) -> UpsertTarget | AssigningTarget:
        """The account as the target of an entity."""

    async def aclose(self) -> None:
        """Close the connections."""


@runtime_checkable
class Operable(System, Protocol):
    """A system with operations in the catalogue."""

    @property
    def catalogue(self) -> str:
        """What the catalogue calls it."""

    @property
    def decided(self) -> Mapping[str, str]:
        """Inputs that are known here: the account, by the names that they have in paths and bodies."""

    async def decide(self) -> Mapping[str, str]:
        """The same, including what takes a request to find out."""

    def client_for(self, host: str, tokens: Sequence[str]) -> ApiClient:
        """What sends an operation of this host, that these tokens are for."""

    @property
    def find_lag(self) -> float:
        """For how many seconds after it was made a list or search may miss a record."""

    async def confirm(self) -> None:
        """Before a write: FatalApiError when the key is for another account."""


class SnapshotsSystem(System, Protocol):
    """The account on the Snapshots side, whatever its connector: besides its records, the facts about it that can be requested."""

    @property
    def profile(self) -> BaseProfile:
        """The vendor's facts."""

    @property
    def preparation(self) -> Preparation | None:
        """What has to exist before records are written; None where nothing has to."""

    @property
    def granted(self) -> frozenset[str] | None:
        """The scopes of the token in use; None with an API key, before the first request, or when it is unknown."""

    @property
    def clock_offset(self) -> float | None:
        """By how many seconds the API's clock is ahead of ours; None when it has not answered."""

    async def probe(self, entity: str) -> None:
        """Read one record at most, to see whether reading ``entity`` is allowed."""

    async def may_write(self, entity: str) -> None:
        """See whether writing ``entity`` is allowed, without writing; FatalApiError when it is not."""

    async def project_figures(
        self, months: tuple[str, str], most: int, locations: Sequence[str]
    ) -> list[Record] | None:
        """Revenue, budget and margin in these months, ``most`` rows of them; None where the API has none.

        A row is about a ``project``, or about one of these ``location``s, and names ``month`` and ``currency`` ("": not known). For
        a ``location`` with figures that cannot be read, a row says why they are ``missing``.
        """
