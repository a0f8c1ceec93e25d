"""Probes: what a sync needs of both systems, looked at one by one without writing anything."""
