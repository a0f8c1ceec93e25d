"""Tests of the fields of a set-up: seen, changed, previewed."""
