"""Dagster, thin: assets, checks, jobs, resources and the batches between ops."""
