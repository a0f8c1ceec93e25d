"""The Snapshots API: the adapters of whatever a profile describes."""
