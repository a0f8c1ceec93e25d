"""Whole stories: what happens to a team over several syncs."""
