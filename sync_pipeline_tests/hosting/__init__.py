"""Tests of `sync_pipeline.hosting`."""
