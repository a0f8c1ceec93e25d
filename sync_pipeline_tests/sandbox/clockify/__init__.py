"""Tests of sync_pipeline.sandbox.clockify."""
