"""Tests of the command line: its contract, and what it says about bad input."""
