"""What happened, newest first: runs and changes of the set-up in one list, a page at a time; and one run in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import ColumnElement, select

from sync_pipeline.store.audit import AuditLine
from sync_pipeline.store.engine import Store
from sync_pipeline.store.schema import audit, syncs
from sync_pipeline.store.syncs import OUTSIDE, WRITTEN, Sync, by_run, outside_dagster, sync_of

PAGE = 50
AT_ONCE = 200
"""So many syncs are read together."""
MOST = 5_000
"""So many syncs are looked at for one page: a filter that fits few of them is continued on the next one."""
WORST = ("failed", "blocked", "incomplete", "cancelled", "held", "stale", "running", "dry_run", "targeted", "success")
"""A run ended as the worst of its syncs did."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: what it synced, and how that ended."""

    id: str
    """Dagster's id; ``sync-`` and a number for a sync outside of Dagster."""
    syncs: tuple[Sync, ...]
    """One an entity, in the order they began."""

    @property
    def begun_at(self) -> datetime:
        """When its first sync began."""
        return min(sync.begun_at for sync in self.syncs)

    @property
    def finished_at(self) -> datetime | None:
        """When its last sync ended; None while one has not."""
        ends = [sync.finished_at for sync in self.syncs if sync.finished_at is not None]
        return max(ends) if len(ends) == len(self.syncs) else None

    @property
    def entities(self) -> tuple[str, ...]:
        """What it synced."""
        return tuple(dict.fromkeys(sync.entity for sync in self.syncs))

    @property
    def outcome(self) -> str:
        """The worst of its syncs' outcomes; ``running`` while one has not ended, or when it was killed."""
        found = {sync.ended for sync in self.syncs}
        return min(found, key=lambda outcome: WORST.index(outcome) if outcome in WORST else 0)

    @property
    def trigger(self) -> str:
        """What started it; "" when that is not known."""
        return self.syncs[0].trigger or ""

    @property
    def requested_by(self) -> str:
        """Who asked for it, where a person did."""
        return self.syncs[0].requested_by or ""

    @property
    def counts(self) -> Counter[str]:
        """The figures of all its syncs together."""
        total: Counter[str] = Counter()
        for sync in self.syncs:
            total.update({name: int(value) for name, value in sync.counts.items() if isinstance(value, int)})
        return total

    @property
    def written(self) -> int:
        """How many records it created, adopted, updated or deleted at the target."""
        counts = self.counts
        return sum(counts[kind] for kind in WRITTEN)

    @property
    def requests(self) -> int:
        """API requests it made."""
        return sum(sync.requests or 0 for sync in self.syncs)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why each of its syncs that did not do everything did not, with the fix."""
        return tuple(dict.fromkeys(f"{sync.entity}: {sync.reason}" for sync in self.syncs if sync.reason))

    @property
    def is_uneventful(self) -> bool:
        """Whether it ended well and changed nothing."""
        return self.outcome in ("success", "targeted", "dry_run") and not self.written and not self.reasons


class Entry(NamedTuple):
    """One line of the list: a run, a change of the set-up, or several runs in a row that changed nothing."""

    at: datetime
    run: Run | None = None
    change: AuditLine | None = None
    times: int = 1
    """How many runs it sums up; ``run`` is the newest of them."""
    first_at: datetime | None = None
    """When the oldest of several runs began."""
    entities: tuple[str, ...] = ()

    @property
    def kind(self) -> Literal["run", "change"]:
        """What it is."""
        return "run" if self.run is not None else "change"


@dataclass(frozen=True, slots=True)
class ActivityFilter:
    """Which lines are wanted; all of them by default."""

    entity: str = ""
    outcome: str = ""
    kind: str = ""
    """``run`` or ``change``."""
    since: datetime | None = None
    until: datetime | None = None
    trigger: str = ""
    with_changes: bool = False
    """Only runs that wrote something, rejected something or did not end well."""

    @property
    def has_changes_of_setup(self) -> bool:
        """Whether changes of the set-up are wanted, too: they have no entity, no outcome and no trigger."""
        return self.kind != "run" and not (self.entity or self.outcome or self.trigger)

    def takes(self, run: Run) -> bool:
        """Whether a run is wanted."""
        if self.outcome and run.outcome != self.outcome:
            return False
        return not (self.with_changes and run.is_uneventful and not run.counts["rejected"])


class Activity(NamedTuple):
    """A page of the list."""

    entries: list[Entry]
    before: str
    """The address of the next page; "" when there is none."""


def activity(store: Store, pair: str, wanted: ActivityFilter, *, before: str = "", limit: int = PAGE) -> Activity:
    """A page of what happened to a pair, newest first; ``before`` is that of the page before it."""
    place = _Place.parse(before)
    runs = _Runs(store, pair, wanted, place.sync)
    lines = _merged(runs, _changes(store, wanted, place.audit))
    found: list[Entry] = []
    last = place
    for entry, after in lines:
        folded = _folded(found[-1], entry) if found else None
        if folded is None and len(found) == limit:
            return Activity(found, str(last))
        found[-1:] = [folded] if folded is not None else [*found[-1:], entry]
        last = last.at(after)
    if runs.is_cut:
        return Activity(found, str(last._replace(sync=runs.number)))
    return Activity(found, "")


def run_of(store: Store, pair: str, run_id: str) -> Run | None:
    """One run; None when there is none of that id."""
    number = outside_dagster(run_id)
    if number is not None:
        is_it = (syncs.c.id == number, syncs.c.run_id.is_(None))
        with store.reading() as tx:
            rows = tx.execute(select(syncs).where(syncs.c.connection == pair, *is_it))
            found = tuple(sync_of(row) for row in rows)
    else:
        found = tuple(sync for sync in by_run(store, [run_id]) if sync.connection == pair)
    return Run(run_id, found) if found else None


def runs_beginning(store: Store, pair: str, prefix: str) -> list[str]:
    """The ids of runs that begin with this; two at most."""
    begins = (syncs.c.connection == pair, syncs.c.run_id.startswith(prefix, autoescape=True))
    with store.reading() as tx:
        return [str(one) for one in tx.scalars(select(syncs.c.run_id).where(*begins).distinct().limit(2))]


class _Place(NamedTuple):
    """How far the list was read: only syncs and changes with lower ids are left."""

    sync: int
    audit: int

    @classmethod
    def parse(cls, text: str) -> _Place:
        """Parsed from an address; the beginning if it is invalid."""
        parts = [int(part) for part in text.split("-") if part.isdecimal() and len(part) < 20]
        return cls(*parts) if len(parts) == len(cls._fields) else cls(_LAST, _LAST)

    def at(self, after: tuple[str, int]) -> _Place:
        """The same place with one of its numbers replaced."""
        return self._replace(**{after[0]: after[1]})

    def __str__(self) -> str:
        """As it is part of an address."""
        return f"{self.sync}-{self.audit}"


_LAST = 2**62
_Line = tuple[Entry, tuple[str, int]]


class _Runs:
    """The wanted runs, newest first; a run has its place where its last sync began."""

    def __init__(self, store: Store, pair: str, wanted: ActivityFilter, before: int) -> None:
        self._store, self._wanted = store, wanted
        self._conditions: list[ColumnElement[bool]] = [syncs.c.connection == pair]
        if wanted.entity:
            self._conditions.append(syncs.c.entity == wanted.entity)
        if wanted.trigger:
            self._conditions.append(syncs.c.trigger == wanted.trigger)
        if wanted.until is not None:
            self._conditions.append(syncs.c.begun_at < wanted.until)
        self._pair = pair
        self.number = before
        """Syncs from this number on were looked at."""
        self.is_cut = False
        """Whether it ended before everything was looked at."""

    def __iter__(self) -> Iterator[_Line]:
        """Each run that is wanted, with its number."""
        if self._wanted.kind == "change":
            return
        looked_at = 0
        while some := self._page():
            runs = self._runs_of({sync.run_id or f"{OUTSIDE}{sync.id}": sync for sync in reversed(some)})
            for sync in some:
                run = runs.pop(sync.id, None)
                if self._wanted.since is not None and sync.begun_at < self._wanted.since:
                    return
                if run is not None and self._wanted.takes(run):
                    yield Entry(run.begun_at, run=run, entities=run.entities), ("sync", sync.id)
            self.number = some[-1].id
            looked_at += len(some)
            if looked_at >= MOST:
                self.is_cut = True
                return

    def _page(self) -> list[Sync]:
        newest = select(syncs).where(*self._conditions, syncs.c.id < self.number).order_by(syncs.c.id.desc())
        with self._store.reading() as tx:
            return [sync_of(row) for row in tx.execute(newest.limit(AT_ONCE))]

    def _runs_of(self, last: dict[str, Sync]) -> dict[int, Run]:
        """Each run in full, by the last of its wanted syncs, if that is among these; others were on a page before."""
        whole = {run_id: [sync] for run_id, sync in last.items() if sync.run_id is None}
        for sync in by_run(self._store, [run_id for run_id, found in last.items() if found.run_id]):
            if sync.connection == self._pair:
                whole.setdefault(str(sync.run_id), []).append(sync)
        places = {run_id: max(sync.id for sync in of_run if self._is_wanted(sync)) for run_id, of_run in whole.items()}
        return {
            places[run_id]: Run(run_id, tuple(of_run))
            for run_id, of_run in whole.items()
            if places[run_id] == last[run_id].id
        }

    def _is_wanted(self, sync: Sync) -> bool:
        is_before = self._wanted.until is None or sync.begun_at < self._wanted.until
        return is_before and self._wanted.entity in ("", sync.entity)


def _changes(store: Store, wanted: ActivityFilter, before: int) -> Iterator[_Line]:
    """The changes of the set-up that are wanted, newest first."""
    if not wanted.has_changes_of_setup:
        return
    times = [audit.c.at >= wanted.since] if wanted.since is not None else []
    times += [audit.c.at < wanted.until] if wanted.until is not None else []
    columns = (audit.c.id, audit.c.at, audit.c.by, audit.c.what, audit.c.detail)
    number = before
    while True:
        newest = select(*columns).where(audit.c.id < number, *times).order_by(audit.c.id.desc()).limit(AT_ONCE)
        with store.reading() as tx:
            rows = tx.execute(newest).all()
        for number, *values in rows:
            yield Entry(values[0], change=AuditLine(*values)), ("audit", number)
        if len(rows) < AT_ONCE:
            return


def _merged(runs: _Runs, changes: Iterator[_Line]) -> Iterator[_Line]:
    """Both, newest first; each of them is in the order of its numbers."""
    left, right = iter(runs), changes
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        if one is not None and (other is None or one[0].at >= other[0].at):
            yield one
            one = next(left, None)
        elif other is not None:
            if one is None and runs.is_cut:
                return  # the changes from here on belong beside runs that are not known yet
            yield other
            other = next(right, None)


def _folded(last: Entry, entry: Entry) -> Entry | None:
    """Two lines as one: runs in a row that changed nothing."""
    if last.run is None or entry.run is None or not (last.run.is_uneventful and entry.run.is_uneventful):
        return None
    together = tuple(dict.fromkeys((*last.entities, *entry.entities)))
    return last._replace(times=last.times + 1, first_at=entry.at, entities=together)
