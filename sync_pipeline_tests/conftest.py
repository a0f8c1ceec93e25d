"""The clock of the tests: those that depend on days run at a fixed instant, wherever and whenever they are started."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster._time
import pytest
from dagster._core.log_manager import DagsterLogManager
from hypothesis import settings
from sqlalchemy import Engine
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.util import LRUCache

from sync_pipeline.clock import clock_from, unix_time, utc_now
from sync_pipeline.connectors.guard import RequestGuard
from sync_pipeline.store.engine import Store
from sync_pipeline.store.ledger import Ledger
from sync_pipeline_tests import highlevel_contract
from sync_pipeline_tests.clockify_contract import Contract, watching
from sync_pipeline_tests.highlevel_contract import HighLevelContract
from sync_pipeline_tests.templates import Upgrade, use_templates

USUAL = "2026-11-25T10:43:00"
SYSTEM = "system"
"""The system's own clock: for a look from outside, by libfaketime."""
SPENT = pytest.StashKey[list[float]]()
"""Exchanges checked against Clockify's document and the seconds that took, over all workers."""
ALLOWED = 20
LONGEST = {
    Path(__file__).parent / name
    for name in (
        "alerts/test_killed.py", "cli/test_dev.py", "console/test_walk.py", "console/test_walk_access.py",
        "defs/test_stock_tools.py", "hosting/test_backfill.py", "properties/test_live.py",
        "properties/test_success_means_done.py", "scenarios/test_requests.py", "test_docs.py", "test_laws.py",
    )
}  # fmt: skip
"""Modules with tests of half a minute or more."""

