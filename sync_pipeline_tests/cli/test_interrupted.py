"""Ctrl-C, and a wait that is worth interrupting: the real process, real signals."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus

from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.scenarios.commands import PATIENCE, run_json, start, wait_until

UNFINISHED = {DagsterRunStatus.STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.NOT_STARTED}


def statuses(home: Path) -> list[DagsterRunStatus]:
    """How Dagster says its runs ended."""
    with DagsterInstance.from_config(str(home / "dagster")) as instance:
        return [run.status for run in instance.get_runs()]


@pytest.mark.parametrize("route", ["GET /clockify/*/users", "POST /snapshots/projects/batch"])
def test_ctrl_c(tmp_path: Path, route: str) -> None:
    """Ctrl-C while reading or writing: one line, exit 130, no run left standing; the next sync completes."""
    with team(tmp_path) as us:
        us.fault("stall", route, seconds=30)
        process = start(us, "sync")
        wait_until(lambda: any(rule["struck"] for rule in us.control("GET", "faults")["faults"]))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130, err
        assert out == ""
        assert err.splitlines() == [
            "Error: Interrupted. What was delivered stays delivered; run the same command again to go on from there."
        ]
        found = statuses(us.home)
        assert found
        assert not UNFINISHED & set(found)
        us.no_faults()
        assert run_json(us, "sync", "--verify")["success"]
