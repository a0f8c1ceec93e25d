"""What is under way: runs that have not ended, how often the last ones failed, and when to try again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg
from dagster import DagsterInstance
from dagster._core.storage.dagster_run import FINISHED_STATUSES, NOT_FINISHED_STATUSES

from sync_pipeline.clock import has_passed

EVENTS_TAG = "sync_pipeline/events"
"""A digest of the events a run answers; with it, how often that was tried."""
REQUEST_TAG, PART_TAG = "sync_pipeline/request", "sync_pipeline/request_part"
"""The request of a person that a run works on, and which part of it."""
BULK = {"sync_pipeline/bulk": "true"}
"""The tag of runs that read much and are not urgent; dagster.yaml allows one of them at a time."""
URGENT = {"dagster/priority": "10"}
"""The tag of runs that answer changes: they are started before whatever else is queued."""
LOOKED_AT = 12
FINISHED, FAILED = tuple(FINISHED_STATUSES), (dg.DagsterRunStatus.FAILURE,)
WAITING = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED)
LONGEST_PAUSE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class FailurePause:
    """After so many failures in a row, not before then."""

    failures: int
    since: datetime
    wait: timedelta

    @property
    def until(self) -> datetime:
        """When it ends."""
        return self.since + self.wait

    def is_over(self, now: datetime) -> bool:
        """Whether to try again."""
        return has_passed(self.since, self.wait, now)


def under_way(instance: DagsterInstance, jobs: Iterable[str]) -> str | None:
    """The id of a queued or running run of one of these jobs."""
    for job in jobs:
        runs = instance.get_run_records(dg.RunsFilter(job_name=job, statuses=list(NOT_FINISHED_STATUSES)), limit=1)
        if runs:
            return runs[0].dagster_run.run_id
    return None


def in_the_way(instance: DagsterInstance, jobs: Iterable[str]) -> str | None:
    """The id of a run that one for changes has to wait for; bulk runs that are still queued are ignored."""
    for job in jobs:
        for run in instance.get_runs(dg.RunsFilter(job_name=job, statuses=list(NOT_FINISHED_STATUSES))):
            if run.status not in WAITING or not BULK.items() <= run.tags.items():
                return run.run_id
    return None


def pause(instance: DagsterInstance, digest: str, seconds: float) -> FailurePause | None:
    """How long to wait before asking for the same again: twice as long after each failure in a row."""
    recent = instance.get_run_records(dg.RunsFilter(tags={EVENTS_TAG: digest}), limit=LOOKED_AT)
    failures = 0
    for record in recent:
        if record.dagster_run.status != dg.DagsterRunStatus.FAILURE:
            break
        failures += 1
    if not failures:
        return None
    ended = recent[0].end_time or recent[0].create_timestamp.timestamp()
    wait = min(timedelta(seconds=seconds) * 2 ** (failures - 1), LONGEST_PAUSE)
    return FailurePause(failures, datetime.fromtimestamp(ended, recent[0].create_timestamp.tzinfo), wait)


def attempts(instance: DagsterInstance, digest: str, ended: Sequence[dg.DagsterRunStatus] = FINISHED) -> int:
    """How many runs have tried to answer the same events, and ended in one of these ways without closing them."""
    tried = dg.RunsFilter(tags={EVENTS_TAG: digest}, statuses=list(ended))
    return instance.get_runs_count(tried)