settings.register_profile("fixed", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("random", deadline=None, print_blob=True)
settings.load_profile("fixed")  # the same examples everywhere; `--hypothesis-profile=random` looks for others


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the instant at which the tests marked `clock` run."""
    parser.addoption("--clock", default=USUAL, help=f"UTC instant at which tests marked `clock` run, or `{SYSTEM}`")


def pytest_xdist_auto_num_workers() -> int:
    """Three workers for two cores: for a third of its time one waits for a process, the disk or a browser."""
    return max((os.cpu_count() or 1) * 3 // 2, 1)


def pytest_configure() -> None:
    """A script that starts the tests in the background has them ignore Ctrl-C, and so would the programs that they interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules of the longest tests: at the end no worker is left alone with one of them."""
    items.sort(key=lambda item: item.path not in LONGEST)


def pytest_collection_finish() -> None:
    """Take what was imported out of the garbage collection: looking through it again and again was a fifth of all time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def clock(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set the clock of this process for a module that is marked `clock`; it runs on from there."""
    at = request.config.getoption("--clock")
    if at == SYSTEM or request.node.get_closest_marker("clock") is None:
        yield
        return
    with clock_from(datetime.fromisoformat(at).replace(tzinfo=UTC)), _dagster_follows():
        yield


@pytest.fixture(autouse=True)
def system_clock(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave the clock alone for a test that is marked `outside`: what it starts has the system's, too."""
    if request.node.get_closest_marker("outside") is None:
        yield
        return
    with clock_from(None):
        yield


@contextmanager
def _dagster_follows() -> Iterator[None]:
    """Dagster asks two functions for the time, which its own tests replace as well, and the events of runs have their own."""
    make_record = DagsterLogManager.makeRecord

    def made_now(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        record.created = unix_time()
        return record

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DagsterLogManager, "makeRecord", made_now)
        patch.setattr(dagster._time, "_mockable_get_current_datetime", utc_now)
        patch.setattr(dagster._time, "_mockable_get_current_timestamp", unix_time)
        yield


@pytest.fixture(scope="session", autouse=True)
def statements_compiled_once() -> Iterator[None]:
    """Share compiled statements between all databases of a kind: each test has its own, and would compile all of them again."""
    statements: LRUCache[Any, Any] = LRUCache(10_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DefaultDialect, "__eq__", lambda one, other: type(one) is type(other))
        patch.setattr(DefaultDialect, "__hash__", lambda dialect: hash(type(dialect)))
        patch.setattr(Engine, "_compiled_cache", property(lambda _: statements, lambda *_: None), raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def migrated_once() -> Iterator[Upgrade]:
    """Make new SQLite files as the first ones of this process were made; the tests of the migrations run them each time."""
    with pytest.MonkeyPatch.context() as patch:
        yield use_templates(patch)


@pytest.fixture(scope="session", autouse=True)
def failed_blocks_end_their_process() -> Iterator[None]:
    """Kill the process of a `with` block that fails: nothing else would end it, and leaving the block waits for its end."""
    leave = subprocess.Popen.__exit__

    def killed(process: subprocess.Popen[Any], kind: type[BaseException] | None, *rest: Any) -> None:
        if kind is not None:
            process.kill()
        leave(process, kind, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__exit__", killed)
        yield


@pytest.fixture
def now() -> datetime:
    """The instant at which a test begins."""
    return utc_now()


@pytest.fixture(scope="session", autouse=True)
def requests_under_a_lock() -> Iterator[list[str]]:
    """The requests of this process that were sent while their session held the lock of an entity."""
    held: list[tuple[Store, str]] = []
    found: list[str] = []
    lock, keep_locked = Ledger.lock, RequestGuard.keep_locked

    @contextmanager
    def noted(ledger: Ledger, *args: Any, **kwargs: Any) -> Iterator[None]:
        with lock(ledger, *args, **kwargs):
            mark = (ledger.store, ledger.entity)
            held.append(mark)
            try:
                yield
            finally:
                held[:] = [each for each in held if each is not mark]

    async def looked_at(guard: RequestGuard, request: Any) -> None:
        store = getattr(guard.check_locks, "__self__", None)
        locks = [entity for holder, entity in tuple(held) if holder is store]
        if locks:
            found.append(f"{request.method} {request.url} under the lock of {', '.join(locks)}")
        await keep_locked(guard, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "lock", noted)
        patch.setattr(RequestGuard, "keep_locked", looked_at)
        yield found
    assert not found


@pytest.fixture(autouse=True)
def without_requests_under_a_lock(requests_under_a_lock: list[str]) -> Iterator[None]:
    """Fail a test in which a vendor is asked anything while the lock of an entity is held."""
    yield
    found, requests_under_a_lock[:] = requests_under_a_lock[:], []
    assert not found, "Requested while the lock of an entity is held:\n" + "\n".join(found[:20])


@pytest.fixture(scope="session", autouse=True)
def clockify_contract(request: pytest.FixtureRequest) -> Iterator[Contract]:
    """Check what goes through the sandbox's Clockify against the vendor's document."""
    with watching() as contract:
        yield contract
    request.config.stash[SPENT] = [contract.exchanges, contract.seconds]
    assert not contract.take()


@pytest.fixture(scope="session", autouse=True)
def documented_highlevel() -> Iterator[HighLevelContract]:
    """Check what goes through the sandbox's HighLevel against the vendor's documents."""
    with highlevel_contract.watching() as contract:
        yield contract
    assert not contract.take()


@pytest.fixture(autouse=True)
def as_documented(
    request: pytest.FixtureRequest, clockify_contract: Contract, documented_highlevel: Contract
) -> Iterator[None]:
    """Fail a test in which a request of ours or an answer of the sandbox is not as the vendor's document has it."""
    yield
    for vendor, contract in (("Clockify", clockify_contract), ("HighLevel", documented_highlevel)):
        found = contract.take()
        if found and request.node.get_closest_marker("undocumented") is None:
            pytest.fail(f"Not as in {vendor}'s document:\n" + "\n".join(found[:20]), pytrace=False)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of xdist hands over what its checks cost."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["clockify_contract"] = session.config.stash.get(SPENT, [0, 0.0])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add what the checks of a worker cost."""
    spent = node.config.stash.setdefault(SPENT, [0, 0.0])
    for index, value in enumerate(getattr(node, "workeroutput", {}).get("clockify_contract", ())):
        spent[index] += value


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Report what the checks cost."""
    exchanges, seconds = config.stash.get(SPENT, [0, 0.0])
    if exchanges:
        verdict = "" if seconds <= ALLOWED else f", MORE THAN THE {ALLOWED} S ALLOWED"
        terminalreporter.write_line(
            f"Clockify's document: {exchanges:,.0f} exchanges checked in {seconds:.1f} s of processor time{verdict}"
        )
