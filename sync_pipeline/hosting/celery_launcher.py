"""How runs start on other machines: as tasks of Celery, which the workers of a fleet take from a Valkey or Redis server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import product
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import orjson
from dagster import _check as check
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext
from dagster._core.storage.tags import PRIORITY_TAG
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClassData, pack_value
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import (
    DAGSTER_CELERY_QUEUE_TAG,
    DAGSTER_CELERY_RUN_PRIORITY_TAG,
    DAGSTER_CELERY_TASK_ID_TAG,
)
from kombu.exceptions import OperationalError
from redis import RedisError

from sync_pipeline.errors import ConfigError
from sync_pipeline.hosting.liveness import FROM_THE_START, PROCESS_TAG, OwnLauncher, forget_process, health_of
from sync_pipeline.settings import load_given

QUEUE = "dagster"
LONGEST_RUN = 7 * 24 * 3600
"""Seconds after which Redis would hand a task that is still worked on to another worker, too."""
HANDED_OVER = "sync_pipeline.handed_over."
"""What the names of the broker's marks for runs that were put into the queue begin with."""
ASK_SECONDS = 5.0
"""How long to wait for the server when it is asked about the queue."""
FIRST, LAST = "0", "9"
"""In the queue of a Redis server the smallest number is the first."""
CELERY: Mapping[str, Any] = {
    # A worker takes one run, and the next one when that has ended: what is left in the queue is for the others.
    "worker_concurrency": 1,
    "worker_prefetch_multiplier": 1,
    "task_acks_late": True,
    # Each run has a process of its own, forked from one that has the libraries in memory.
    "worker_max_tasks_per_child": 1,
    "worker_pool": "sync_pipeline.hosting.celery_pool:RunPool",
    # A run continues while the broker restarts, however long that takes.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "task_publish_retry_policy": {"max_retries": 30, "interval_start": 0, "interval_step": 0.5, "interval_max": 2},
    "broker_transport_options": {"visibility_timeout": LONGEST_RUN, "socket_keepalive": True},
    "redis_socket_keepalive": True,
    "result_expires": 24 * 3600,
    "worker_redirect_stdouts": False,  # what the steps print stays on standard output
}


