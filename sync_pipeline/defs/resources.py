"""What the ops are given: one session per run, and the sandbox when no accounts are set."""

import atexit
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import DagsterInstance
from pydantic import PrivateAttr

from sync_pipeline.hosting.liveness import name_process
from sync_pipeline.hosting.queue import REQUEST_TAG
from sync_pipeline.hosting.run_tags import CHANGED_TAG, cause_of
from sync_pipeline.hosting.steps import as_failure
from sync_pipeline.mapping.load import records_of
from sync_pipeline.printable import printable
from sync_pipeline.sandbox.embedded import Records, embedded
from sync_pipeline.session.following import Follower
from sync_pipeline.session.progress import Progress, Report, reporting, silent
from sync_pipeline.session.session import Session, open_session
from sync_pipeline.settings import Settings, load_settings
from sync_pipeline.stages.batch_files import discard_older
from sync_pipeline.store.engine import Store
from sync_pipeline.store.liveness import alive
from sync_pipeline.store.syncs import by_run

NOTED_STAGES = ("plan", "wait")
"""What the notes of these stages say is never personal."""


class SyncResource(dg.ConfigurableResource["SyncResource"]):
    """The connection to both systems and the store; opened when a run starts, closed when it ends.

    It has no Dagster config on purpose: credentials never enter run config, only the environment of the process.
    """

    _session: Session = PrivateAttr()
    _follower: Follower = PrivateAttr()
    _has_written: bool = PrivateAttr(default=False)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["SyncResource"]:
        """Open the session for one run."""
        if context.instance is not None and context.run is not None:
            name_process(context.instance, context.run)
        settings = self.settings()
        discard_older(settings.batches, settings.keep_batches_days)
        report = noting(context.log, reporting.get(silent)) if context.log else silent
        tag, run_id = (context.run.tags.get(REQUEST_TAG, ""), context.run.run_id) if context.run else ("", "")
        follower = self._follower = Follower(tag, run_id, report, lambda: _report_canceling(context))
        with (
            as_failure(),
            sandbox_for(settings),
            open_session(settings, report=follower.report, sleep=follower.sleep) as session,
            alive(session.store, run_id) if run_id else nullcontext(),
            follower.following(session.store),
        ):
            if context.run is not None:
                session.cause = cause_of(context.run)
            self._session = session
            yield self
            if self._has_written and context.instance is not None and run_id:
                note_changed(context.instance, session.store, run_id)

    @property
    def session(self) -> Session:
        """The run's session."""
        return self._session

    def note(self, entity: str, figures: dict[str, Any]) -> None:
        """Report to the request that started the run, if any, what was done for an entity."""
        self._follower.note(entity, figures)

    def note_writes(self, count: int) -> None:
        """Note how many records a step of this run has changed at the target."""
        self._has_written = self._has_written or count > 0

    @staticmethod
    def settings() -> Settings:
        """The settings of this process."""
        return load_settings()


def _report_canceling(context: dg.InitResourceContext) -> None:
    """Have Dagster show the run as canceled, not as failed, when it ends."""
    instance, run = context.instance, context.run
    now = instance.get_run_by_id(run.run_id) if instance is not None and run is not None else None
    if instance is not None and now is not None and not now.is_finished and now.status != dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceling(now)


def note_changed(instance: DagsterInstance, store: Store, run_id: str) -> None:
    """Tag a run with the number of records that its syncs have written, as far as the journal has them."""
    instance.add_run_tags(run_id, {CHANGED_TAG: str(sum(done.writes for done in by_run(store, [run_id])))})


@contextmanager
def sandbox_for(settings: Settings) -> Iterator[None]:
    """The embedded sandbox, running during this block, when the settings need it."""
    port, file, prepares = settings.sandbox_port, settings.sandbox_file, settings.prepares_sandbox
    records = records_of(settings)
    with embedded(port, file, records, highlevel_prepared=prepares) if settings.sandbox else nullcontext():
        yield


def keep_sandbox(settings: Settings) -> None:
    """The same until this process ends: a sensor looks too often to start it each time."""
    if settings.sandbox:
        records = records_of(settings)
        _kept(settings.sandbox_port, settings.sandbox_file, records, prepares=settings.prepares_sandbox)


@cache
def _kept(port: int, database: Path, records: tuple[Records, ...], *, prepares: bool) -> None:
    stack = ExitStack()
    stack.enter_context(embedded(port, database, records, highlevel_prepared=prepares))
    atexit.register(stack.close)


def noting(log: dg.DagsterLogManager, listener: Report) -> Report:
    """Write the notes a reader of the run will look for - which reader, why it waits - to its event log, each once."""
    noted: set[Progress] = set()

    def report(progress: Progress) -> None:
        if progress.stage in NOTED_STAGES and progress not in noted:
            noted.add(progress)
            log.info("%s: %s", progress.entity, printable(progress.note))
        listener(progress)

    return report
