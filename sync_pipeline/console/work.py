"""Work that goes on while pages are looked at: a trial, a test of the connections and a preparation, one of each."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from sync_pipeline.connectors.preparation import Made, Measured
from sync_pipeline.diagnose.connection_test import SYSTEMS, diagnose, without_retries
from sync_pipeline.diagnose.finding import Finding
from sync_pipeline.errors import SyncError
from sync_pipeline.setup import prepare, trial
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store.trials import TrialKind

log = logging.getLogger(__name__)

WAIT_SECONDS = 15.0
"""For how long an ending console waits for what is under way."""
BROKE = "Something went wrong in the console itself. Try again; its log says where."


@dataclass(slots=True)
class Test:
    """A test of the connections, as far as it is."""

    begun_at: datetime
    findings: list[Finding] = field(default_factory=list)
    systems: tuple[str, ...] = SYSTEMS
    problem: str = ""
    is_done: bool = False

    @property
    def is_well(self) -> bool:
        """Whether everything that was looked at is as it must be."""
        return self.is_done and not self.problem and all(finding.ok for finding in self.findings)


@dataclass(slots=True)
class Preparing:
    """Preparing the system that records are written to, as far as it is."""

    made: Made | None = None
    measured: list[Measured] = field(default_factory=list)
    problem: str = ""
    is_done: bool = False


class Work:
    """What is under way in this console."""

    def __init__(self, setup: SetupService) -> None:
        self._desk = setup
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._trial: tuple[int, threading.Thread] | None = None
        self._testing: threading.Thread | None = None
        self._preparation: threading.Thread | None = None
        self.test: Test | None = None
        """The newest one."""
        self.preparing: Preparing | None = None

    def begin_trial(self, setup: SetupService, kind: TrialKind) -> int:
        """Try the present configuration, unless a trial is under way; returns the trial's id."""
        with self._lock:
            if self._trial is not None and self._trial[1].is_alive():
                return self._trial[0]
            number = trial.begin(setup, kind)
            thread = self._start("trial", lambda: trial.run(setup, number, kind, stop=self._stopping.is_set))
            self._trial = (number, thread)
            return number

    def is_trying(self, number: int) -> bool:
        """Whether this trial is under way here."""
        running = self._trial
        return running is not None and running[0] == number and running[1].is_alive()

    def begin_test(self, systems: tuple[str, ...] = SYSTEMS) -> None:
        """Test the connections, unless that is under way."""
        with self._lock:
            if self._testing is None or not self._testing.is_alive():
                test = self.test = Test(self._desk.now(), systems=systems)
                self._testing = self._start("test", lambda: self._run_test(test))

    def begin_preparation(self, setup: SetupService) -> None:
        """Make what is missing and measure, unless that is under way."""
        with self._lock:
            if self._preparation is None or not self._preparation.is_alive():
                found = self.preparing = Preparing()
                self._preparation = self._start("preparation", lambda: self._prepare(setup, found))

    def stop(self) -> None:
        """Let what is under way end; what does not end soon is cut off with the process."""
        self._stopping.set()
        for thread in (self._trial and self._trial[1], self._testing, self._preparation):
            if thread is not None:
                thread.join(WAIT_SECONDS)

    def _run_test(self, test: Test) -> None:
        try:
            with self._desk.session(without_retries(self._desk.settings())) as session:
                for finding in diagnose(session, test.systems):
                    test.findings.append(finding)
                    if self._stopping.is_set():
                        return
        except SyncError as error:
            test.problem = str(error)
        except BaseException:
            test.problem = BROKE
            raise
        finally:
            test.is_done = True

    def _prepare(self, setup: SetupService, found: Preparing) -> None:
        try:
            found.made = prepare.make(setup)
            if found.made.compared.is_ready and not self._stopping.is_set():
                found.measured = prepare.measure(setup)
        except SyncError as error:
            found.problem = str(error)
        except BaseException:
            found.problem = BROKE
            raise
        finally:
            found.is_done = True

    def _start(self, name: str, run: Callable[[], object]) -> threading.Thread:
        def guarded() -> None:
            try:
                run()
            except Exception as error:  # noqa: BLE001 - nothing else would report it
                log.error("The %s ended with %s.", name, where(error))

        thread = threading.Thread(target=guarded, name=f"console-{name}", daemon=True)
        thread.start()
        return thread


def where(error: BaseException) -> str:
    """What an unexpected error was, and where - but not its message, which may hold anything."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(error).__name__}{place}"
