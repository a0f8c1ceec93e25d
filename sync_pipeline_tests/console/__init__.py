"""Tests of the console, as a browser meets it."""
