"""Runs the commands that a page of the docs shows, to compare what they print with what the page shows.

``python -m sync_pipeline_tests.shown_commands`` writes their output into the pages of ``PLAYED``. It is no part of ``make docs``,
because ids and times change with each run; the test compares without them.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sync_pipeline_tests.cli.terminal import CODES
from sync_pipeline_tests.generate import ROOT

DOCS = ROOT / "docs"
PLAYED = (DOCS / "tutorial.md", DOCS / "several-pairs.md", DOCS / "preview-and-apply.md")
"""Pages whose commands are run from top to bottom in an empty directory, with a sandbox of their own."""
SANDBOX = "sync-pipeline sandbox"
"""Stays in its own terminal, so what it prints is not compared."""
BY_HAND = re.compile(r"(git |cd |make |\. \.venv|rm -rf)")
"""Prepares the directory, which a test has, or cleans up; each is run by other tests or is no command of ours."""
END = "@@ended"
PORTS = ("8750", "8751", "8752")
"""The ports that the pages name; free ones take their place."""
PLACE = "/srv/sync"
"""The directory that the pages name."""
WIDTH = "110"
TIME_LIMIT = 180.0
BLOCK = re.compile(r"^( *)```console\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
VARIES = (
    (re.compile(r"\b[0-9a-f]{24}\b|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|req_[0-9a-f]{16}"), "ID"),
    (re.compile(r"20\d\d-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?)?(Z| UTC)?"), "TIME"),
    (re.compile(r"\bat \d\d:\d\d\b"), "at TIME"),
    (re.compile(r"\b20\d\d\b"), "YEAR"),
    (re.compile(r"\bTook [\d.]+ (min \d+ )?s\b"), "Took N s"),
    (
        re.compile(r"^(time_entries .*) \d+$", re.MULTILINE),
        r"\1 N",
    ),  # requests: as many as there are months in the year
    (re.compile(r"─+"), ""),
)


def commands_of(page: Path) -> list[str]:
    """The commands of a page in their order; a line that ends with a backslash continues in the next one."""
    blocks = "\n".join(textwrap.dedent(found[2]) for found in BLOCK.finditer(page.read_text())).replace("\\\n", " ")
    return [line[2:].strip() for line in blocks.splitlines() if line.startswith("$ ")]


def play(page: Path, directory: Path) -> str:
    """Run the commands of a page in ``directory`` and return the page with what they print now."""
    shutil.copy(ROOT / "Makefile", directory)  # hints name `make` in a checkout
    text = page.read_text()
    with _shell(directory) as run:
        return BLOCK.sub(lambda block: _replayed(block, run), text)


def without_variables(text: str) -> str:
    """The text without ids, times and the widths of columns, which change with each run."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    text = "\n".join(line for line in lines if line)
    for pattern, word in VARIES:
        text = pattern.sub(word, text)
    return text


def _replayed(block: re.Match[str], run: Callable[[str], str]) -> str:
    """A block with its commands and what they print now, with its indentation."""
    shown = []
    for step in re.split(r"^(?=\$ )", textwrap.dedent(block[2]), flags=re.MULTILINE):
        command = re.match(r"\$ ((?:.*\\\n)*.*)\n", step)
        if command is None or BY_HAND.match(command[1]) or command[1].startswith(SANDBOX):
            shown.append(step)
        else:
            shown.append(f"$ {command[1]}\n{run(command[1])}")
    return textwrap.indent("".join(["```console\n", *shown, "```"]), block[1])


@contextmanager
def _shell(directory: Path) -> Iterator[Callable[[str], str]]:
    """A bash in ``directory``, next to a sandbox as the tutorial starts it; called with a command, it returns what that printed."""
    ports = dict(zip(PORTS, _free_ports(), strict=True))
    port = ports[PORTS[0]]
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(directory),
        "SYNC_SANDBOX_PORT": port,
        "COLUMNS": WIDTH,
        "TTY_COMPATIBLE": "1",  # tables as on a terminal
        "PYTHONPATH": str(ROOT),
    }
    (served,) = {command for page in PLAYED for command in commands_of(page) if command.startswith(SANDBOX)}
    sandbox = subprocess.Popen(
        [*served.split(), "--port", port], cwd=directory, env=environ, stdout=subprocess.PIPE, text=True
    )
    shell = subprocess.Popen(
        ["bash"], cwd=directory, env=environ, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert sandbox.stdout is not None
    assert shell.stdin is not None
    assert shell.stdout is not None
    try:
        sandbox.stdout.readline()  # it has started
        yield lambda command: _asked(shell, command, ports).replace(str(directory), PLACE)
    finally:
        shell.stdin.close()
        shell.wait(TIME_LIMIT)
        shell.stdout.close()
        sandbox.terminate()
        sandbox.wait(TIME_LIMIT)
        sandbox.stdout.close()


def _asked(shell: subprocess.Popen[str], command: str, ports: Mapping[str, str]) -> str:
    assert shell.stdin is not None
    assert shell.stdout is not None
    for shown, used in ports.items():
        command = command.replace(shown, used)
    shell.stdin.write(f"{command}\n_code=$?; echo; echo {END}; (exit $_code)\n")
    shell.stdin.flush()
    lines = []
    for line in iter(shell.stdout.readline, ""):
        if line.rstrip() == END:
            break
        lines.append(CODES.sub("", line).rstrip())
    text = "\n".join(line for line in lines if line)
    for shown, used in ports.items():
        text = text.replace(used, shown)
    return f"{text}\n" if text else ""


def _free_ports() -> list[str]:
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in PORTS]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [str(each.getsockname()[1]) for each in found]


def main() -> None:
    """Write what the commands print into each page, or into those that are named."""
    for page in [page for page in PLAYED if page.name in sys.argv[1:] or not sys.argv[1:]]:
        with tempfile.TemporaryDirectory() as directory:
            page.write_text(play(page, Path(directory)))


if __name__ == "__main__":
    main()
