"""Tests of the Snapshots side of the sandbox, over real HTTP."""
