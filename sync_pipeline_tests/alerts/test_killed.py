"""kill -9 at any point loses no message about an alert."""

from __future__ import annotations

import subprocess
import sys

from sync_pipeline_tests.alerts.sinks import http_sink
from sync_pipeline_tests.harness import Team, clean_environ


def test_a_killed_process_loses_no_message(us: Team) -> None:
    """Before and after each commit and each message; what was sent but not noted is sent again, and never a third time."""
    with us.session(), http_sink() as sink:
        environ = clean_environ(**us.environ, SINK=sink.address.replace("json:", "http:"))
        program = [sys.executable, "-m", "sync_pipeline_tests.alerts.killed"]
        ended = subprocess.run(program, env=environ, capture_output=True, text=True, check=True)
        rounds = int(ended.stdout)
        assert rounds > 8
        texts = [text for _, text in sink.messages]
        opened = [sum(f"Round {number}." in text for text in texts) for number in range(1, rounds + 1)]
        resolved = [text for text in texts if "RESOLVED" in text]
    assert set(opened) == {1, 2}
    assert rounds < len(resolved) <= 2 * rounds
