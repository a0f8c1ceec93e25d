"""For which accounts a receiver takes deliveries, while the set-up changes."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest

from sync_pipeline.errors import ConfigError
from sync_pipeline.settings import Settings
from sync_pipeline.webhooks.server import Accounts
from sync_pipeline_tests.harness import team


def test_the_accounts_are_those_that_the_set_up_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A change is noticed. One that cannot be used yet leaves everything unchanged, with one warning, and is tried again."""
    with team(tmp_path / "team") as us:
        first = us.settings()
    other = replace(first, clockify_workspace_id="w2")
    without_key = replace(other, snapshots_api_key="")
    found: deque[Settings | ConfigError] = deque([first, ConfigError("broken"), without_key, without_key, other, other])

    def load() -> Settings:
        settings = found.popleft()
        if isinstance(settings, ConfigError):
            raise settings
        return settings

    with Accounts(first, load) as accounts:
        assert accounts.reception.options.workspace == first.clockify_workspace_id
        assert [accounts.renewed() for _ in range(4)] == [None] * 4
        assert len(caplog.records) == 2
        renewed = accounts.renewed()
        assert renewed is not None
        assert renewed.options.workspace == "w2"
        assert accounts.renewed() is None
