"""Two-way sync between Clockify and the Snapshots API, as a Dagster project."""
