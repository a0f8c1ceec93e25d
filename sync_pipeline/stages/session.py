"""A session: everything the stages need, opened once per run - settings, specs, store, both systems, and a clock.

The connectors are async; the stages are plain functions. One event loop in a thread of its own bridges them, so the
next page travels while the caller works on the current one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from anyio.from_thread import BlockingPortal, start_blocking_portal

from sync_pipeline.connectors.clockify import PLANS, Account, Clockify
from sync_pipeline.connectors.entries import Choice, Expected, ReaderSetting
from sync_pipeline.connectors.guard import Guard
from sync_pipeline.connectors.http import Patience
from sync_pipeline.connectors.limiter import Sleep, memory_limiter, store_limiter
from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.ports import Source
from sync_pipeline.connectors.profile import Profile, load_profile
from sync_pipeline.connectors.snapshots import Credentials, Snapshots
from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import ConfigError, Unanswered
from sync_pipeline.mapping.load import specs_of, switched_on
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.settings import Settings
from sync_pipeline.stages.configuration import configuration_fingerprint
from sync_pipeline.stages.mode import Mode, decide
from sync_pipeline.stages.vault import (
    CLOCKIFY_KEY,
    CLOCKIFY_TOKEN,
    SNAPSHOTS_KEY,
    Unlocked,
    Vault,
    forget_rejected,
    unlock,
)
from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.switches import read_switch
from sync_pipeline.store.syncs import first_contact

T = TypeVar("T")
NOT_THERE = ("is missing", "are missing")
FELL_BACK = "the new key was not accepted, so the one before it is used. Rotate it again, or retire the old one."


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is: ``done`` records of one entity, or a note worth reading while one waits."""

    entity: str
    stage: str
    done: int = 0
    note: str = ""


UNANSWERED = "No answer came in time: the other side takes requests and is silent, or its rate limit is used up."

Report = Callable[[Progress], None]
"""Called from the stages as they go; must be quick and must not raise."""

reporting: ContextVar[Report] = ContextVar("reporting")
"""Who listens: the command line sets it before it starts a run in its own process."""


def settled(future: Future[T]) -> T:
    """What the coroutine gave. Ctrl-C ends the coroutine too: nothing keeps the session open."""
    try:
        return future.result()
    except BaseException:
        future.cancel()  # no effect on one that has ended
        raise


def utc_now() -> datetime:
    """The real clock."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Session:
    """One connection - a Clockify workspace and a Snapshots account - and the store that remembers it."""

    settings: Settings
    specs: dict[str, EntitySpec]
    store: Store
    connection: str
    clockify: Clockify
    snapshots: Snapshots
    portal: BlockingPortal
    report: Report
    mode: Mode
    fingerprint: str
    """Of the configuration: a trial and the switch of live syncing are for just this one."""
    now: Callable[[], datetime] = utc_now
    until: float | None = None
    """Beyond this moment of the monotonic clock no answer is waited for: for a look, which has to end in time."""

    def spec(self, entity: str) -> EntitySpec:
        """The mapping of an entity as it is now; ConfigError when it is switched off."""
        if entity not in self.specs:
            raise ConfigError(
                f"The entity {entity} is switched off.", fix="Switch it on in the console, or in SYNC_ENTITIES."
            )
        return self.specs[entity]

    def read(
        self, spec: EntitySpec, window: Window | None, expected: Expected | None = None
    ) -> Generator[list[Record]]:
        """Every record of the entity at its source (in the window), page by page."""
        return self.walk(self._source(spec).read(spec.source, window, expected=expected))

    def fetch(self, spec: EntitySpec, source_id: str) -> Record | None:
        """One record as ``read`` would give it; None only when the source says that it does not exist."""
        return self.call(self._source(spec).fetch, spec.source, source_id)

    def glimpse(self, spec: EntitySpec, limit: int, *, within: float) -> list[Record]:
        """Some real records for one or two requests; TimeoutError when they do not come within so many seconds."""
        future = self.begin(self._source(spec).glimpse, spec.source, limit)
        try:
            return future.result(within)
        finally:
            future.cancel()  # no effect on one that has ended

    def can_fetch(self, spec: EntitySpec) -> bool:
        """Whether the source offers a read by id."""
        return spec.source.system == "snapshots" or spec.source.item is not None

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
        except GeneratorExit:  # nobody wants the rest; after anything else the iterator has ended by itself
            if isinstance(pages, AsyncGenerator):
                self.call(pages.aclose)
            raise

    @property
    def requests(self) -> int:
        """Requests sent to both systems so far, retries included."""
        return self.clockify.requests.total() + self.snapshots.requests.total()

    async def _in_time(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        try:
            async with asyncio.timeout_at(self.until) as limit:
                return await function(*args)
        except TimeoutError:
            if not limit.expired():
                raise
            raise Unanswered(UNANSWERED, fix="Nothing is lost: the next look tries again.") from None

    def _source(self, spec: EntitySpec) -> Source:
        return self.clockify if spec.source.system == "clockify" else self.snapshots.source(spec.entity)


@contextmanager
def open_session(
    settings: Settings, *, report: Report | None = None, sleep: Sleep = asyncio.sleep
) -> Iterator[Session]:
    """Open the store and both systems; nothing is requested yet, but for the sandbox's own workspace id.

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
    profile: Profile,
    store: Store,
    portal: BlockingPortal,
    report: Report,
    sleep: Sleep,
) -> Iterator[Session]:
    settings = unlocked.settings
    workspace = settings.clockify_workspace_id or portal.call(_sandbox_workspace, settings)
    connection = f"clockify:{workspace} {profile.profile}:{_snapshots_account(settings)}"
    fingerprint = configuration_fingerprint(connection, settings, profile, specs, unlocked.marks)
    switch = read_switch(store, connection)
    mode = decide(settings, switched_on=switch is not None and switch.is_on_for(fingerprint))
    clockify = _open_clockify(unlocked, workspace, store, mode.guard, report, sleep)
    snapshots = _open_snapshots(unlocked, specs, profile, store, mode.guard, report, sleep)
    try:
        yield Session(settings, specs, store, connection, clockify, snapshots, portal, report, mode, fingerprint)
    finally:
        portal.call(clockify.aclose)
        portal.call(snapshots.aclose)
        forget_rejected(unlocked, Vault(store, unlocked.settings), utc_now())


