"""Background work of the console: a trial, a test of the connections and a preparation, one of each.

It is done here, and how far it is can be seen at any instance.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from pydantic import TypeAdapter

from sync_pipeline.connectors.preparation import Made, Measured
from sync_pipeline.diagnose.connection_test import diagnose, without_retries
from sync_pipeline.diagnose.finding import Finding
from sync_pipeline.errors import SyncError
from sync_pipeline.settings import SYSTEMS
from sync_pipeline.setup import prepare, trial
from sync_pipeline.setup.service import SetupService
from sync_pipeline.store import console_work
from sync_pipeline.store.engine import Store
from sync_pipeline.store.trials import Trial, TrialKind, last_trial

log = logging.getLogger(__name__)

WAIT_SECONDS = 15.0
"""For how long an ending console waits for what is under way."""
LOOKS, LOOK_SECONDS = 40, 0.05
CUT_OFF = "It was cut off with the console. Start it again."
BROKE = "Something went wrong in the console itself. Try again; its log says where."


@dataclass(slots=True)
class Test:
    """The progress of a test of the connections."""

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
    """The progress of preparing the system that records are written to."""

    made: Made | None = None
    measured: list[Measured] = field(default_factory=list)
    problem: str = ""
    is_done: bool = False


TEST, PREPARATION, TRIAL = "test", "preparation", "trial"
_TEST, _PREPARING = TypeAdapter(Test), TypeAdapter(Preparing)
State = TypeVar("State", Test, Preparing)


class Work:
    """What is under way in this console or in another instance of it: one of each kind."""

    def __init__(self, setup: SetupService) -> None:
        self._setup = setup
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def begin_trial(self, setup: SetupService, kind: TrialKind) -> None:
        """Try the present configuration, unless a trial is under way."""

        def begin(_: Store) -> Callable[[], object]:
            number = trial.begin(setup, kind)
            return lambda: trial.run(setup, number, kind, stop=self._stopping.is_set)

        def is_over(store: Store) -> bool:
            with setup.reading() as session:
                newest = last_trial(store, session.pair, throttled=True)
            return newest is None or newest.outcome is not None

        self._start(TRIAL, begin, is_over)

    def is_trying(self, found: Trial) -> bool:
        """Whether this trial, the newest one, is under way."""
        if found.outcome is not None:
            return False
        with self._setup.store() as store:
            return console_work.is_under_way(store, self._name, TRIAL)

    def begin_test(self, systems: tuple[str, ...] = SYSTEMS) -> None:
        """Test the connections, unless that is under way."""

        def begin(store: Store) -> Callable[[], object]:
            test = Test(self._setup.now(), systems=systems)
            self._note(store, TEST, test.begun_at, test)
            return lambda: self._run_test(store, test)

        self._start(TEST, begin, lambda store: self._is_over(store, TEST))

    @property
    def test(self) -> Test | None:
        """The test that is under way, or could not be finished; what others found is kept with the systems."""
        return self._newest(TEST, _TEST)

    def begin_preparation(self, setup: SetupService) -> None:
        """Make what is missing and measure, unless that is under way."""

        def begin(store: Store) -> Callable[[], object]:
            found, at = Preparing(), self._setup.now()
            self._note(store, PREPARATION, at, found)
            return lambda: self._prepare(store, at, setup, found)

        self._start(PREPARATION, begin, lambda store: self._is_over(store, PREPARATION))

    @property
    def preparing(self) -> Preparing | None:
        """The newest preparation."""
        return self._newest(PREPARATION, _PREPARING)

    def stop(self) -> None:
        """Let what is under way end; what does not end soon is cut off with the process."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(WAIT_SECONDS)

    @property
    def _name(self) -> str:
        return self._setup.given().setup_name

    def _newest(self, kind: str, type_: TypeAdapter[State]) -> State | None:
        with self._setup.store() as store:
            found = console_work.read(store, self._name, kind)
            if found is None:
                return None
            state = type_.validate_python(found.state)
            if not state.is_done and not console_work.is_under_way(store, self._name, kind):
                state.is_done, state.problem = True, CUT_OFF
        return state

    def _is_over(self, store: Store, kind: str) -> bool:
        found = console_work.read(store, self._name, kind)
        return found is None or bool(found.state["is_done"])

    def _note(self, store: Store, kind: str, at: datetime, state: Test | Preparing) -> None:
        kept = (_TEST if isinstance(state, Test) else _PREPARING).dump_python(state, mode="json")  # type: ignore[arg-type]  # the one of its type
        console_work.note(store, self._name, kind, console_work.WorkProgress(at, kept))

    def _run_test(self, store: Store, test: Test) -> None:
        try:
            with self._setup.session(without_retries(self._setup.settings())) as session:
                for finding in diagnose(session, test.systems):
                    test.findings.append(finding)
                    self._note(store, TEST, test.begun_at, test)
                    if self._stopping.is_set():
                        break
        except SyncError as error:
            test.problem = str(error)
        except BaseException:
            test.problem = BROKE
            raise
        finally:
            test.is_done = True
            if test.problem:
                self._note(store, TEST, test.begun_at, test)
            else:
                console_work.forget(store, self._name, TEST)

    def _prepare(self, store: Store, at: datetime, setup: SetupService, found: Preparing) -> None:
        try:
            found.made = prepare.make(setup)
            self._note(store, PREPARATION, at, found)
            if found.made.compared.is_ready and not self._stopping.is_set():
                found.measured = prepare.measure(setup)
        except SyncError as error:
            found.problem = str(error)
        except BaseException:
            found.problem = BROKE
            raise
        finally:
            found.is_done = True
            self._note(store, PREPARATION, at, found)

    def _start(
        self, kind: str, begin: Callable[[Store], Callable[[], object]], is_over: Callable[[Store], bool]
    ) -> None:
        """Run what ``begin`` returns in a thread, unless any instance is doing work of this kind."""
        with ExitStack() as held:
            store = held.enter_context(self._setup.store())
            for _ in range(LOOKS):
                if is_taken := console_work.take(store, self._name, kind, held):
                    break
                if not is_over(store):
                    return
                self._stopping.wait(LOOK_SECONDS)  # the one before is just ending
            if not is_taken:
                return
            run, kept = begin(store), held.pop_all()

        def guarded() -> None:
            with kept:
                try:
                    run()
                except Exception as error:  # noqa: BLE001 - nothing else would report it
                    log.error("The %s ended with %s.", kind, where(error))

        thread = threading.Thread(target=guarded, name=f"console-{kind}", daemon=True)
        self._threads = [*(each for each in self._threads if each.is_alive()), thread]
        thread.start()


def where(error: BaseException) -> str:
    """What an unexpected error was, and where - but not its message, which may hold anything."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(error).__name__}{place}"
