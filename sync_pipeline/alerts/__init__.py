"""Alerts about the pipeline itself: which there are, what opens and resolves them, and who is told."""
