"""Tests of `sync_pipeline.session`."""
