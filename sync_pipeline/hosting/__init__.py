"""Running Dagster itself: `dev`, its programs, and the UI. What drives Dagster's internals is here."""
