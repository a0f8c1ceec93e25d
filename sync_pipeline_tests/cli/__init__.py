"""Tests of the command line: its contract, and its messages about bad input."""
