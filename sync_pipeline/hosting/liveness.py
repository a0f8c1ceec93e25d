"""Finds runs whose process has ended: each run names its process and holds a lock, so no one waits for a killed one."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

import dagster as dg
import psutil
from dagster import DagsterInstance
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import HIDDEN_TAG_PREFIX, RETRY_STRATEGY_TAG

from sync_pipeline.errors import SyncError
from sync_pipeline.hosting.run_tags import at_start
from sync_pipeline.settings import load_given
from sync_pipeline.store.engine import Store, existing_store
from sync_pipeline.store.liveness import is_dead, is_locked, note_waiting

PROCESS_TAG = f"{HIDDEN_TAG_PREFIX}sync_pipeline_process"
"""Which process executes the run; the UI shows no tag that begins with this prefix."""
LOCK_TAG = f"{HIDDEN_TAG_PREFIX}sync_pipeline_run_lock"
"""Says that the run takes a lock for its own liveness; an earlier version, which had none, does not set it."""
EARLIER_NAMES = {PROCESS_TAG: "sync_pipeline/process", LOCK_TAG: "sync_pipeline/run_lock"}
"""The names of the same tags on runs that an earlier version has started."""
FROM_THE_START = {RETRY_STRATEGY_TAG: "ALL_STEPS"}
"""Says that a repeated run executes all steps: on another machine it does not find the batch of the first one."""
PROCESS_ENDED = "The process of this run ended without reporting a result; the next sync continues from there."


class OwnLauncher:
    """A launcher of ours: it clears the process that a repeated run has copied, before another one can take the run."""


def close_orphans(instance: DagsterInstance) -> int:
    """Mark as failed the runs whose process was killed, or whose machine stopped. Returns how many.

    Runs that are starting are left alone unless a launcher of ours starts them: with another one, such as that of Kubernetes, a
    repeated run still names the process of the run whose tags it has copied. Dagster's run monitoring covers them.
    """
    closed = 0
    runs = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING]))
    # Asked for only when it is needed: the launcher of Kubernetes cannot be created outside a cluster.
    started = [run for run in runs if run.status is dg.DagsterRunStatus.STARTED]
    if len(started) < len(runs) and not isinstance(instance.run_launcher, OwnLauncher):
        runs = started
    untaken = [run for run in runs if not _tag(run, PROCESS_TAG)]
    lost = _lost(instance.run_launcher, untaken) if untaken else set[str]()
    for run in runs:
        if (run.run_id in lost or process_has_ended(run)) and _has_not_ended(instance, run):
            instance.report_run_failed(run, PROCESS_ENDED)
            closed += 1
    return closed


def _has_not_ended(instance: DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the run, read again after its process ended, has no result: it may have finished since the runs were listed."""
    now = instance.get_run_by_id(run.run_id)
    return now is not None and not now.is_finished


def process_has_ended(run: dg.DagsterRun) -> bool:
    """Whether the process of a run has ended; that of another machine is known by its lock within 30 seconds.

    On this machine the lock counts, too, since another one may have the same name. False for runs that are not ours.
    """
    process = _tag(run, PROCESS_TAG)
    if not process or process_of(process) is not None:
        return False
    if process.endswith(f"@{platform.node()}"):
        return _by_lock(lambda store: not is_locked(store, run.run_id))
    return _by_lock(lambda store: is_dead(store, run.run_id, takes_lock=_tag(run, LOCK_TAG) is not None))


def _lost(launcher: object, untaken: Sequence[dg.DagsterRun]) -> set[str]:
    """The ids of those runs that are neither in the launcher's queue nor starting; no process executes any of them.

    While a run is in the queue it waits for a worker, however long. Empty for launchers that have no queue.
    """
    find_queued: Callable[[Sequence[dg.DagsterRun]], set[str]] | None = getattr(launcher, "queued", None)
    if find_queued is None or not untaken:
        return set()
    queued = find_queued(untaken)
    ids = [run.run_id for run in untaken]
    return {each for each in ids if _by_lock(partial(_waits if each in queued else is_dead, run_id=each))}


def _waits(store: Store, run_id: str) -> bool:
    note_waiting(store, run_id)
    return False


def _by_lock(check: Callable[[Store], bool]) -> bool:
    try:
        settings = load_given()
        # Not migrated: a command that reads the set-up does that, and imports the file of an earlier version with it.
        store = existing_store(settings.store_url, timeout=settings.lock_seconds)
        if store is None:
            return False
        with closing(store):
            return check(store)
    except SyncError:
        return False  # unknown, and without the store no run can work


def health_of(run: dg.DagsterRun) -> CheckRunHealthResult:
    """What Dagster's run monitoring asks: whether the process of a run is there; one that has no name yet is taken to be."""
    if process_has_ended(run):
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, PROCESS_ENDED)
    return CheckRunHealthResult(WorkerStatus.RUNNING)


def forget_process(instance: DagsterInstance, run: dg.DagsterRun) -> None:
    """Clear the process that a run names before it has one: it has copied the tags of the run it repeats."""
    if _tag(run, PROCESS_TAG):
        instance.add_run_tags(run.run_id, {PROCESS_TAG: ""})  # Dagster removes no tag from a run


def name_process(instance: DagsterInstance, run: dg.DagsterRun) -> None:
    """Note which process executes a run; one that our launcher has started on this machine has been noted already."""
    if run.tags.get(PROCESS_TAG) != own_process():
        instance.add_run_tags(run.run_id, {name: tag for name, tag in FROM_THE_START.items() if name not in run.tags})
        note_start(instance, run, own_process())


def note_start(instance: DagsterInstance, run: dg.DagsterRun, process: str) -> None:
    """Tag a run that starts in the process of that name."""
    instance.add_run_tags(run.run_id, process_tags(process) | at_start(run))


def process_of_run(run: dg.DagsterRun) -> psutil.Process | None:
    """The process that executes a run; None when it has ended, is on another machine, or is unknown."""
    return process_of(_tag(run, PROCESS_TAG) or "")


def _tag(run: dg.DagsterRun, name: str) -> str | None:
    return run.tags.get(name, run.tags.get(EARLIER_NAMES[name]))


def process_tags(name: str) -> dict[str, str]:
    """The tags of a run that this version executes, in the process of that name."""
    return {PROCESS_TAG: name, LOCK_TAG: "true"}


def own_process() -> str:
    """The current process, in a form that survives the reuse of process ids: ``pid@start@machine``."""
    return _name(psutil.Process())


def name_of(pid: int) -> str | None:
    """The same for another process of this machine; None when it has ended."""
    try:
        return _name(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return None


def process_of(name: str) -> psutil.Process | None:
    """The process of that name; None when it has ended, or is on another machine."""
    pid, _, _ = name.partition("@")
    try:
        found = psutil.Process(int(pid)) if name_of(int(pid)) == name else None
        return None if found is None or found.status() == psutil.STATUS_ZOMBIE else found
    except (psutil.NoSuchProcess, ValueError):
        return None


def _name(process: psutil.Process) -> str:
    return f"{process.pid}@{process.create_time():.0f}@{platform.node()}"
