"""One sandbox for each test module; a home and a set-up service for each test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sync_pipeline.setup.service import SetupService
from sync_pipeline_tests.harness import Team, team


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Both systems, with a little data; tests of a module share them."""
    with team(tmp_path_factory.mktemp("office")) as us:
        yield us


@pytest.fixture
def us(office: Team, tmp_path: Path) -> Team:
    """The office with a home of its own."""
    office.no_faults()
    office.forget_stats()
    return replace(office, home=tmp_path / "home", changes={})


@pytest.fixture
def setup(us: Team) -> SetupService:
    """The set-up service of that home."""
    return setup_of(us)


def setup_of(us: Team, by: str = "Ana (test)", **changes: str) -> SetupService:
    """A set-up service on a team's systems."""
    us.home.mkdir(parents=True, exist_ok=True)
    return SetupService(by, root=us.home, environ={**us.environ, **changes})
