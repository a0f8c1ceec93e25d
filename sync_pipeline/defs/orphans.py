"""Runs whose process is gone: each run names its process, so that nobody waits for one that was killed."""

from __future__ import annotations

import platform
import time

import dagster as dg
import psutil
from dagster import DagsterInstance

PROCESS_TAG = "sync_pipeline/process"
SILENT_SECONDS = 1800.0
"""A run on another machine that has written no event for so long is gone: containers get a new name at each start."""
GONE = "The process of this run ended without saying so; the next sync goes on from there."


def close_orphans(instance: DagsterInstance) -> int:
    """Mark runs as failed whose process is gone: killed, or the machine went down. Returns how many."""
    closed = 0
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])):
        if is_gone(instance, run) and _has_not_ended(instance, run):
            instance.report_run_failed(run, GONE)
            closed += 1
    return closed


def _has_not_ended(instance: DagsterInstance, run: dg.DagsterRun) -> bool:
    """Read again after its process was found gone: it may have ended in good order since the runs were listed."""
    now = instance.get_run_by_id(run.run_id)
    return now is not None and not now.is_finished


def is_gone(instance: DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the process of a run has ended; one of another machine is believed to live as long as it writes events."""
    process = run.tags.get(PROCESS_TAG)
    if process is None or process == own_process():
        return False
    if process.endswith(f"@{platform.node()}"):
        return process_of(process) is None
    newest = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    return bool(newest) and time.time() - newest[0].timestamp > SILENT_SECONDS


def name_process(instance: DagsterInstance, run: dg.DagsterRun) -> None:
    """Note which process executes a run; one that was started by us has said so already."""
    if run.tags.get(PROCESS_TAG) != own_process():
        instance.add_run_tags(run.run_id, {PROCESS_TAG: own_process()})


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
        return psutil.Process(int(pid)) if name_of(int(pid)) == name else None
    except (psutil.NoSuchProcess, ValueError):
        return None


def _name(process: psutil.Process) -> str:
    return f"{process.pid}@{process.create_time():.0f}@{platform.node()}"
