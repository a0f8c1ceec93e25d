"""Everything one running sandbox shares between its routes: data, clock, options, counters, faults."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from sync_pipeline.sandbox.control.rules import Faults
from sync_pipeline.sandbox.journal import Journal
from sync_pipeline.sandbox.lag import Frozen, Lag
from sync_pipeline.sandbox.webhooks.courier import Courier

Plan = Literal["free", "paid"]


class Clock:
    """The sandbox's clock: real time plus an offset, or frozen."""

    def __init__(self, real: Callable[[], float] = time.time) -> None:
        self._real = real
        self._offset = 0.0
        self._frozen: float | None = None

    def epoch(self) -> float:
        """Seconds since 1970."""
        return self._frozen if self._frozen is not None else self._real() + self._offset

    def real_epoch(self) -> float:
        """The same in real time, however the clock was moved."""
        return self._real()

    def now(self) -> datetime:
        """The current instant, in UTC."""
        return datetime.fromtimestamp(self.epoch(), UTC)

    def set(self, instant: datetime, *, frozen: bool = False) -> None:
        """Make it ``instant`` now; ``frozen`` stops the clock there."""
        if frozen:
            self._frozen = instant.timestamp()
        else:
            self._frozen, self._offset = None, instant.timestamp() - self._real()

    def advance(self, by: timedelta | float) -> None:
        """Move the clock forward (or back) by a time span or a number of seconds."""
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        if self._frozen is not None:
            self._frozen += seconds
        else:
            self._offset += seconds

    def reset(self) -> None:
        """Back to real time."""
        self._offset, self._frozen = 0.0, None


@dataclass
class Options:
    """What a sandbox is started with. Everything below ``seeding`` can be changed while it runs."""

    # seeding: how much of everything, read once when the database is empty
    seed: int = 1
    users: int = 25
    projects: int = 40
    clients: int = 15
    locations: int = 30
    entries: int = 5_000
    days: int = 90

    plan: Plan = "paid"

    # Webhooks go to loopback addresses only, unless the sandbox was started with this; no control can set it.
    webhooks_anywhere: bool = False

    # page caps: asking for more is answered with this many
    list_page_cap: int = 5_000
    in_progress_page_cap: int = 1_000
    report_page_cap: int = 1_000

    # rate limits: None takes the plan's (free 30 an hour; paid 50 a second), 0 switches off
    requests_per_second: int | None = None
    requests_per_hour: int | None = None
    reports_share_quota: bool = True
    limit_headers: Literal["none", "seconds", "date"] = "seconds"
    limit_body: bool = True

    # quirks of the real service, each with a switch
    wall_clock_windows: bool = True
    windowed_list_lag: float = 0.0
    entity_changes: Literal["documented", "flaky"] = "documented"
    entity_changes_page_base: Literal[0, 1] = 0
    deletion_delay: float = 60.0
    billable_default: Literal["false", "project"] = "false"
    rates_hidden: bool = False
    snapshots_page_cap: int = 1_000

    # HighLevel: locations when seeded, requests in ten seconds (0: no limit), and whether the home location has the
    # custom objects of a sync from the start
    highlevel_locations: int = 12
    highlevel_requests: int = 100
    highlevel_prepared: bool = False

    def per_hour(self) -> int:
        """Requests an hour this workspace may make; 0 means no limit."""
        if self.requests_per_hour is not None:
            return self.requests_per_hour
        return 30 if self.plan == "free" else 0

    def per_second(self) -> int:
        """Requests a second this workspace may make; 0 means no limit."""
        return 50 if self.requests_per_second is None else self.requests_per_second


@dataclass
class Stats:
    """What was asked of the sandbox since it started or was last reset."""

    requests: Counter[str] = field(default_factory=Counter)
    writes: Counter[str] = field(default_factory=Counter)
    rate_limited: int = 0
    seconds: float = 0.0

    def clear(self) -> None:
        """Count from zero again."""
        self.requests.clear()
        self.writes.clear()
        self.rate_limited = 0
        self.seconds = 0.0


@dataclass
class World:
    """One running sandbox. Routes get it once, when they are built, and read ``world.db`` on every request."""

    db: sqlite3.Connection
    options: Options = field(default_factory=Options)
    clock: Clock = field(default_factory=Clock)
    stats: Stats = field(default_factory=Stats)
    faults: Faults = field(default_factory=Faults)
    journal: Journal | None = None
    """None while it is off."""
    courier: Courier = field(init=False)
    lag: Lag = field(init=False)

    def __post_init__(self) -> None:
        self.courier = Courier(self.db, self.clock.epoch, self.options.webhooks_anywhere)
        self.lag = Lag(self.db)
        self.faults.clock = self.clock.real_epoch

    @property
    def workspace(self) -> str:
        """The id of the Clockify workspace; empty before there is one."""
        row = self.db.execute("SELECT id FROM workspaces ORDER BY id LIMIT 1").fetchone()
        return "" if row is None else str(row["id"])

    def as_of(self, frozen: Frozen | None) -> World:
        """The world as a frozen list shows it; itself when nothing is frozen."""
        return self if frozen is None else replace(self, db=frozen.db)

    def wrote(self, entity: str, count: int = 1) -> None:
        """Count a write to ``entity`` (clients, time_entries, ...) that a client asked for."""
        self.stats.writes[entity] += count
