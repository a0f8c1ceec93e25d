"""Tests of the facts of the vendors' APIs."""
