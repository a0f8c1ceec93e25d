"""The usual team and its live syncing."""

from sync_pipeline_tests.defs.conftest import on, us

__all__ = ["on", "us"]
