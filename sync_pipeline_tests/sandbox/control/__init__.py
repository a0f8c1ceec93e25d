"""Tests of the sandbox's controls and faults, over real HTTP."""
