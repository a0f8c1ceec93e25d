"""`console`: it prints where it is and a link that works once; it ends in order."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sync_pipeline_tests.scenarios.developing import STOP_SECONDS, environment, free_port, local_client, place

COMMAND = [sys.executable, "-m", "sync_pipeline.cli", "console"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_runs_until_it_is_asked_to_end(tmp_path: Path, number: signal.Signals) -> None:
    """The link signs in, `console link` makes another one from another process, and nothing is left at the end.

    Ctrl-C ends it with one line and 130; `kill` and a closed terminal with 0.
    """
    place(tmp_path)
    environ = environment(tmp_path, SYNC_SANDBOX_PORT=str(free_port()))
    command = [*COMMAND, "--port", str(free_port()), "--json"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        while lines[-1] not in ("", "}\n"):
            lines.append(process.stdout.readline())
        document = json.loads("".join(lines))
        fresh = subprocess.run(
            [*COMMAND, "link"], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
        )
        for link in (document["link"], fresh.stdout.strip()):
            with local_client(follow_redirects=True, timeout=STOP_SECONDS) as browser:  # a busy machine is slow
                assert browser.get(link).url == f"{document['url']}/"
        process.send_signal(number)
        out, err = process.communicate(timeout=STOP_SECONDS)
    assert (process.returncode, out, err) == ((130, "", "Stopped.\n") if number == signal.SIGINT else (0, "", ""))
    assert not (tmp_path / "home" / "console.json").exists()

    refused = subprocess.run([*COMMAND, "link"], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "No console is running" in refused.stderr


def test_a_second_console_says_that_one_is_running(tmp_path: Path) -> None:
    """On the same port: it names the address, the command for a link, and the option for another port."""
    place(tmp_path)
    environ, port = environment(tmp_path, SYNC_SANDBOX_PORT=str(free_port())), str(free_port())
    command = [*COMMAND, "--port", port, "--json"]
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "{\n"
        second = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
        process.terminate()
        process.communicate(timeout=STOP_SECONDS)
    assert second.returncode == 2
    assert "Address already in use. A console runs at http://" in second.stderr
    assert "console link` prints a link to it. A second one needs another --port." in second.stderr
    assert second.stderr.rstrip().endswith("console link")
