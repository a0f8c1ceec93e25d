"""Clockify: the adapters, and all that is known of its API."""
