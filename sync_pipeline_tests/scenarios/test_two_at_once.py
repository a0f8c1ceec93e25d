"""Two `sync` processes on one database."""

from __future__ import annotations

import json
from pathlib import Path

from sync_pipeline_tests.harness import team
from sync_pipeline_tests.properties.invariants import changes_nothing, converged, nothing_twice
from sync_pipeline_tests.scenarios.commands import start


def test_two_syncs_in_parallel_double_nothing(tmp_path: Path) -> None:
    """Both end well, nothing exists twice, every record was written once, and both sides agree afterwards."""
    with team(tmp_path, locations=8, entries=80) as us:
        both = [start(us, "sync", "--json") for _ in range(2)]
        answers = [process.communicate(timeout=60) for process in both]
        assert [process.returncode for process in both] == [0, 0], answers
        documents = [json.loads(out) for out, _ in answers]
        assert all(document["success"] for document in documents)
        nothing_twice(us)
        created = sum(document["entities"]["locations"]["created"] for document in documents)
        assert created == us.writes()["clients"] == 8
        converged(us)
        changes_nothing(us)
