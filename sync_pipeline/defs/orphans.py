"""Runs whose process is gone: each run names its process, so that nobody waits for one that was killed."""

from __future__ import annotations

import platform

import dagster as dg
import psutil
from dagster import DagsterInstance

PROCESS_TAG = "sync_pipeline/process"
GONE = "The process of this run ended without saying so; the next sync goes on from there."


def close_orphans(instance: DagsterInstance) -> int:
    """Mark runs as failed whose process is gone: killed, or the machine went down. Returns how many."""
    closed = 0
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])):
        process = run.tags.get(PROCESS_TAG)
        if process is not None and process != own_process() and not _lives(process):
            instance.report_run_failed(run, GONE)
            closed += 1
    return closed


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


def _lives(name: str) -> bool:
    if not name.endswith(f"@{platform.node()}"):
        return True  # nobody can tell from here
    return process_of(name) is not None
