"""The flow as plain functions, no Dagster: extract, map, check, load, reconcile."""
