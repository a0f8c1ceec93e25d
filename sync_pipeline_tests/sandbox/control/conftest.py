"""Fixtures: one small sandbox a module, put back to its first state before every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sync_pipeline_tests.sandbox.snapshots.speaking import Sandbox, small_sandbox


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox on a real port."""
    with small_sandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        sandbox.control.post("snapshots", json={"rate_per_second": None})
        yield sandbox


@pytest.fixture
def sandbox(started: Sandbox) -> Sandbox:
    """The running sandbox, freshly reset, without the rate limit: tests are faster than clients may be."""
    assert started.control.post("reset").status_code == 200
    started.control.post("snapshots", json={"rate_per_second": None})
    return started
