"""Fixtures of the sandbox's own tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync_pipeline.sandbox.server import Running
from sync_pipeline_tests.sandbox.running import running_sandbox


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Running]:
    """A small sandbox of this test's own."""
    with running_sandbox(tmp_path) as started:
        yield started
