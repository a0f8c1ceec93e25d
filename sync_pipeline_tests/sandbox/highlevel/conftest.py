"""Fixtures: one small sandbox a module, put back to its first state before every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sync_pipeline_tests.sandbox.highlevel.agency import LITTLE, Agency
from sync_pipeline_tests.sandbox.running import running_sandbox


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agency]:
    """A sandbox on a real port."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox"), **LITTLE, highlevel_prepared=True) as sandbox:
        agency = Agency(sandbox)
        yield agency
        agency.http.close()


@pytest.fixture
def agency(started: Agency) -> Agency:
    """The running sandbox, freshly reset."""
    started.control("reset", {})
    return started
