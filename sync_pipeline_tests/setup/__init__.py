"""Tests of the set-up: its file, its desk, the accounts, the trial and the switch."""
