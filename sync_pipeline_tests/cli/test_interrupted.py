"""Ctrl-C, and a wait that is worth interrupting: the real process, real signals."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sync_pipeline.clock import unix_time
from sync_pipeline.connectors.clockify.account import PLANS
from sync_pipeline.sandbox.control.rules import read_rule
from sync_pipeline.store.rate import note_sent, reserve
from sync_pipeline.store.syncs import status
from sync_pipeline_tests.cli.shell import shell_for
from sync_pipeline_tests.cli.terminal import CTRL_C, on_a_terminal
from sync_pipeline_tests.harness import team
from sync_pipeline_tests.scenarios.commands import PATIENCE, start, wait_until

WAITING = re.compile(
    r"Clockify: Clockify allows 30 requests an hour on the Free plan: next request at \d\d:\d\d:\d\d\."
)


def statuses(home: Path) -> set[str]:
    """How its runs ended according to Dagster; read from its file, as the UI would find it."""
    with closing(sqlite3.connect(home / "dagster" / "history" / "runs.db")) as history:
        return {status for (status,) in history.execute("SELECT status FROM runs")}


def is_in_the_event_log(home: Path, line: str) -> bool:
    """Whether a run's events, as the UI shows them, have this line as a message."""
    for path in (home / "dagster" / "history" / "runs").glob("*-*.db"):
        with closing(sqlite3.connect(path)) as log:
            events = [json.loads(event) for (event,) in log.execute("SELECT event FROM event_logs")]
        if any(event["user_message"] == line for event in events):
            return True
    return False


def test_ctrl_c(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a write: one line, exit 130, no run left open; the next sync completes."""
    with team(tmp_path) as us, shell_for(us, tmp_path) as shell:
        us.fault("stall", "POST /snapshots/projects/batch", seconds=30)
        process = start(us, "sync", "--entity", "projects")
        wait_until(lambda: any(rule["struck"] for rule in us.control("GET", "faults")["faults"]))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130, err
        assert out == ""
        assert err.splitlines() == [
            "Error: Interrupted. What was delivered stays delivered; run the same command again to go on from there."
        ]
        assert statuses(us.home) == {"FAILURE"}
        with us.session() as session:
            last = status(session.store, session.pair)["projects"].last
            counts = last.counts
        assert (
            last.reason == "It was interrupted. What was delivered stays delivered; the next sync continues from there."
        )
        assert (counts["extracted"], counts["waiting"], counts["unchanged"]) == (5, 5, 0)
        us.no_faults()
        assert shell.sync("--entity", "projects", "--verify")["entities"]["projects"]["created"] == 5


def test_a_spent_budget_is_announced(tmp_path: Path) -> None:
    """On the Free plan with nothing left of the hour, it reports until when it waits - and can be interrupted.

    A user who looks at the run in Dagster instead of at the terminal reads the same.
    """
    with team(tmp_path) as us:
        with us.session(CLOCKIFY_PLAN="free") as session:
            for _ in range(30):
                reserve(session.store, session.clockify.account.bucket, PLANS["free"].windows, unix_time())
        process = start(us, "sync", "--entity", "projects", CLOCKIFY_PLAN="free")
        assert process.stderr is not None
        line = process.stderr.readline()
        wait_until(lambda: is_in_the_event_log(us.home, line.rstrip()))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
        assert re.fullmatch(
            r"Clockify: Clockify allows 30 requests an hour on the Free plan: next request at \d\d:\d\d:\d\d\.\n", line
        )
        assert process.returncode == 130
        assert statuses(us.home) == {"FAILURE"}


STALLED = {
    "sync": ("sync", "--entity", "projects"),
    "preview": ("preview", "--entity", "projects"),
    "verify": ("verify", "--entity", "projects"),
    "check": ("check", "--system", "clockify"),
}


@pytest.mark.parametrize("command", STALLED)
def test_ctrl_c_on_a_terminal(tmp_path: Path, command: str) -> None:
    """The keyboard's interrupt reaches every program that was started: still one line, no stack trace, exit 130."""
    with team(tmp_path) as us, shell_for(us, tmp_path) as shell:
        us.fault("stall", "GET /clockify/*", seconds=30)
        with on_a_terminal(shell.root, us.environ, *STALLED[command]) as seen:
            wait_until(lambda: any(rule["struck"] for rule in us.control("GET", "faults")["faults"]))
            seen.press(CTRL_C)
            assert seen.ended() == 130, seen.text
        assert "Traceback" not in seen.text
        assert "Error: Interrupted." in seen.text


@pytest.mark.parametrize("command", ["preview", "verify"])
def test_what_only_looks_says_for_what_it_waits(tmp_path: Path, command: str) -> None:
    """A spent budget: a user who waits reads until when, piped and on a terminal; so does ``sync`` before going live."""
    with team(tmp_path) as us, shell_for(us, tmp_path) as shell:
        with us.session(CLOCKIFY_PLAN="free") as session:
            note_sent(session.store, session.clockify.account.bucket, PLANS["free"].windows, unix_time(), 30)
        words = (command, "--entity", "projects")
        process = start(us, *words, CLOCKIFY_PLAN="free")
        assert process.stderr is not None
        assert WAITING.search(process.stderr.readline())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
        with on_a_terminal(shell.root, {**us.environ, "CLOCKIFY_PLAN": "free"}, *words) as seen:
            seen.wait_for(lambda text: bool(WAITING.search(text)))
            seen.press(CTRL_C)
            assert seen.ended() == 130, seen.text


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_an_operation_that_was_ended_is_not_sent_again_for_its_key(tmp_path: Path, sent: signal.Signals) -> None:
    """By Ctrl-C or kill -9 after it was carried out: it reports that nothing is known, and its key sends nothing more."""
    words = ("operations", "run", "clockify.tags.create", "-f", "name=Ended", "--yes", "--once", "k")
    with team(tmp_path, entries=0) as us, shell_for(us, tmp_path) as shell:
        rule = us.sandbox.world.faults.add(read_rule({"kind": "hold_after", "route": "POST */tags", "count": 1}))
        process = start(us, *words)
        wait_until(lambda: rule.holding > 0 or process.poll() is not None)
        process.send_signal(sent)
        _, err = process.communicate(timeout=PATIENCE)
        us.sandbox.world.faults.remove(rule)
        if sent is signal.SIGINT:
            assert process.returncode == 6, err
            assert "may or may not have been carried out" in err
            assert "run the same command again" not in err
        us.forget_stats()
        assert "Nothing was sent" in shell(*words, code=6).out
        assert us.requests() == {}
        assert len(us.clockify("GET", "/tags", name="Ended")) == 1
