"""Tests of the mapping: pure functions on small frames, and the laws of the canonical form."""
