"""Tests of the set-up: its file, its service, the accounts, the trial and the switch."""
