"""Connecting both systems without code: what the console and `sync-pipeline init` do, once for both."""
