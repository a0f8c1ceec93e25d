"""One small team a test module, and a new home for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipeline.setup.service import SetupService
from sync_pipeline_tests.harness import Team, team
from sync_pipeline_tests.setup.services import setup_of


@pytest.fixture
def us(tmp_path: Path) -> Iterator[Team]:
    """Both systems, with a little data."""
    with team(tmp_path) as opened:
        yield opened


@pytest.fixture
def setup(us: Team) -> SetupService:
    """A set-up service where nothing is set up yet."""
    return setup_of(us)
