"""Tests of the stages that need no sync."""
