"""How the daemon starts a run: a process of its own, forked from one that has the libraries in memory already.

Dagster's default starts a new interpreter for each run, and importing the libraries takes longer than most of our runs:
a change would wait for that. Here a server process imports them once - the libraries only, none of our own modules, so
that a run always executes the current code and mappings. What runs in the forked process is Dagster's own
command, as in its container launchers.
"""

from __future__ import annotations

import sys
from multiprocessing import get_context
from multiprocessing.process import BaseProcess

import dagster as dg
import psutil
from dagster._cli.api import execute_run_command
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, LaunchRunContext
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import serialize_value

from sync_pipeline.hosting.liveness import OwnLauncher, forget_process, health_of, name_of, note_start, process_of_run

LIBRARIES = (
    "dagster", "dagster._cli.api", "dagster._daemon.controller", "pandas", "pyarrow.parquet", "sqlalchemy.dialects.sqlite",
    "alembic.command", "httpx", "orjson", "pydantic", "upath.core", "cryptography.fernet", "authlib.oauth2", "anyio.from_thread",
    "dagster._core.instance.factory", "dagster._core.storage.local_compute_log_manager", "dagster._core.storage.sqlite_storage",
    "psutil", "ruamel.yaml", "starlette.requests", "tenacity.asyncio",
)  # fmt: skip
"""What is in memory before a run asks for it, `upath` for Dagster; what is missing here costs its import in every run."""
FORKS = sys.platform == "linux"
"""Elsewhere the system's own libraries do not survive a fork."""


class WarmRunLauncher(OwnLauncher, DefaultRunLauncher):
    """Starts runs in forked processes; they end with the daemon when that is stopped, and survive it when it is killed."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the process of a run and note which it is, so that one that was killed is noticed."""
        run, origin = context.dagster_run, context.job_code_origin
        forget_process(self._instance, run)
        if not FORKS or origin is None:
            super().launch_run(context)
            return
        asked = ExecuteRunArgs(job_origin=origin, run_id=run.run_id, instance_ref=self._instance.get_ref())
        process = start(serialize_value(asked))
        if process.pid is not None and (name := name_of(process.pid)) is not None:
            note_start(self._instance, run, name)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Dagster's run monitoring asks us whether the process of a run is there."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a run is there."""
        return health_of(run)

    def terminate(self, run_id: str) -> bool:
        """Ask the process of a run to stop; False when there is none any more."""
        run = self._instance.get_run_by_id(run_id)
        process = process_of_run(run) if run and not run.is_finished else None
        if run is None or process is None:
            return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]
        self._instance.report_run_canceling(run)
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            return False
        return True


def start(asked: str) -> BaseProcess:
    """A new process that executes a run."""
    context = get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    process = context.Process(target=execute, args=(asked,), daemon=True)
    process.start()
    return process


def execute(asked: str) -> None:
    """What the process does: Dagster's own command for executing a run."""
    execute_run_command.main(args=[asked], prog_name="dagster api execute_run")
