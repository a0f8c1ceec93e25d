"""Tests of the stages as plain functions."""
