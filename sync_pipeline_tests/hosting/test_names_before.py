"""What a `dagster.yaml` of the version before names is still there."""

from __future__ import annotations

from sync_pipeline.defs import history, launcher
from sync_pipeline.hosting.launcher import WarmRunLauncher
from sync_pipeline.hosting.run_storage import History, StepOutput


def test_the_modules_that_moved() -> None:
    """The names of the version before lead to the same classes."""
    assert (history.History, history.StepOutput, launcher.WarmRunLauncher) == (History, StepOutput, WarmRunLauncher)
