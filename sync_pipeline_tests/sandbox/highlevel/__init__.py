"""Tests of the HighLevel side of the sandbox."""
