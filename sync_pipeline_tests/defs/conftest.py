"""The usual team and its live syncing; a module of tests that needs another one has fixtures of the same names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipeline_tests.defs.live import Live, live
from sync_pipeline_tests.harness import Team, team


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """A team that is in step."""
    with team(tmp_path / "team") as opened:
        opened.sync()
        yield opened


@pytest.fixture
def on(us: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """Its sensors and schedules; polling is far away."""
    with live(us, tmp_path / "live", monkeypatch) as switched_on:
        yield switched_on
