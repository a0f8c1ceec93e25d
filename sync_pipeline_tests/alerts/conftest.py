"""A small team, and its set-up on its accounts."""

from sync_pipeline_tests.setup.conftest import setup, us

__all__ = ["setup", "us"]