class CeleryLauncher(OwnLauncher, CeleryRunLauncher):
    """Dagster's launcher on Celery; whether a run is alive is known by the run's own lock, not by Celery."""

    def __init__(
        self, broker: str | None = None, backend: str | None = None, inst_data: ConfigurableClassData | None = None
    ) -> None:
        given = app_args(broker or load_given().broker_url, backend)
        super().__init__(
            default_queue=QUEUE,
            broker=given["broker"],
            backend=given["backend"],
            config_source=dict(CELERY),
            inst_data=inst_data,
        )

    @classmethod
    def config_type(cls) -> dict[str, dg.Field]:
        """What may be in dagster.yaml; without it both are what SYNC_BROKER_URL says."""
        return {name: dg.Field(dg.StringSource, is_required=False) for name in ("broker", "backend")}

    @property
    def supports_resume_run(self) -> bool:
        """A run whose process has ended is not resumed: `run_retries` starts another one."""
        return False

    def launch_run(self, context: LaunchRunContext) -> None:
        """Put the run into the queue, before those that are less urgent; once, also where two daemons run by mistake."""
        run = context.dagster_run
        if not self._is_first(run.run_id):
            self._instance.report_engine_event(
                "Not put into the queue: a daemon has handed this run over already.", run, cls=type(self)
            )
            return
        tags = {
            DAGSTER_CELERY_RUN_PRIORITY_TAG: FIRST if _priority(run) > 0 else LAST,
            **FROM_THE_START,
        }
        tags = {name: value for name, value in tags.items() if name not in run.tags}
        # Known before a worker can take it, so that a run can be stopped although its launcher was killed in between.
        tags[DAGSTER_CELERY_TASK_ID_TAG] = run.run_id
        forget_process(self._instance, run)
        self._instance.add_run_tags(run.run_id, tags)
        asked = ExecuteRunArgs(
            job_origin=check.not_none(run.job_code_origin), run_id=run.run_id, instance_ref=self._instance.get_ref()
        )
        task = self.celery.signature(
            TASK_EXECUTE_JOB_NAME,
            kwargs={"execute_job_args_packed": pack_value(asked)},
            immutable=True,
            task_id=run.run_id,
        )
        self._launch_celery_task_run(run.with_tags({**run.tags, **tags}), task, TASK_EXECUTE_JOB_NAME)

    def _is_first(self, run_id: str) -> bool:
        """Whether the run is put into the queue for the first time; marked in the broker, which all daemons share.

        If the launcher is killed after this and before the queue, the run is marked failed like one that the queue has lost.
        """
        with self.celery.connection_for_write() as connection:
            connection.ensure_connection(**CELERY["task_publish_retry_policy"])  # the server may be starting again
            with connection.default_channel.conn_or_acquire() as client:
                return bool(client.set(f"{HANDED_OVER}{run_id}", 1, nx=True, ex=LONGEST_RUN))

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the process of a run is alive; Celery still reports it as alive after its worker was killed."""
        return health_of(run)

    def queued(self, runs: Sequence[dg.DagsterRun]) -> set[str]:
        """The ids of those runs that wait in their queue for a worker; of all of them while the server cannot be reached."""
        asked = {run.run_id for run in runs}
        queues = {run.tags.get(DAGSTER_CELERY_QUEUE_TAG, QUEUE) for run in runs}
        with suppress(OperationalError, RedisError), self.celery.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1, timeout=ASK_SECONDS)
            channel = connection.default_channel
            with channel.conn_or_acquire() as client:
                # Kombu has no public function for the lists that a queue with priorities consists of.
                names = [channel._q_for_pri(*each) for each in product(queues, channel.priority_steps)]  # noqa: SLF001
                tasks = [task for name in names for task in client.lrange(name, 0, -1)]
            return asked & set(filter(None, map(_task_id, tasks)))
        return asked

    def terminate(self, run_id: str) -> bool:
        """Ask the process of a run to stop, wherever it is; one that no worker has taken yet is canceled immediately."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        if task := run.tags.get(DAGSTER_CELERY_TASK_ID_TAG):
            self.celery.control.revoke(task, terminate=True)
        if not run.tags.get(PROCESS_TAG):
            self._instance.report_run_canceled(run, "Canceled before a worker took the run.")
        return True


def app_args(broker: str, backend: str | None = None) -> dict[str, Any]:
    """What a Celery app is made with. Raises ConfigError for servers that it would not work with."""
    if not broker:
        raise ConfigError(
            "SYNC_BROKER_URL is not set, so runs cannot be handed to workers.",
            fix="Set it to the address of a Valkey or Redis server, such as redis://broker:6379/0, for every process.",
        )
    backend = backend or broker
    for what, url in (("broker", broker), ("result back end", backend)):
        if (scheme := urlsplit(url).scheme) not in {"redis", "rediss"}:
            because = ": only the process that started a run could read its result" if scheme == "rpc" else ""
            raise ConfigError(
                f"`{scheme}://` cannot be the {what} of the workers{because}.",
                fix="Use a Valkey or Redis server, with an address like redis://broker:6379/0.",
            )
    return {"broker": broker, "backend": backend, "config_source": dict(CELERY), "task_default_queue": QUEUE}


def _task_id(task: bytes) -> str | None:
    """The id of a task in a queue; None for what is none: a tag of a run may name the queue of another program."""
    with suppress(ValueError, TypeError, KeyError):
        return str(orjson.loads(task)["headers"]["id"])
    return None


def _priority(run: dg.DagsterRun) -> int:
    try:
        return int(run.tags.get(PRIORITY_TAG, 0))
    except ValueError:
        return 0
