"""Questions in a real terminal: answered, interrupted, taken up again; and what happens where no one answers."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipeline.cli.group import NO_ANSWER, REFUSED, STOPPED
from sync_pipeline_tests.harness import CLOCKIFY_KEY, SNAPSHOTS_KEY, Team, team
from sync_pipeline_tests.scenarios.developing import environment, place

# Ctrl-C, and then Enter: an interrupt that comes in just before a prompt begins to wait is seen when the wait ends.
INTERRUPT = "\x03\n"


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """Both systems."""
    with team(tmp_path / "office", users=2, projects=2, locations=2, entries=5) as opened:
        place(tmp_path)
        yield opened


def _talk(root: Path, words: list[str], answers: list[tuple[str, str]]) -> tuple[int, str]:
    """Type a command in a terminal and answer what it asks, in this order; its exit code and all that was shown."""
    command, environ = [sys.executable, "-m", "sync_pipeline.cli", *words], environment(root)
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(root)
        os.execve(sys.executable, command, environ)
    shown, read = "", 0
    left = list(answers)
    while part := _heard(terminal):
        shown += part
        if left and (at := shown.find(left[0][0], read)) >= 0:
            read, (_, answer) = at + len(left[0][0]), left.pop(0)
            os.write(terminal, (answer if answer == INTERRUPT else answer + "\n").encode())
    os.close(terminal)
    assert not left, f"never asked: {left}\n{shown}"
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), shown


def _heard(terminal: int) -> str:
    try:
        return os.read(terminal, 65536).decode("utf-8", "replace")
    except OSError:  # the other end is closed
        return ""


def test_init_is_left_and_taken_up_again(us: Team, tmp_path: Path) -> None:
    """A wrong key is asked for again, Ctrl-C keeps what is connected, Enter keeps what is there; no key is shown."""
    there = us.sandbox
    where = [("region", "custom"), ("base URL", there.clockify), ("its reports", there.reports), ("Kind of key", "")]
    first = [*where, ("key: ", "a-wrong-key"), *where, ("key: ", f" '{CLOCKIFY_KEY}' "), ("Workspace [", "")]
    code, shown = _talk(
        tmp_path,
        ["init"],
        [*first, ("What to sync", "locations users"), ("your locations", ""), ("(custom)", INTERRUPT)],
    )
    assert (code, STOPPED in " ".join(shown.split())) == (130, True), shown
    assert "this API key does not exist" in shown

    kept = [(question, "") for question, _ in where]
    then = [
        *kept,
        ("the stored one): ", ""),
        ("Workspace [", ""),
        ("What to sync [locations users]", ""),
        ("your locations", ""),
        ("(custom)", "custom"),
    ]
    rest = [("Its base URL", there.snapshots), ("Account name", ""), ("How you sign in", "")]
    code, more = _talk(tmp_path, ["init"], [*then, *rest, ("API key: ", SNAPSHOTS_KEY)])
    assert (code, more.count("connected")) == (0, 2), more
    assert "Snapshots      answers" in more  # it counts while it asks
    assert not [key for key in (CLOCKIFY_KEY, SNAPSHOTS_KEY, "a-wrong-key") if key in shown + more]

    code, shown = _talk(tmp_path, ["live", "on"], [("Start syncing?", "n")])
    said = " ".join(shown.split())
    assert (code, REFUSED in said) == (1, True), shown
    assert f"{there.workspace} at {there.clockify}" in said
    assert f"Snapshots API: {there.snapshots}" in said
    assert "2 users go to Snapshots API." in said
    code, shown = _talk(tmp_path, ["live", "on"], [("Start syncing?", "y")])
    assert (code, "Live syncing is ON." in shown, "A sync would" in shown) == (0, True, False), shown

    assert _talk(tmp_path, ["disconnect", "clockify"], [("Forget clockify", "n")])[0] == 1
    code, shown = _talk(tmp_path, ["credentials", "rotate", "clockify.api_key"], [("api_key: ", INTERRUPT)])
    assert (code, "Aborted" in shown) == (130, False)


@pytest.mark.parametrize("words", [["init"], ["disconnect", "clockify"]])
def test_where_nothing_answers_that_is_reported(tmp_path: Path, words: list[str]) -> None:
    """At the end of standard input: one sentence, wrong usage."""
    place(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-m", "sync_pipeline.cli", *words],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (2, f"Error: {NO_ANSWER}")
    assert REFUSED not in ended.stderr
