"""Work asked for in the console of a running `dev`: pressed, carried out by the real daemon, cancelled; and a daemon that is killed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx
import psutil
import pytest

from sync_pipeline.clock import unix_time
from sync_pipeline.console.sign_in_links import fresh_link
from sync_pipeline.hosting.liveness import PROCESS_TAG, process_of
from sync_pipeline_tests.console.browsing import Page
from sync_pipeline_tests.harness import day
from sync_pipeline_tests.scenarios.developing import Developing, developing, local_client, wait_for

WORK_SECONDS = 300.0
COMPARED, BACKFILLED = "verify_", "__ASSET_JOB"
"""How the names of jobs begin."""
BACKFILLS = "{partitionBackfillsOrError{... on PartitionBackfills{results{status}}}}"
LAUNCH = """mutation{launchRun(executionParams:{selector:{repositoryName:"__repository__",
 repositoryLocationName:"sync_pipeline.definitions",jobName:"forget_events"},runConfigData:{}}){__typename}}"""


@pytest.fixture(scope="module")
def us(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Developing]:
    """A running `dev` on the sandbox, with a signed-in client."""
    with developing(tmp_path_factory.mktemp("dev"), "--no-webhooks") as found:
        found.sign_in()
        yield found


def page(us: Developing, path: str) -> Page:
    """A page of the console."""
    return Page(us.client.get(us.console + path).text)


def press(us: Developing, path: str, **fields: str) -> httpx.Response:
    """Press a button."""
    data = {"csrf": page(us, "/requests").value("csrf"), **fields}
    headers = {"origin": us.console, "sec-fetch-site": "same-origin"}
    return us.client.post(us.console + path, data=data, headers=headers, follow_redirects=True)


def ask(us: Developing, **fields: str) -> str:
    """Ask for work; returns the address of its page."""
    return str(press(us, "/requests", **fields).url.path)


def has_ended(us: Developing, path: str) -> bool:
    """Whether the page's part that refreshes itself has nothing more to expect."""
    return us.client.get(f"{us.console}{path}/progress").headers["x-under-way"] == "no"


def test_pressed_carried_out_and_shown(us: Developing) -> None:
    """Sync, then compare: done, each with its figures."""
    for kind in ("sync", "verify"):
        path = ask(us, kind=kind, entity="users")
        wait_for(lambda path=path: has_ended(us, path), WORK_SECONDS)
        shown = page(us, path).text
        assert "done Requested" in shown, shown
        assert "What was done, by entity" in shown


def test_cancelled_while_it_runs(us: Developing) -> None:
    """The run ends before its next request, is canceled in Dagster, and nothing is green."""
    with held(us):
        path = ask(us, kind="verify", entity="time_entries")
        wait_for(lambda: _runs(us), WORK_SECONDS)
        press(us, f"{path}/cancel")
        # A run that has not sent a request yet ends immediately: between two looks it may be canceled already.
        wait_for(lambda: {"CANCELING", "CANCELED"} & set(_statuses(us)), WORK_SECONDS)
    wait_for(lambda: has_ended(us, path), WORK_SECONDS)
    shown = page(us, path).text
    assert "cancelled Requested" in shown, shown
    assert "CANCELED" in _statuses(us)


def test_a_run_that_is_killed_ends_its_request(us: Developing) -> None:
    """Failed, with its reason; asked for again, it is done."""
    with held(us):
        path = ask(us, kind="verify", entity="users")
        wait_for(lambda: _runs(us), WORK_SECONDS)
        for run in _runs(us):
            run.kill()
        wait_for(lambda: has_ended(us, path), WORK_SECONDS)
    shown = page(us, path).text
    assert "failed Requested" in shown, shown
    assert "ended without reporting a result" in shown
    again = ask(us, kind="verify", entity="users")
    wait_for(lambda: has_ended(us, again), WORK_SECONDS)
    assert "done Requested" in page(us, again).text


def test_a_backfill_is_cancelled_while_it_runs(us: Developing) -> None:
    """The daemon ends it and its run, although no system answers; asked for again, the days are filled."""
    days = {"first": day(3).isoformat(), "last": day(1).isoformat()}
    with held(us):
        path = ask(us, kind="backfill", entity="time_entries", **days)
        wait_for(lambda: _runs(us, BACKFILLED), WORK_SECONDS)
        press(us, f"{path}/cancel")
        wait_for(lambda: has_ended(us, path), WORK_SECONDS)
    shown = page(us, path).text
    assert "cancelled Requested" in shown, shown
    assert _statuses(us, BACKFILLED) == ["CANCELED"]
    assert us.graphql(BACKFILLS)["partitionBackfillsOrError"]["results"] == [{"status": "CANCELED"}]
    again = ask(us, kind="backfill", entity="time_entries", **days)
    wait_for(lambda: has_ended(us, again), WORK_SECONDS)
    assert "done Requested" in page(us, again).text


def test_the_dagster_ui_is_read_only_but_for_admins(us: Developing) -> None:
    """Dagster's own permissions refuse a mutation; other ways to write are refused at the gate."""
    found = {role: _as(us, role) for role in ("viewer", "operator", "admin")}
    assert found == {
        "viewer": ("UnauthorizedError", 403, 200),
        "operator": ("UnauthorizedError", 403, 200),
        "admin": ("LaunchRunSuccess", 400, 200),
    }


@contextmanager
def held(us: Developing) -> Iterator[None]:
    """Both systems answer no request until the end of the block."""
    rules = f"{us.sandbox}/_control/faults"
    us.client.post(rules, json={"kind": "hold_before", "route": "GET *"}).raise_for_status()
    try:
        yield
    finally:
        us.client.delete(rules).raise_for_status()


def _statuses(us: Developing, job: str = COMPARED) -> list[str]:
    """The states of the runs of some jobs, by how their names begin; the newest first."""
    found = us.graphql("{runsOrError{... on Runs{results{jobName status}}}}")["runsOrError"]["results"]
    return [run["status"] for run in found if run["jobName"].startswith(job)]


def _runs(us: Developing, job: str = COMPARED) -> list[psutil.Process]:
    """The processes that execute runs of these jobs, and have started."""
    query = (
        "SELECT value FROM run_tags JOIN runs USING (run_id) WHERE status = 'STARTED' AND instr(pipeline_name, ?) = 1"
    )
    with closing(sqlite3.connect(next(us.home.rglob("runs.db")))) as history:
        names = [str(row[0]) for row in history.execute(f"{query} AND key = ?", (job, PROCESS_TAG))]
    return [process for name in names if (process := process_of(name)) is not None]


def _as(us: Developing, role: Any) -> tuple[str, int, int]:
    """What the UI answers a role: a mutation, a report of an asset, a page."""
    with local_client(timeout=60, follow_redirects=True) as client:
        client.get(fresh_link(us.home, unix_time, role=role)).raise_for_status()
        launched = client.post(f"{us.ui}/graphql", json={"query": LAUNCH}).json()["data"]["launchRun"]["__typename"]
        reported = client.post(f"{us.ui}/report_asset_materialization/", json={}).status_code
        return launched, reported, client.get(us.ui).status_code
