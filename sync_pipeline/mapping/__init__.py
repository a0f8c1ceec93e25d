"""From a source record to the fields the target gets: pure, declared in YAML, column by column."""