def clockify_account(settings: Settings, workspace: str, fallback: str = "") -> Account:
    """Whose Clockify these settings name; ``fallback`` is the key before the one in use."""
    token = settings.clockify_addon_token
    return Account(
        api_key="" if token else settings.clockify_api_key,
        addon_token=token,
        fallback=fallback,
        workspace=workspace,
        base_url=settings.clockify_base_url,
        reports_url=settings.clockify_reports_url,
        plan=settings.clockify_plan,
    )


def _open_clockify(
    unlocked: Unlocked, workspace: str, store: Store, guard: Guard, report: Report, sleep: Sleep
) -> Clockify:
    settings = unlocked.settings
    previous = unlocked.previous.get(
        "clockify_addon_token" if settings.clockify_addon_token else "clockify_api_key", ""
    )
    account, plan = clockify_account(settings, workspace, previous), PLANS[settings.clockify_plan]
    say = _announcing(report, "Clockify")
    limiter = store_limiter(store, account.bucket, plan.windows, label=plan.label, on_wait=say, sleep=sleep)
    return Clockify(
        account,
        limiter,
        reader=cast("ReaderSetting", settings.clockify_reader),
        page_size=settings.clockify_page_size,
        guard=guard,
        on_choice=lambda choice: report(Progress("time_entries", "plan", note=_chosen(choice))),
        on_wait=say,
        on_fallback=lambda: say(FELL_BACK),
        on_rejected=lambda: unlocked.rejected.append(CLOCKIFY_TOKEN if settings.clockify_addon_token else CLOCKIFY_KEY),
        patience=replace(plan.patience, attempts=settings.max_attempts),
        sleep=sleep,
    )


def snapshots_credentials(
    unlocked: Unlocked, specs: Mapping[str, EntitySpec], profile: Profile, store: Store
) -> Credentials:
    """How these settings sign in; a person's consent is kept in the store."""
    settings = unlocked.settings
    if settings.auth == "api_key":
        return Credentials(api_key=settings.snapshots_api_key, fallback=unlocked.previous.get("snapshots_api_key", ""))
    return Credentials(
        client_id=settings.snapshots_client_id,
        client_secret=settings.snapshots_client_secret,
        scopes=settings.snapshots_scopes or needed_scopes(specs, profile),
        vault=Vault(store, settings).tokens if settings.auth == "authorization_code" else None,
    )


def needed_scopes(specs: Mapping[str, EntitySpec], profile: Profile) -> tuple[str, ...]:
    """The scopes that syncing these entities takes: reading what comes from there, both for what goes there."""
    found = {profile.scope("locations"): None}
    for name, spec in specs.items():
        found[profile.scope(name)] = None
        if spec.target.system == "snapshots":
            found[profile.scope(name, write=True)] = None
    return tuple(filter(None, found))


def _open_snapshots(
    unlocked: Unlocked,
    specs: Mapping[str, EntitySpec],
    profile: Profile,
    store: Store,
    guard: Guard,
    report: Report,
    sleep: Sleep,
) -> Snapshots:
    settings = unlocked.settings
    credentials = snapshots_credentials(unlocked, specs, profile, store)
    say, bucket = _announcing(report, "Snapshots"), f"snapshots:{_snapshots_account(settings)}"
    limiter = store_limiter(
        store, bucket, profile.windows, label="The Snapshots API's rate limit", on_wait=say, sleep=sleep
    )
    patience = Patience(attempts=settings.max_attempts)
    return Snapshots(
        profile,
        settings.snapshots_base_url,
        credentials,
        limiter,
        guard=guard,
        on_wait=say,
        on_fallback=lambda: say(FELL_BACK),
        on_rejected=lambda: unlocked.rejected.append(SNAPSHOTS_KEY),
        patience=patience,
        sleep=sleep,
    )


def is_first_contact(session: Session) -> bool:
    """Whether these are real accounts to which nothing was ever delivered; being live means that it may begin."""
    is_ours = session.settings.is_remote and not session.mode.automatic
    return is_ours and first_contact(session.store, session.connection)


def _snapshots_account(settings: Settings) -> str:
    """What tells one account from another: the base URL, and the account's name where several share one."""
    return " ".join(filter(None, (settings.snapshots_base_url, settings.snapshots_account)))


def _announcing(report: Report, system: str) -> Callable[[str], None]:
    return lambda text: report(Progress(system, "wait", note=text))


def _chosen(choice: Choice) -> str:
    cost = "unknown" if choice.requests is None else choice.requests
    return f"read by `{choice.reader}` (expected requests: {cost}): {choice.reason}"


async def _sandbox_workspace(settings: Settings) -> str:
    """The sandbox's workspace id comes from its seed, so it is asked; a real one is always a setting."""
    async with Clockify(clockify_account(settings, ""), memory_limiter()) as clockify:
        return str((await clockify.me())["activeWorkspace"])


def silent(_: Progress) -> None:
    """Nobody listens."""
