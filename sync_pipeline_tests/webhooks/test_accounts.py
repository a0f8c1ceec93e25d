"""For which accounts a receiver takes deliveries, while the set-up changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipeline.settings import load_settings
from sync_pipeline.webhooks.accounts import Accounts
from sync_pipeline_tests.harness import clean_environ, team


def test_the_accounts_are_those_that_the_set_up_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A change is noticed, and one that cannot be used leaves everything as it was, with one warning."""
    with team(tmp_path / "team") as us:
        environ, settings, workspace = us.environ, us.settings(), us.sandbox.workspace
    for name, value in clean_environ(**environ).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    with Accounts(load_settings()) as accounts:
        assert accounts.reception.options.workspace == workspace
        assert accounts.renewed() is None
        monkeypatch.setenv("SNAPSHOTS_PROFILE", "none")
        assert [accounts.renewed() for _ in range(3)] == [None] * 3
        assert len(caplog.records) == 1
        monkeypatch.delenv("SNAPSHOTS_PROFILE")
        monkeypatch.setenv("CLOCKIFY_WORKSPACE_ID", "w2")
        found = accounts.renewed()
        assert found is not None
        assert found.options.workspace == "w2"
        assert accounts.renewed() is None
    monkeypatch.delenv("CLOCKIFY_API_KEY")
    with Accounts(settings) as others:  # of another environment than this process has
        assert others.renewed() is None
