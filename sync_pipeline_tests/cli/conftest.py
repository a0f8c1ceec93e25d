"""One sandbox for each test module, and a new directory for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipeline_tests.cli.shell import Shell, shell_for
from sync_pipeline_tests.harness import Team, team


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Both systems, with a little data; tests of a module share them."""
    with team(tmp_path_factory.mktemp("office")) as us:
        yield us


@pytest.fixture
def shell(office: Team, tmp_path: Path) -> Iterator[Shell]:
    """The command line on the office's systems, with nothing remembered yet."""
    with shell_for(office, tmp_path) as typed:
        yield typed
