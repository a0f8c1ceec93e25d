"""Real records of an entity to look at, for as few requests as can be; the shipped samples when there are none.

They are kept in memory for some minutes, so that working on a mapping does not use up the hour's budget. They are never
written anywhere.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from sync_pipeline.errors import SyncError
from sync_pipeline.mapping.spec import EntitySpec
from sync_pipeline.session.session import Session
from sync_pipeline.settings import Settings
from sync_pipeline.setup.service import SetupService
from sync_pipeline.stages.polling import has_room

LIMIT = 50
REQUESTS = 2
WAIT_SECONDS = 15.0
"""Seconds a page waits before it is shown with samples."""
KEPT = timedelta(minutes=10)
MOST_KEPT = 32


@dataclass(frozen=True, slots=True)
class Examples:
    """Records of one entity. ``why`` says why they are samples; "" when they are real."""

    records: tuple[dict[str, Any], ...]
    why: str = ""

    @property
    def are_real(self) -> bool:
        """Whether the records were read from the source."""
        return not self.why


class _Kept:
    """What was read lately, by where it was read; the oldest leaves first."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._found: dict[Hashable, tuple[datetime, Examples]] = {}

    def get(self, key: Hashable, now: datetime) -> Examples | None:
        with self._lock:
            at, found = self._found.get(key, (now - KEPT, None))
            return found if abs(now - at) < KEPT else None

    def put(self, key: Hashable, now: datetime, found: Examples) -> None:
        with self._lock:
            self._found.pop(key, None)
            self._found[key] = (now, found)
            while len(self._found) > MOST_KEPT:
                del self._found[next(iter(self._found))]


_kept = _Kept()  # for as long as the console runs: a SetupService is made anew for each request


def examples(setup: SetupService, spec: EntitySpec, *, fresh: bool = False) -> Examples:
    """Some records of the entity; ``fresh`` ones are read again."""
    settings = setup.settings()
    key = _place(settings, spec)
    found = None if fresh else _kept.get(key, setup.now())
    if found is None:
        found = _read(setup, settings, spec)
        if found.are_real:
            _kept.put(key, setup.now(), found)
    return found


def _place(settings: Settings, spec: EntitySpec) -> Hashable:
    source = (spec.source.system, spec.source.reader, spec.source.list, tuple(sorted(spec.source.params.items())))
    clockify = (settings.clockify_base_url, settings.clockify_reports_url, settings.clockify_workspace_id)
    return (
        *(settings.home, settings.mode, settings.sandbox, settings.snapshots_profile),
        *(clockify, settings.snapshots_base_url, settings.snapshots_account, spec.entity, source),
    )


def _read(setup: SetupService, settings: Settings, spec: EntitySpec) -> Examples:
    try:
        with setup.session(replace(settings, max_attempts=1)) as session:
            found = _sampled(session, spec)
    except SyncError as error:
        return _samples(settings, spec, str(error))
    except TimeoutError:
        return _samples(settings, spec, f"No answer came within {WAIT_SECONDS:.0f} seconds.")
    return found if found.records else _samples(settings, spec, found.why or "There are no records at the source yet.")


def _sampled(session: Session, spec: EntitySpec) -> Examples:
    if session.source(spec).is_budgeted and not has_room(session, REQUESTS):
        return Examples((), "The hour's request budget of Clockify's plan is nearly used up.")
    return Examples(tuple(session.sample(spec, LIMIT, within=WAIT_SECONDS)))


def _samples(settings: Settings, spec: EntitySpec, why: str) -> Examples:
    from sync_pipeline.mapping.samples import load_samples

    samples = [sample.source for sample in load_samples(spec.entity, settings.mappings_dir) if not sample.rejected]
    return Examples(tuple(samples), f"{why} These are samples.")
