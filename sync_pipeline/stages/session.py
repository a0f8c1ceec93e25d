"""A session: everything the stages need, opened once per run - settings, specs, store, both systems, and a clock.

The connectors are async; the stages are plain functions. One event loop in a thread of its own bridges them, so the
next page travels while the caller works on the current one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from anyio.from_thread import BlockingPortal, start_blocking_portal

from sync_pipeline.connectors.clockify import PLANS, Account, Clockify
from sync_pipeline.connectors.entries import Choice, Expected, ReaderSetting
from sync_pipeline.connectors.http import Patience
from sync_pipeline.connectors.limiter import Sleep, memory_limiter, store_limiter
from sync_pipeline.connectors.paging import Record
from sync_pipeline.connectors.ports import Source
from sync_pipeline.connectors.profile import Profile, load_profile
from sync_pipeline.connectors.snapshots import Credentials, Snapshots
from sync_pipeline.connectors.window import Window
from sync_pipeline.errors import Unanswered
from sync_pipeline.mapping.load import load_specs
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.settings import Settings
from sync_pipeline.store.engine import Store, open_store
from sync_pipeline.store.syncs import first_contact

T = TypeVar("T")


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
    now: Callable[[], datetime] = utc_now
    until: float | None = None
    """Beyond this moment of the monotonic clock no answer is waited for: for a look, which has to end in time."""

    def read(
        self, spec: EntitySpec, window: Window | None, expected: Expected | None = None
    ) -> Generator[list[Record]]:
        """Every record of the entity at its source (in the window), page by page."""
        return self.walk(self._source(spec).read(spec.source, window, expected=expected))

    def fetch(self, spec: EntitySpec, source_id: str) -> Record | None:
        """One record as ``read`` would give it; None only when the source says that it does not exist."""
        return self.call(self._source(spec).fetch, spec.source, source_id)

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
    specs = load_specs(settings.mappings_dir)
    profile = load_profile(settings.snapshots_profile)
    store = open_store(settings.store_url, timeout=settings.lock_seconds)
    try:
        with start_blocking_portal() as portal:
            workspace = settings.clockify_workspace_id or portal.call(_sandbox_workspace, settings)
            clockify = _open_clockify(settings, workspace, store, report, sleep)
            snapshots = _open_snapshots(settings, profile, store, report, sleep)
            connection = f"clockify:{workspace} {profile.profile}:{_snapshots_account(settings)}"
            try:
                yield Session(settings, specs, store, connection, clockify, snapshots, portal, report)
            finally:
                portal.call(clockify.aclose)
                portal.call(snapshots.aclose)
    finally:
        store.close()


def _account(settings: Settings, workspace: str) -> Account:
    return Account(
        api_key=settings.clockify_api_key,
        workspace=workspace,
        base_url=settings.clockify_base_url,
        reports_url=settings.clockify_reports_url,
        plan=settings.clockify_plan,
    )


def _open_clockify(settings: Settings, workspace: str, store: Store, report: Report, sleep: Sleep) -> Clockify:
    account, plan = _account(settings, workspace), PLANS[settings.clockify_plan]
    say = _announcing(report, "Clockify")
    limiter = store_limiter(store, account.bucket, plan.windows, label=plan.label, on_wait=say, sleep=sleep)
    return Clockify(
        account,
        limiter,
        reader=cast("ReaderSetting", settings.clockify_reader),
        page_size=settings.clockify_page_size,
        on_choice=lambda choice: report(Progress("time_entries", "plan", note=_chosen(choice))),
        on_wait=say,
        patience=replace(plan.patience, attempts=settings.max_attempts),
        sleep=sleep,
    )


def _open_snapshots(settings: Settings, profile: Profile, store: Store, report: Report, sleep: Sleep) -> Snapshots:
    credentials = Credentials(
        api_key=settings.snapshots_api_key,
        client_id=settings.snapshots_client_id,
        client_secret=settings.snapshots_client_secret,
    )
    say, bucket = _announcing(report, "Snapshots"), f"snapshots:{_snapshots_account(settings)}"
    limiter = store_limiter(
        store, bucket, profile.windows, label="The Snapshots API's rate limit", on_wait=say, sleep=sleep
    )
    patience = Patience(attempts=settings.max_attempts)
    return Snapshots(
        profile, settings.snapshots_base_url, credentials, limiter, on_wait=say, patience=patience, sleep=sleep
    )


def is_first_contact(session: Session) -> bool:
    """Whether these are real accounts to which nothing was ever delivered; ``SYNC_LIVE`` means that it may begin."""
    settings = session.settings
    return settings.is_remote and not settings.live and first_contact(session.store, session.connection)


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
    async with Clockify(_account(settings, ""), memory_limiter()) as clockify:
        return str((await clockify.me())["activeWorkspace"])


def silent(_: Progress) -> None:
    """Nobody listens."""
