"""Tests of `sync_pipeline.diagnose`."""
