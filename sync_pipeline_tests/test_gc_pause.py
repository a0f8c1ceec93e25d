"""The command line and Python's cycle collector."""

from __future__ import annotations

import subprocess
import sys

from sync_pipeline.gc_pause import OBJECTS

PROGRAM = """
import atexit, gc, sys
atexit.register(lambda: print(gc.get_threshold()[0], gc.get_freeze_count() > 0))  # the first one is asked last
sys.argv = ["sync-pipeline", "--version"]
from sync_pipeline.cli import main
main()
"""


def test_a_command_hardly_looks_for_cycles_and_does_not_at_its_end() -> None:
    """Every command raises the collector's threshold and takes all objects out of its sight at the end."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"{OBJECTS} True"
