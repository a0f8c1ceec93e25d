"""A session: everything the stages need, opened once per run - settings, specs, store, both systems, and a clock.

The connectors are async; the stages are plain functions. One event loop in a thread of its own bridges them, so the
next page travels while the caller works on the current one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import uuid4

import orjson
from anyio.from_thread import BlockingPortal, start_blocking_portal

from sync_pipeline.clock import utc_now
from sync_pipeline.connectors.clockify.api import Clockify
from sync_pipeline.connectors.limiter import RateLimits, Sleep
from sync_pipeline.connectors.operation_target import operation_target
from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.ports import AssigningTarget, Expected, SnapshotsSystem, Source, System, UpsertTarget
from sync_pipeline.connectors.profile import BaseProfile
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.connectors.transport import Limits
from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import ConfigError, StoreError, Unanswered
from sync_pipeline.mapping.load import specs_of, switched_on
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.mapping.values import value_at
from sync_pipeline.sandbox.embedded import workspace_in
from sync_pipeline.session.configuration import configuration_fingerprint, former_fingerprint
from sync_pipeline.session.health import Answers
from sync_pipeline.session.mode import Mode, decide
from sync_pipeline.session.progress import Report, reporting, silent
from sync_pipeline.session.secrets import (
    Unlocked,
    Vault,
    forget_rejected,
    unlock,
)
from sync_pipeline.session.systems import (
    Opening,
    hourly_budget,
    limits_in,
    other_accounts,
    pair_of,
    pairs_of_others,
)
from sync_pipeline.settings import SYSTEMS, Settings
from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.forgotten import Forgotten, load_forgotten
from sync_pipeline.store.ledger import Ledger
from sync_pipeline.store.liveness import alive
from sync_pipeline.store.loads import first_contact
from sync_pipeline.store.names import StoredNames
from sync_pipeline.store.rate import Budget
from sync_pipeline.store.scope import draw, noted_pair
from sync_pipeline.store.staging import Staging
from sync_pipeline.store.switches import any_on, carry_over, read_switch
from sync_pipeline.store.syncs import Cause

T = TypeVar("T")
NOT_THERE = ("is missing", "are missing")


UNANSWERED = "No answer came in time: the API takes requests and does not answer, or its rate limit is used up."


def settled(future: Future[T]) -> T:
    """What the coroutine gave. Ctrl-C ends the coroutine too: nothing keeps the session open."""
    try:
        return future.result()
    except BaseException:
        future.cancel()  # no effect on one that has ended
        raise


@dataclass(slots=True)
class Session:
    """One pair - a Clockify workspace and a Snapshots account - and the store that remembers it."""

    settings: Settings
    specs: dict[str, EntitySpec]
    store: Store
    pair: str
    clockify: Clockify
    snapshots: SnapshotsSystem
    systems: Mapping[str, System]
    """These two and any others, by the names that mappings give them."""
    limits: Mapping[str, RateLimits]
    """Their rate limits."""
    portal: BlockingPortal
    report: Report
    mode: Mode
    fingerprint: str
    """Of the configuration: a trial and the switch of live syncing are for just this one."""
    forgotten: Forgotten = field(default_factory=Forgotten)
    """Records and people that no read may store again."""
    now: Callable[[], datetime] = utc_now
    stagings: dict[tuple[str, int], Staging] = field(default_factory=dict)
    """What was checked and is to be loaded, by entity and number of the read."""
    short_way: bool = True
    """Whether records that are known to be unchanged are spared; without it every record is processed in full."""
    sleep: Sleep = asyncio.sleep
    """How this session waits for other runs."""
    closing: ExitStack = field(default_factory=ExitStack)
    """What ends with the session."""
    until: float | None = None
    """The moment of the monotonic clock after which no answer is waited for: for ticks, which have to end in time."""

    former: frozenset[tuple[str, str]] | None = None
    """Entity and fingerprint of the mappings that leave what is unchanged at the source; None until that is asked for."""
    cause: Cause = Cause()
    """What started the run, noted with each sync."""
    ledgers: dict[str, Ledger] = field(default_factory=dict)

    def spec(self, entity: str) -> EntitySpec:
        """The current mapping of an entity; ConfigError when it is switched off."""
        if entity not in self.specs:
            raise ConfigError(
                f"The entity {entity} is switched off.",
                fix="Switch it on in the console or in SYNC_ENTITIES; an automation with `sync-pipeline automations on`.",
            )
        return self.specs[entity]

    def ledger(self, of: EntitySpec | str) -> Ledger:
        """What is stored of an entity and was done about it."""
        entity = of if isinstance(of, str) else of.entity
        if entity not in self.ledgers:
            self.ledgers[entity] = Ledger(self.store, self.pair, entity, self.cause)
        return self.ledgers[entity]

    def read(
        self, spec: EntitySpec, window: Window | None, expected: Expected | None = None
    ) -> Generator[list[Record]]:
        """Every record of the entity at its source (in the window), page by page."""
        self.know_forgotten()
        pages = self.walk(self.source(spec).read(window, expected=expected))
        return self._cleaned_pages(spec, pages) if self.forgotten.hashes else pages

    def read_all(self, spec: EntitySpec, window: Window) -> Generator[list[Record]]:
        """Every record of the window, those of owners who left included, whatever reader is set."""
        self.know_forgotten()
        pages = self.walk(self.source(spec).read_all(window))
        return self._cleaned_pages(spec, pages) if self.forgotten.hashes else pages

    def fetch(self, spec: EntitySpec, source_id: str) -> Record | None:
        """One record as ``read`` would give it; None only when the source says that it does not exist."""
        return self._cleaned(spec, self.call(self.source(spec).fetch, source_id, self._parent(spec, source_id)))

    def fetch_numbered(self, spec: EntitySpec, source_id: str) -> tuple[Record | None, int]:
        """The same, and the number of this read: drawn when the rate limiter has given it its turn."""
        drawn = 0

        async def draw_number() -> None:
            nonlocal drawn
            drawn = await asyncio.to_thread(draw, self.store)

        record = self.call(self.source(spec).fetch, source_id, self._parent(spec, source_id), draw_number)
        self.know_forgotten()
        return self._cleaned(spec, record), drawn

    def know_forgotten(self) -> None:
        """Look up whom nothing may bring back: a person may have been forgotten since the session was opened."""
        self.forgotten = load_forgotten(
            self.store, self.pair, lambda: Vault(self.store, self.settings).keyring, known=self.forgotten
        )

    def _cleaned_pages(self, spec: EntitySpec, pages: Generator[list[Record]]) -> Generator[list[Record]]:
        with closing(pages):
            for page in pages:
                yield [each for record in page if (each := _clean(self.forgotten, spec, record)) is not None]

    def _cleaned(self, spec: EntitySpec, record: Record | None) -> Record | None:
        return None if record is None else _clean(self.forgotten, spec, record)

    def sample(self, spec: EntitySpec, limit: int, *, within: float) -> list[Record]:
        """Some real records for one or two requests; TimeoutError when they do not come within so many seconds."""
        future = self.begin(self.source(spec).sample, limit)
        try:
            return future.result(within)
        finally:
            future.cancel()  # no effect on one that has ended

    def owners(self, spec: EntitySpec) -> str | None:
        """The entity that owns these records, if reads by id find only those of existing owners."""
        path, system = self.source(spec).owner_list, spec.source.system
        lists = {(other.source.system, other.source.list): name for name, other in self.specs.items()}
        return lists.get((system, path)) if path else None

    def can_fetch(self, spec: EntitySpec) -> bool:
        """Whether the source offers a read by id."""
        return self.source(spec).can_fetch

    def source(self, spec: EntitySpec) -> Source:
        """What the engine sees of the system an entity comes from."""
        parent = self.specs[spec.source.parent] if spec.source.parent else None
        return self.systems[spec.source.system].source(spec, parent)

    def target(self, spec: EntitySpec) -> UpsertTarget | AssigningTarget:
        """What the engine sees of the system an entity is delivered to."""
        system = self.systems[spec.target.system]
        if spec.target.once:
            return operation_target(system, spec, self.snapshots.profile)
        return system.target(spec)

    def read_from(self, system: System) -> list[EntitySpec]:
        """The entities that come from an account."""
        return [spec for spec in self.specs.values() if self.systems[spec.source.system] is system]

    def kept_in(self, system: System) -> list[EntitySpec]:
        """The entities whose records are kept in step in an account: not what is made there once."""
        kept = [spec for spec in self.specs.values() if not spec.target.once]
        return [spec for spec in kept if self.systems[spec.target.system] is system]

    def call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run one coroutine of a connector and wait for it."""
        return settled(self.begin(function, *args))

    def begin(self, function: Callable[..., Awaitable[T]], *args: Any) -> Future[T]:
        """Start one coroutine of a connector; ``settled`` waits for it."""
        return self.portal.start_task_soon(self._in_time, function, *args)

    def walk(self, pages: AsyncIterator[T]) -> Generator[T]:
        """Walk an async iterator of a connector from here; it is closed when the walk ends early."""
        end = object()

        async def step() -> Any:
            return await anext(pages, end)

        try:
            while (page := self.call(step)) is not end:
                yield page
        except GeneratorExit:  # the rest is not wanted; after anything else the iterator has ended by itself
            if isinstance(pages, AsyncGenerator):
                self.call(pages.aclose)
            raise

    def come_alive(self) -> None:
        """Take a lock for the liveness of this session where no run has one: without it records cannot be claimed."""
        if self.store.run_id is None:
            self.closing.enter_context(alive(self.store, uuid4().hex))

    def pause(self, seconds: float) -> None:
        """Wait for other runs."""
        self.call(self.sleep, seconds)

    @property
    def requests(self) -> int:
        """Requests sent to both systems so far, retries included."""
        return sum(system.requests.total() for system in self.systems.values())

    def budget(self, system: str) -> Budget | None:
        """What is left of this hour's requests to a system; None without an hourly limit."""
        return hourly_budget(self.store, self.limits[system], self.now())

    @property
    def budgets(self) -> dict[str, Budget]:
        """What is left of this hour's requests, by system; without those that have no such limit."""
        found = {system: self.budget(system) for system in self.limits}
        return {system: budget for system, budget in found.items() if budget is not None}

    def _parent(self, spec: EntitySpec, source_id: str) -> str | None:
        """The id of the parent that last listed this record; None if there are no such lists, or it is unknown."""
        name = next((name for name, entity in spec.references.items() if entity == spec.source.parent), None)
        known = self.ledger(spec).lookup([source_id]).get(source_id) if name else None
        found = orjson.loads(known.fields).get(name) if known is not None else None
        return None if found is None else str(found)

    async def _in_time(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        try:
            async with asyncio.timeout_at(self.until) as limit:
                return await function(*args)
        except TimeoutError:
            if not limit.expired():
                raise
            raise Unanswered(UNANSWERED, fix="Nothing is lost: the next check tries again.") from None


@contextmanager
def open_session(
    settings: Settings, *, report: Report | None = None, sleep: Sleep = asyncio.sleep
) -> Iterator[Session]:
    """Open the store and both systems; nothing is requested yet.

    ``sleep`` is how retries and rate limits wait. Raises ConfigError or StoreError when something is not as it must be.
    """
    report = report or reporting.get(silent)
    if settings.missing:
        raise ConfigError(
            f"The set-up is not finished: {' and '.join(settings.missing)} {NOT_THERE[len(settings.missing) > 1]}.",
            fix="Go on with it in the console or with `sync-pipeline init`.",
        )
    specs = switched_on(specs_of(settings), settings.entities)
    profile = load_profile(settings.snapshots_profile)
    store = open_store(settings.store_url, timeout=settings.lock_seconds)
    try:
        unlocked = unlock(settings, Vault(store, settings))
        with start_blocking_portal() as portal:
            yield from _opened(unlocked, specs, profile, store, portal, report, sleep)
    finally:
        store.close()


def _opened(
    unlocked: Unlocked,
    specs: dict[str, EntitySpec],
    profile: BaseProfile,
    store: Store,
    portal: BlockingPortal,
    report: Report,
    sleep: Sleep,
) -> Iterator[Session]:
    settings = unlocked.settings
    workspace = settings.clockify_workspace_id or workspace_in(settings.home / "sandbox.db")
    others = other_accounts(settings, specs)
    accounts = pair_of(settings, profile, workspace, others)
    pair = noted_pair(store, accounts)
    configuration = (accounts, settings, profile, specs, unlocked.marks)
    fingerprint = configuration_fingerprint(*configuration)
    carry_over(store, pair, former_fingerprint(*configuration), fingerprint)
    switch = read_switch(store, pair)
    switched_on = switch is not None and switch.is_on_for(fingerprint)
    is_paused = not switched_on and any_on(store) and any_on(store, besides=pairs_of_others(store, settings))
    mode = decide(settings, switched_on=switched_on, is_paused=is_paused)
    forgotten = load_forgotten(store, pair, lambda: Vault(store, settings).keyring)
    guard = replace(mode.guard, check_locks=store.check_locks, limits=Limits.of(settings))
    answers = {system: Answers() for system in SYSTEMS}
    names = StoredNames(store, pair, lambda: load_forgotten(store, pair, lambda: Vault(store, settings).keyring))
    opening = Opening(unlocked, specs, profile, store, guard, report, sleep)
    clockify = opening.clockify(workspace, names, answers["clockify"])
    snapshots = opening.snapshots(answers["snapshots"])
    systems: dict[str, System] = {"clockify": clockify, "snapshots": snapshots, **opening.others()}
    session = Session(
        settings,
        specs,
        store,
        pair,
        clockify,
        snapshots,
        systems,
        limits_in(replace(settings, clockify_workspace_id=workspace), profile, others),
        portal,
        report,
        mode,
        fingerprint,
        forgotten,
        sleep=sleep,
    )
    try:
        yield session
    finally:
        with ExitStack() as stack:  # all of them, also when one fails
            stack.callback(session.closing.close)
            for system in systems.values():
                stack.callback(portal.call, system.aclose)
            for staging in session.stagings.values():
                stack.callback(staging.close)
        forget_rejected(unlocked, Vault(store, unlocked.settings), utc_now())
        with suppress(StoreError):  # a broken store has its own message by then
            for name, seen in answers.items():
                seen.note(store, pair, name)


def is_first_contact(session: Session, entity: str | None = None) -> bool:
    """Whether these are real accounts to which nothing was ever delivered; being live means that it may begin.

    An entity with a held first delivery is still at that point after others have started.
    """
    if not session.settings.is_remote or session.mode.automatic:
        return False
    key = (session.store, session.pair)
    if first_contact(*key):
        return True
    if entity is None or not first_contact(*key, entity):
        return False
    return session.ledger(entity).approvals.was_asked("first_contact")


def _clean(forgotten: Forgotten, spec: EntitySpec, record: Record) -> Record | None:
    """The record; None when it was forgotten; without personal values when it refers to a forgotten person."""
    if not forgotten.hashes:
        return record
    if forgotten.knows(value_at(record, spec.source.id_path)):
        return None
    referring = (field for field in spec.fields if field.references and field.source)
    if not any(forgotten.knows(value_at(record, field.source)) for field in referring):
        return record
    made = deepcopy(record)
    personal = [field.source for field in spec.fields if field.personal and field.source]
    if spec.label is not None and spec.label.personal:
        personal.append(spec.label.source)
    for path in personal:
        _clear(made, path)
    return made


def _clear(record: Any, path: tuple[str, ...]) -> None:
    parent = value_at(record, path[:-1]) if len(path) > 1 else record
    if isinstance(parent, dict) and path[-1] in parent:
        parent[path[-1]] = None
