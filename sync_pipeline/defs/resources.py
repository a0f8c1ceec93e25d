"""What the ops are given: one session per run."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from pydantic import PrivateAttr

from sync_pipeline.defs.failures import as_failure
from sync_pipeline.defs.orphans import name_process
from sync_pipeline.settings import Settings, load_settings
from sync_pipeline.stages.session import Progress, Report, Session, open_session, reporting, silent
from sync_pipeline.stages.spool import discard_older

NOTED_STAGES = ("plan", "wait")
"""What the notes of these stages say is never personal."""


class SyncResource(dg.ConfigurableResource["SyncResource"]):
    """The connection to both systems and the store; opened when a run starts, closed when it ends.

    It has no Dagster config on purpose: credentials never enter run config, only the environment of the process.
    """

    _session: Session = PrivateAttr()

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["SyncResource"]:
        """Open the session for one run."""
        if context.instance is not None and context.run is not None:
            name_process(context.instance, context.run)
        settings = self.settings()
        discard_older(settings.batches, settings.keep_batches_days)
        report = noting(context.log, reporting.get(silent)) if context.log else None
        with as_failure(), open_session(settings, report=report) as session:
            self._session = session
            yield self

    @property
    def session(self) -> Session:
        """The run's session."""
        return self._session

    @staticmethod
    def settings() -> Settings:
        """The settings of this process."""
        return load_settings()


def noting(log: dg.DagsterLogManager, listener: Report) -> Report:
    """Write the notes a reader of the run will look for - which reader, why it waits - to its event log, each once."""
    noted: set[Progress] = set()

    def report(progress: Progress) -> None:
        if progress.stage in NOTED_STAGES and progress not in noted:
            noted.add(progress)
            log.info("%s: %s", progress.entity, progress.note)
        listener(progress)

    return report
