"""Preparing the system that records are written to: what the mappings need there, created after confirmation, and what is measured."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import TypeVar

from sync_pipeline.connectors.guard import RequestGuard
from sync_pipeline.connectors.limiter import Sleep
from sync_pipeline.connectors.preparation import Compared, Made, Measured, Preparation
from sync_pipeline.connectors.profile_files import load_profile
from sync_pipeline.connectors.transport import Limits
from sync_pipeline.errors import ConfigError
from sync_pipeline.mapping.load import specs_of, switched_on
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.progress import reporting, silent
from sync_pipeline.session.secrets import Vault, unlock
from sync_pipeline.session.systems import Opening, facts_place, note_measured, read_measured
from sync_pipeline.settings import Settings
from sync_pipeline.setup import draft as drafts
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.locks import lock

T = TypeVar("T")
NOT_NEEDED = "The profile {profile} needs no preparation: it stores whatever is sent."
Work = Callable[[Preparation, Sequence[EntitySpec]], Awaitable[T]]


def is_needed(settings: Settings) -> bool:
    """Whether the system has to be prepared before records are written to it; no request is sent."""
    return load_profile(settings.snapshots_profile).prepares


def compare(setup: SetupService) -> Compared:
    """What is there of what the mappings need; nothing is changed."""
    return _ask(setup, lambda there, specs: there.compare(specs), writes=False)


def make(setup: SetupService) -> Made:
    """Make what is missing; the audit trail says what was made."""
    done = _ask(setup, lambda there, specs: there.make(specs), writes=True)
    if done.made:
        setup.note("prepared", f"made {', '.join(done.made)}")
    return done


def measure(setup: SetupService, sleep: Sleep = asyncio.sleep) -> list[Measured]:
    """Try with records that are deleted again, and keep what was found."""
    found = _ask(setup, lambda there, specs: there.measure(specs), writes=True, sleep=sleep)
    settings = setup.settings()
    with setup.store() as store:
        note_measured(store, settings, found, setup.now())
    setup.note("measured", "; ".join(f"{one.entity}: {one.detail}" for one in found))
    return found


def measured(setup: SetupService) -> list[Measured]:
    """What was measured before, of the entities that are switched on; no request is sent."""
    with setup.store() as store:
        return read_measured(store, setup.settings())


def _ask(setup: SetupService, work: Work[T], *, writes: bool, sleep: Sleep = asyncio.sleep) -> T:
    """One piece of work at the system, whether live syncing is on or not."""
    settings = setup.settings()
    if settings.missing:
        raise ConfigError(
            f"The set-up is not finished: {' and '.join(settings.missing)} is missing.",
            fix="Connect both systems first.",
        )
    specs = switched_on(specs_of(settings), settings.entities)
    profile = load_profile(settings.snapshots_profile)
    guard = RequestGuard(
        only_loopback=settings.sandbox,
        writes=writes and settings.mode != "dry_run",
        why="SYNC_MODE is dry_run" if writes else "it is only looked at",
        limits=Limits.of(settings),
    )

    async def run() -> T:
        there = opening.snapshots(drafts.counting(profile.system))
        try:
            if there.preparation is None:
                raise ConfigError(NOT_NEEDED.format(profile=profile.profile))
            return await work(there.preparation, list(specs.values()))
        finally:
            await there.aclose()

    with setup.store() as store, drafts.sandbox_if(settings.sandbox, settings), ExitStack() as held:
        if writes:  # one that measures removes the records that it takes for those of an interrupted one
            held.enter_context(lock(store, f"{facts_place(settings, 'snapshots')}\nprepare", "prepare"))
        unlocked = unlock(settings, Vault(store, settings))
        opening = Opening(unlocked, specs, profile, store, guard, reporting.get(silent), sleep)
        return drafts.ask(run)
