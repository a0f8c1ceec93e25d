"""Alerts about the pipeline itself: which kinds exist, what opens and resolves them, and who is notified."""
