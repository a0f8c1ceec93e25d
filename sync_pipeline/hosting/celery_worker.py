"""The app of a worker: ``celery -A sync_pipeline.hosting.celery_worker worker``.

Its process imports the libraries and forks a process for each run, which starts without importing anything and reads the
current set-up.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from threading import Event, Thread
from typing import Any

from celery.signals import worker_init, worker_process_shutdown
from dagster import DagsterInstance
from dagster._cli.api import _execute_run_command_body
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import unpack_value
from dagster._utils import send_interrupt
from dagster._utils.interrupts import capture_interrupts
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from dagster_celery.make_app import make_app

from sync_pipeline.errors import SyncError
from sync_pipeline.hosting.celery_launcher import CELERY, QUEUE, app_args
from sync_pipeline.hosting.launch import prepare_home
from sync_pipeline.hosting.launcher import LIBRARIES
from sync_pipeline.hosting.liveness import name_process
from sync_pipeline.session.secrets import require_key
from sync_pipeline.settings import load_given, load_settings

LOOK_SECONDS, ENDED_SECONDS = 5.0, 150.0
"""Longer than a run needs to stop when it was asked to: an interrupt would cut off what it does at its end, such as storing tokens."""
ENDED = (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED, DagsterRunStatus.FAILURE)
MORE_LIBRARIES = ("psycopg", "sqlalchemy.dialects.postgresql.psycopg", "dagster_postgres", "sync_pipeline.definitions")


def _broker() -> str | None:
    with suppress(SyncError):  # `prepare` reports it
        return load_given().broker_url or None
    return None


app = make_app({"broker": _broker(), "backend": _broker(), "config_source": dict(CELERY), "task_default_queue": QUEUE})  # type: ignore[no-untyped-call]


@worker_init.connect  # type: ignore[untyped-decorator]
def prepare(**_of_celery: Any) -> None:
    """Before the first process is forked: look at the settings and import the libraries."""
    try:
        settings = load_settings()
        app_args(settings.broker_url)
        require_key(settings)
        prepare_home(settings)
    except SyncError as error:
        sys.stderr.write(f"Error: {error}\n")
        raise SystemExit(2) from None
    for name in (*LIBRARIES, *MORE_LIBRARIES):
        with suppress(ModuleNotFoundError):  # PostgreSQL is an extra
            import_module(name)
    gc.collect()
    gc.freeze()  # the memory of what is imported stays shared: looking for cycles in a run's process would copy it


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]  # Celery has no types
def end_on_sigterm(**_of_celery: Any) -> None:
    """Let SIGTERM, which the worker sends to the process of a finished run, end it; otherwise it sleeps for a second first.

    After a run Dagster gives SIGTERM the handler of SIGINT, and the processes of a worker ignore SIGINT.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def interrupted_when_ended(instance: DagsterInstance, run_id: str) -> Iterator[None]:
    """Within this context a run is interrupted that still works some minutes after Dagster has ended it.

    The broker passes the request to stop only to workers that are connected in that moment.
    """
    is_over = Event()
    thread = Thread(target=interrupt_ended, args=(instance, run_id, is_over), name="ended", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def interrupt_ended(
    instance: DagsterInstance, run_id: str, is_over: Event, interrupt: Callable[[], object] = send_interrupt
) -> None:
    """Interrupt this process when each check during ``ENDED_SECONDS`` has found the run cancelled or failed in Dagster."""
    looks = 0
    while looks * LOOK_SECONDS < ENDED_SECONDS:
        if is_over.wait(LOOK_SECONDS):
            return
        with suppress(Exception):  # Dagster's storage does not answer: the next check counts
            run = instance.get_run_by_id(run_id)
            looks = looks + 1 if run is not None and run.status in ENDED else 0
    interrupt()


@app.task(name=TASK_EXECUTE_JOB_NAME, track_started=True)  # type: ignore[untyped-decorator]
def execute_job(execute_job_args_packed: Any) -> int:
    """Execute a run, as Dagster's own task does, in a process that has a name from the beginning."""
    asked = unpack_value(execute_job_args_packed, as_type=ExecuteRunArgs)
    with capture_interrupts(), DagsterInstance.get() as instance, interrupted_when_ended(instance, asked.run_id):
        run = instance.get_run_by_id(asked.run_id)
        if run is not None and run.status in (DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING):
            name_process(instance, run)  # a task that is handed out once more is not the run's process
        return _execute_run_command_body(
            run_id=asked.run_id, instance=instance, write_stream_fn=lambda _event: None, set_exit_code_on_failure=True
        )
