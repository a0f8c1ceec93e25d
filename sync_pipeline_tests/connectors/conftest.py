"""Fixtures of the connectors' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sync_pipeline.sandbox.server import Running
from sync_pipeline_tests.sandbox.running import running_sandbox


@pytest.fixture(scope="module")
def shared_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A sandbox that the tests of a module share; they leave it as they found it."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as started:
        yield started


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A sandbox of this test's own."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as started:
        yield started
