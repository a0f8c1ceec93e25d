"""Tests of the alerts about the pipeline itself."""
