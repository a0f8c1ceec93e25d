"""Where the laws are played: on SQLite, or on PostgreSQL when `make laws` says so."""

from __future__ import annotations

import os

import pytest

from sync_pipeline_tests import harness
from sync_pipeline_tests.store.conftest import Server, postgres

__all__ = ["postgres"]


@pytest.fixture(autouse=True)
def database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every team of a test has an empty database of PostgreSQL, one after the other, when that was asked for."""
    if os.environ.get("LAWS_DATABASE") == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        monkeypatch.setattr(harness, "new_database", server.emptied)
